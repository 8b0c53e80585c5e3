"""A mismatch of arguments tells which of them differ, and where."""

from dataclasses import dataclass

import pytest

import durable
from durable import InMemoryStore, InputMismatch, Workflow
from durable.codec.chain import CodecChain
from durable.codec.encryption import Encryption, KeyRing
from durable.codec.json_codec import JsonCodec
from durable.runtime.differences import apart, differing


@dataclass
class Address:
    street: str
    city: str


class Broken:
    def __repr__(self) -> str:
        raise OSError("gone")


def test_only_what_differs_is_named() -> None:
    found = ((), {"order_id": "9", "cents": 990, "to": Address("Elm", "Graz")})
    wanted = ((), {"order_id": "9", "cents": 100, "to": Address("Elm", "Wien")})
    assert differing(found, wanted) == (
        "cents=990, to=Address(street='Elm', city='Graz')",
        "cents=100, to=Address(street='Elm', city='Wien')",
    )


def test_of_long_values_the_part_that_differs_is_shown() -> None:
    found, wanted = (((), {"text": "word " * 100 + end + "!" * 100}) for end in ("one", "two"))
    one, two = differing(found, wanted)
    assert one == "text=…" + "word " * 4 + "one" + "!" * 37 + "…"
    assert two == "text=…" + "word " * 4 + "two" + "!" * 37 + "…"


def test_an_argument_that_one_call_left_out_is_told_so() -> None:
    assert differing(((1,), {}), ((1,), {"page": 2})) == ("page left out", "page=2")
    assert differing(((1, 2), {}), ((1,), {})) == ("argument 2=2", "argument 2 left out")


def test_of_many_that_differ_the_first_are_named() -> None:
    one, two = (((), {f"x{i}": value for i in range(9)}) for value in (1, 2))
    assert differing(one, two) == ("x0=1, x1=1, x2=1, and 6 more", "x0=2, x1=2, x2=2, and 6 more")


def test_equal_arguments_do_not_differ() -> None:
    assert differing(((1,), {"a": 2}), ((1,), {"a": 2})) == ("", "")


def test_a_broken_repr_is_no_error() -> None:
    found, _ = differing(((Broken(),), {}), ((1,), {}))
    assert found == "argument 1=<Broken whose repr raises OSError>"


@pytest.mark.parametrize(
    ("one", "other", "parts"),
    [
        ("abc", "abd", ("abc", "abd")),
        ("", "abc", ("", "abc")),
        ("x" * 100, "x" * 100, ("…" + "x" * 60, "…" + "x" * 60)),
        ("x" * 100 + "a", "x" * 100 + "b", ("…" + "x" * 59 + "a", "…" + "x" * 59 + "b")),
        ("a" + "x" * 100, "b" + "x" * 100, ("a" + "x" * 59 + "…", "b" + "x" * 59 + "…")),
    ],
)
def test_texts_are_cut_to_where_they_differ(one, other, parts) -> None:
    assert apart(one, other) == parts


async def test_calls_and_starts_tell_the_difference() -> None:
    app = Workflow("app", db=InMemoryStore())

    @app.workflow(id="order-{order_id}")
    async def order(order_id: str, cents: int, to: Address) -> None: ...

    text = "Street of a name that takes more than the eighty characters that are kept as text of the arguments, "
    await order("9", 990, Address(text, "Graz"))
    for call in (order, order.start, order.options(id="order-9").start):
        with pytest.raises(InputMismatch) as refused:
            await call("9", 990, Address(text, "Wien"))
        assert refused.value.found == f"to=…{text[-45:]}', city='Graz')"
        assert refused.value.wanted == f"to=…{text[-45:]}', city='Wien')"
        assert "pass on_conflict='attach' to take the run that is there" in str(refused.value)
    await app.stop()


async def test_a_run_that_continued_as_new_is_known_by_its_first_arguments() -> None:
    app = Workflow("app", db=InMemoryStore())

    @app.workflow(id="loop")
    async def loop(number: int) -> int:
        if number < 3:
            durable.continue_as_new(number + 1)
        return number

    assert await loop(1) == 3
    with pytest.raises(InputMismatch) as refused:
        await loop(3)
    assert (refused.value.found, refused.value.wanted) == ('"number":1', '"number":3')
    await app.stop()


async def test_what_is_encrypted_is_not_told() -> None:
    keys = Encryption(KeyRing({"2026": b"k" * 32}))
    app = Workflow("app", db=InMemoryStore(), codec=CodecChain(JsonCodec(), keys))

    @app.workflow(id="order")
    async def order(card: str) -> None: ...

    await order("4711")
    with pytest.raises(InputMismatch) as refused:
        await order("4712")
    assert "run 'order' was started with other arguments than these; use another id" in str(refused.value)
    assert "471" not in repr(refused.value)
    await app.stop()


def test_what_is_known_only_by_its_beginning_says_so() -> None:
    error = InputMismatch("order-9", '"text":"word w…', '"text":"word w…')
    assert "was started with other arguments than these, which begin alike (" in str(error)
