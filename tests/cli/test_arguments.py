"""`key=value`: typed by the annotation, else JSON, else text."""

import enum
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType

import pydantic
import pytest

from durable import InMemoryStore, Workflow
from durable.cli.arguments import arguments_of, parse_value
from durable.cli.exits import CommandError


@dataclass
class Address:
    street: str
    number: int = 1


class Home(NamedTuple):
    x: int
    y: int = 0


class Model(pydantic.BaseModel):
    street: str
    near: Address | None = None


class Handmade:
    def __init__(self, text: str) -> None:
        self.text = text


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


OrderId = NewType("OrderId", str)


def workflow_with(annotation: Any):
    wf = Workflow("typed", db=InMemoryStore())

    async def flow(value):
        return value

    flow.__annotations__["value"] = annotation
    return wf.workflow(flow)


def typed(annotation: Any, text: str) -> Any:
    args, kwargs = arguments_of(workflow_with(annotation), [f"value={text}"])
    assert args == []
    return kwargs["value"]


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (Any, "42", 42),
        (Any, "4.5", 4.5),
        (Any, "true", True),
        (Any, "null", None),
        (Any, '{"a": [1]}', {"a": [1]}),
        (Any, "plain text", "plain text"),
        (Any, "NaN", "NaN"),
        (Any, "", ""),
        (Any, "a=b", "a=b"),
        (str, "42", "42"),
        (str, "null", "null"),
        (str, '"x"', '"x"'),
        (OrderId, "42", "42"),
        (Annotated[str, "a note"], "42", "42"),
        (str | None, "42", "42"),
        (str | None, "null", None),
        (int | None, "3", 3),
        (int | str, "3", 3),
        (int | str, "x", "x"),
        (int | str, "1.5", "1.5"),
        (int, "-3", -3),
        (float, "3", 3.0),
        (float, "inf", float("inf")),
        (bool, "true", True),
        (bool, "False", False),
        (bytes, "ab", b"ab"),
        (Path, "a/b", Path("a/b")),
        (Decimal, "1.10", Decimal("1.10")),
        (uuid.UUID, "12345678123456781234567812345678", uuid.UUID(int=0x12345678123456781234567812345678)),
        (date, "2026-11-21", date(2026, 11, 21)),
        (datetime, "2026-11-21T10:00:00+00:00", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        (timedelta, "90", timedelta(seconds=90)),
        (timedelta, "1h30m", timedelta(minutes=90)),
        (Colour, "red", Colour.RED),
        (Colour, "RED", Colour.RED),
        (Colour, "2", Colour.BLUE),
        (Literal["a", 3], "a", "a"),
        (Literal["a", 3], "3", 3),
        (list[int], "[1, 2]", [1, 2]),
        (Address, '{"street": "Elm"}', Address("Elm")),
        (list[Address], '[{"street": "Elm", "number": 2}]', [Address("Elm", 2)]),
        (Address | None, "null", None),
        (Address | None, '{"street": "Elm"}', Address("Elm")),
        (Model, '{"street": "Elm", "near": {"street": "Oak"}}', Model(street="Elm", near=Address("Oak"))),
        (Address | Home, '{"x": 1}', Home(1)),
        (Home, '{"x": 1}', Home(1)),
        (Home, "[1, 2]", Home(1, 2)),
        (list[Address | Home], '[{"x": 1}, {"street": "Elm"}]', [Home(1), Address("Elm")]),
        (dict[int, Address], '{"7": {"street": "Elm"}}', {7: Address("Elm")}),
        (dict[int, Address | Home], '{"7": {"street": "Elm"}}', {7: Address("Elm")}),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (set[str], '["a"]', {"a"}),
        (deque[int], "[1]", deque([1])),
        (list[datetime], '["2026-11-21T10:00:00Z"]', [datetime(2026, 11, 21, 10, tzinfo=UTC)]),
        (int | Decimal, "1.10", Decimal("1.10")),
        (float | int, "3", 3),
        (date | str, "2026-11-21", date(2026, 11, 21)),
        (Path | str, "a/b", "a/b"),
        (int | str, '"3"', "3"),
        (dict | str, "{'a': 1}", "{'a': 1}"),
        (complex, "1+2j", 1 + 2j),
        (Callable[[], int] | None, "null", None),
        (list["Unknown"], "[1]", [1]),  # type: ignore[name-defined]  # noqa: F821 - known to type checkers only
    ],
)
def test_a_value_is_what_its_annotation_says(annotation, text, value) -> None:
    found = typed(annotation, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (int, "x", "argument 'value' is 'x': expected int"),
        (int, "1.5", "expected int"),
        (float, "x", "expected float"),
        (bool, "yes", "expected bool (true or false)"),
        (Decimal, "x", "expected Decimal"),
        (uuid.UUID, "x", "expected UUID"),
        (date, "tomorrow", "expected date"),
        (timedelta, "soon", "expected timedelta ('soon' is no duration"),
        (Colour, "green", "expected Colour (one of RED, BLUE)"),
        (Literal["a", "b"], "c", "(one of 'a', 'b')"),
        (Decimal, "x", "argument 'value' is 'x': expected Decimal"),
        (Address, "Graz", """'Graz': expected Address, as JSON: {"street": str, "number": int} (expected object"""),
        (Address, "", "expected Address, as JSON"),
        (Address, '{"road": "Elm"}', "(object missing required field street)"),
        (Address, '{"street": 3}', "(expected str, got int at .street)"),
        (Address | None, "Graz", 'expected Address | None, as JSON: {"street": str, "number": int}'),
        (Address | None, "5", "(expected object, got int)"),
        (Model | None, "abc", 'expected Model | None, as JSON: {"street": str, "near": Address | None}'),
        (Model, '{"street": 3}', "(street: Input should be a valid string)"),
        (Model, "[]", "expected Model, as JSON"),
        (Home, '{"x": "a"}', "(expected int, got str at .x)"),
        (list[int] | None, "1", "expected list[int] | None, as JSON (expected array, got int)"),
        (list[int], '["a"]', "(expected int, got str at [0])"),
        (list[int], "", "expected list[int], as JSON"),
        (list[Address], '[{"street": "a"}, 5]', "expected list[Address], as JSON (expected object, got int at [1])"),
        (list[Address | Model], "[7]", "(it fits none of Address, Model at [0])"),
        (dict[str, int], '{"a": "b"}', "expected dict[str, int], as JSON (expected int, got str"),
        (tuple[int, int], "[1]", "expected tuple[int, int], as JSON (expected array of length 2, got 1)"),
        (list, "x", "expected list, as JSON"),
        (datetime | None, "soon", "expected datetime | None ("),
        (int | Decimal, "x", "expected int | Decimal"),
        (Handmade, "x", "expected Handmade, as JSON (no Handmade can be made of str)"),
        (Any, "{'a': 1}", "it begins like JSON and is none (Expecting property name enclosed in double quotes"),
        (Any, '"a', 'if text is meant, write it as a JSON string: "\\"a"'),
    ],
)
def test_a_value_that_does_not_fit_is_refused(annotation, text, expected) -> None:
    with pytest.raises(CommandError) as refused:
        typed(annotation, text)
    assert expected in str(refused.value)
    assert (refused.value.code, "\n" in str(refused.value)) == (2, False)


def test_positional_only_parameters_are_given_by_name_too() -> None:
    wf = Workflow("typed", db=InMemoryStore())

    @wf.workflow
    async def flow(first: str, second: int, /, third: int = 0) -> None: ...

    assert arguments_of(flow, ["second=2", "first=1"]) == (["1", 2], {})
    assert arguments_of(flow, ["third=3", "first=1", "second=2"]) == (["1", 2], {"third": 3})


def test_a_generator_workflow_takes_arguments_without_its_context() -> None:
    wf = Workflow("typed", db=InMemoryStore())

    @wf.workflow
    def flow(ctx, number: int):
        yield ctx.sleep(0)

    assert arguments_of(flow, ["number=3"]) == ([], {"number": 3})


def test_a_payload_is_json_or_text() -> None:
    assert [parse_value(text) for text in ("1", '"a"', "yes", "Infinity")] == [1, "a", "yes", "Infinity"]


@pytest.mark.parametrize("text", ["{", "{'by': 'ada'}", "[1", ' "a', "[" * 100_000])
def test_what_begins_like_json_and_is_none_is_no_value(text) -> None:
    with pytest.raises(ValueError, match=r"JSON|deep"):
        parse_value(text)
