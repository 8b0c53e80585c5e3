"""What an id may be, and which ids are made for those who give none."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.ids import (
    TEXT_MAX,
    CallIds,
    check_id,
    check_template,
    check_text,
    child_id,
    derived_id,
    fill_template,
    idempotency_key,
    short_name,
    template_fields,
)
from durable.core.records import ID_BYTES_MAX
from durable.errors import UsageError

IDS = st.text(min_size=1, max_size=120)


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises(UsageError) as raised:
        call(*arguments)  # type: ignore[operator]
    return str(raised.value)


# Ids -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a", "order-42", "straße/ü 1", "\U0001f600", "x" * 512, "ü" * 256, "a b", "\x80", "a !\x80"]
)
def test_an_id_is_any_short_text(text: str) -> None:
    assert check_id(text) == text


@pytest.mark.parametrize("text", ["\x80", "a b\x80", "!\xa0", "\u200b"])
def test_what_is_not_printed_may_be_in_an_id_all_the_same(text: str) -> None:
    assert check_id(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 bytes: expected 1 to 512"),
        ("x" * 513, "has 513 bytes: expected 1 to 512"),
        ("ü" * 257, "has 514 bytes: expected 1 to 512"),
        ("a\nb", "holds a control character; leave it out"),
        ("a\x1f", "holds a control character"),
        ("\x00", "holds a control character"),
        ("\x7f", "holds a control character"),
        ("a\ud800", "holds a lone surrogate, which no database can store"),
        (7, "run id 7 is a int: expected a string"),
        (b"a", "run id b'a' is a bytes: expected a string"),
        (None, "run id None is a NoneType: expected a string"),
    ],
)
def test_what_is_no_id_is_refused_with_the_reason(text: object, words: str) -> None:
    assert words in refusal(check_id, text)


def test_a_refusal_names_what_it_is_about_and_cuts_long_texts() -> None:
    assert refusal(check_id, "", "message id").startswith("message id '' has")
    assert refusal(check_id, "y" * 600).startswith(f"run id {'y' * 40!r} has 600 bytes")


@given(IDS)
def test_an_id_is_refused_or_returned_as_it_is(text: str) -> None:
    try:
        found = check_id(text)
    except UsageError:
        assert re.search("[\x00-\x1f\x7f\ud800-\udfff]", text) or len(text.encode("utf-8", "replace")) > ID_BYTES_MAX
    else:
        assert found == text
        assert not re.search("[\x00-\x1f\x7f]", text)
        assert 1 <= len(text.encode()) <= ID_BYTES_MAX


# Texts for people ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "why", "two\nlines\t", "ü\uffff\ue000", "x" * TEXT_MAX])
def test_a_reason_is_any_text(text: str) -> None:
    assert check_text(text, "reason") == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x" * (TEXT_MAX + 1), "reason is a str: expected a string of at most 4,096 characters"),
        (7, "reason is a int: expected a string of at most 4,096 characters"),
        ("a\0", r"reason 'a\x00' holds NUL or a lone surrogate"),
        ("a\ud800", r"reason 'a\ud800' holds NUL or a lone surrogate, which no database can store"),
        ("\udfff", "holds NUL or a lone surrogate"),
        ("y" * 50 + "\0", f"reason {'y' * 40!r} holds NUL"),
    ],
)
def test_what_no_database_can_store_is_refused(text: object, words: str) -> None:
    assert words in refusal(check_text, text, "reason")


# Templates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("order", []), ("order-{order_id}", ["order_id"]), ("{a}{b}", ["a", "b"]), ("{user.id}", ["user"]),
        ("{items[0]}", ["items"]), ("{user.names[0]}", ["user"]), ("{day:%Y-%m}", ["day"]), ("{{x}}-{a!r}", ["a"]),
    ],
)  # fmt: skip
def test_a_template_names_the_arguments_that_it_uses(template: str, fields: list[str]) -> None:
    assert template_fields(template) == fields


@pytest.mark.parametrize("template", ["{}", "{0}", "a-{}-{b}", "{0.x}", "{1[a]}", "{.x}"])
def test_a_field_without_a_name_is_refused(template: str) -> None:
    text = refusal(template_fields, template)
    assert text == f"id template {template!r} has a field without a name; name an argument, as in 'order-{{order_id}}'"


@pytest.mark.parametrize("template", ["{a", "a}", "{a!x y}"])
def test_a_malformed_template_is_refused(template: str) -> None:
    assert refusal(template_fields, template).startswith(f"id template {template!r}: ")


def test_a_template_is_checked_against_the_parameters() -> None:
    check_template("{a}-{b.c}", ["b", "a"], "flow")
    assert refusal(check_template, "{a}-{x}", ["a", "b"], "flow") == (
        "workflow 'flow': id template '{a}-{x}' names argument 'x'; it takes: a, b"
    )
    assert refusal(check_template, "{x}", [], "flow").endswith("names argument 'x'; it takes: none")


def test_a_template_is_filled_with_the_arguments() -> None:
    arguments = {"user": SimpleNamespace(id=7), "items": ["a", "b"], "n": 3}
    assert fill_template("{user.id}/{items[1]}/{n:03d}", arguments, "flow") == "7/b/003"


@pytest.mark.parametrize("template", ["{missing}", "{user.missing}", "{items[9]}", "{n:nonsense}", "{items:5d}"])
def test_a_template_that_cannot_be_filled_says_so(template: str) -> None:
    arguments = {"user": SimpleNamespace(id=7), "items": ["a"], "n": 3}
    text = refusal(fill_template, template, arguments, "flow")
    assert text.startswith(f"workflow 'flow': id template {template!r} cannot be filled: ")


def test_a_filled_template_must_be_an_id() -> None:
    text = refusal(fill_template, "{name}", {"name": "a\nb"}, "flow")
    assert text.startswith("id of workflow 'flow' made from '{name}': 'a\\nb' holds a control character")


# Ids that are made ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digest", "found"), [(1, "flow-0000000000000001"), (-1, "flow-ffffffffffffffff"), (2**63 - 1, "flow-7" + "f" * 15)]
)
def test_a_derived_id_is_made_of_workflow_and_digest(digest: int, found: str) -> None:
    """Calling again with equal arguments must find the run of years ago: the form never changes."""
    assert derived_id("flow", digest) == found


def test_long_names_are_shortened_to_a_digest_of_their_own() -> None:
    longest = "x" * (ID_BYTES_MAX // 2)
    assert short_name(longest) == longest
    assert short_name("ü" * 128) == "ü" * 128
    assert short_name(longest + "y") == "910a6184e4365461a0284f1416410277"
    assert short_name(longest + "y") != short_name(longest + "z")
    assert derived_id(longest + "y", 1) == f"{short_name(longest + 'y')}-0000000000000001"


@pytest.mark.parametrize(
    ("key", "continuation", "found"), [(3, 0, "parent/3"), ("pay", 0, "parent/pay"), (3, 2, "parent/2+3")]
)
def test_a_child_is_named_after_its_parent(key: int | str, continuation: int, found: str) -> None:
    assert child_id("parent", key, continuation) == found


def test_children_of_different_continuations_are_different_runs() -> None:
    ids = {child_id("parent", key, turn) for key in (1, 2, 11) for turn in range(3)}
    assert len(ids) == 9


def test_a_child_of_a_parent_with_a_long_name_has_an_id_that_fits() -> None:
    fits, longest = "p" * (ID_BYTES_MAX - 2), "p" * (ID_BYTES_MAX - 1)
    assert child_id(fits, 3) == f"{fits}/3"
    short = child_id(longest, 3)
    assert short == "a318cca97c5eea6d26cdaab52127d6d2/3"
    assert short != child_id(longest[:-1] + "q", 3)
    assert child_id(longest, 3, 1) == f"{short[:32]}/1+3"
    assert len(child_id("ü" * 256, 3).encode()) == 34


def test_calls_of_a_task_are_numbered_from_the_second_on() -> None:
    ids = CallIds()
    assert [ids.next(name) for name in ("a", "b", "a", "a", "b")] == ["a", "b", "a#1", "a#2", "b#1"]


# Idempotency keys ----------------------------------------------------------------------------------------------------


def test_a_key_is_the_same_for_every_attempt_for_ever() -> None:
    """Outside systems remember these keys: the form never changes."""
    assert idempotency_key("app", "run", 0, 3, "charge") == "5f625711c0a4a62e51922f52bc2b4064"


def test_keys_of_different_steps_differ() -> None:
    base: tuple[str, str, int, int | str, str] = ("app", "run", 0, 3, "charge")
    others = [("b", *base[1:]), ("app", "b", *base[2:]), ("app", "run", 1, 3, "charge"), ("app", "run", 0, 4, "charge"),
              ("app", "run", 0, "s", "charge"), ("app", "run", 0, 3, "refund")]  # fmt: skip
    keys = {idempotency_key(*one) for one in (base, *others)}
    assert len(keys) == 1 + len(others)


def test_a_lone_surrogate_in_a_name_has_a_key_all_the_same() -> None:
    assert idempotency_key("app", "run", 0, "\ud800", "n") != idempotency_key("app", "run", 0, "\ud801", "n")
