"""`key=value`: typed by the annotation, else JSON, else text."""

import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import pytest

from durable import InMemoryStore, Workflow
from durable.cli.arguments import arguments_of, parse_value
from durable.cli.exits import CommandError


@dataclass
class Address:
    street: str
    number: int = 1


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
        (Address, '{"road": "Elm"}', "it does not fit the annotation Address"),
        (Address, '{"street": 3}', "it does not fit the annotation Address"),
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
    assert [parse_value(text) for text in ("1", '"a"', "yes", "{", "Infinity")] == [1, "a", "yes", "{", "Infinity"]
