"""Which frames the recorded traceback of an error has: those of the user, in the order of the calls."""

import re
from typing import Any

import pytest

from durable.codec.json_codec import JsonCodec
from durable.errors import TaskError, UsageError

codec = JsonCodec()

OURS: dict[str, Any] = {"__name__": "durable.somewhere"}
"""The globals of a function of durable's own, which calls what it is given."""
exec(compile("def ours(call):\n    call()\n", "/site/durable/somewhere.py", "exec"), OURS)
ours = OURS["ours"]


def user(error: BaseException) -> None:
    raise error


def recorded(call) -> str:
    """Return the traceback text that is recorded with what `call` raises."""
    return str(getattr(rebuilt(call), "__durable_traceback__", ""))


def rebuilt(call) -> BaseException:
    try:
        call()
    except BaseException as error:
        return codec.decode_error(codec.encode_error(error))
    raise AssertionError("nothing was raised")


def functions(text: str) -> list[str]:
    """Return the functions that a traceback names, in its order."""
    return re.findall(r'^  File ".+", line \d+, in (\S+)$', text, re.MULTILINE)[1:]


def test_frames_of_durable_around_those_of_the_user_are_left_out() -> None:
    text = recorded(lambda: ours(lambda: ours(lambda: user(ValueError("x")))))
    assert functions(text) == ["<lambda>", "<lambda>", "<lambda>", "user"]
    assert "somewhere" not in text
    assert "raise error" in text


def test_frames_are_all_there_if_durable_has_no_others() -> None:
    namespace = {**OURS, "codec": codec}
    program = (
        "def raises():\n    raise TypeError('too many')\n"
        "def record():\n    try:\n        ours(raises)\n    except TypeError as error:\n"
        "        return codec.encode_error(error)\n"
    )
    exec(compile(program, "/site/durable/elsewhere.py", "exec"), namespace)
    text = vars(codec.decode_error(namespace["record"]()))["__durable_traceback__"]
    assert re.findall(r"in (\w+)$", text, re.MULTILINE) == ["record", "ours", "raises"]


def test_an_unknown_error_that_durable_raises_keeps_its_frames_behind_those_of_the_user() -> None:
    assert functions(recorded(lambda: ours(lambda: ours(None)))) == ["<lambda>", "<lambda>", "ours"]


@pytest.mark.parametrize("error", [UsageError("told to the user"), TaskError("Declined", "no")])
def test_an_error_that_durable_raises_on_purpose_ends_with_the_users_frame(error) -> None:
    namespace = dict(OURS)
    exec(compile("def refuses(error):\n    raise error\n", "/site/durable/somewhere.py", "exec"), namespace)
    assert functions(recorded(lambda: ours(lambda: namespace["refuses"](error)))) == ["<lambda>", "<lambda>"]


def test_the_frames_of_who_waited_come_before_those_of_who_raised() -> None:
    def task() -> None:
        user(ValueError("x"))

    first = rebuilt(lambda: ours(task))

    def body() -> None:
        namespace = {**OURS, "first": first}
        exec(compile("def await_it():\n    raise first\n", "/site/durable/somewhere.py", "exec"), namespace)
        namespace["await_it"]()

    text = recorded(lambda: ours(body))
    assert [name for name in functions(text) if name != "<lambda>" and name != "rebuilt"] == ["body", "task", "user"]
    assert "somewhere" not in text


def test_of_many_frames_the_last_are_kept() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError("deep")

    text = recorded(lambda: ours(lambda: deep(500)))
    assert text.count("in deep") <= 20
    assert "in recorded" not in text
    assert 'raise ValueError("deep")' in text
