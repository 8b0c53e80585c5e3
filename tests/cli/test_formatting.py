"""Durations, moments and values as text."""

import json
from datetime import datetime, timedelta

import pytest

from durable.cli.formatting import ago, as_json, cut, duration, json_line, moment, parse_duration, parse_moment, plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.012, "12 ms"), (0.9996, "1.0 s"), (3.44, "3.4 s"), (59.94, "59.9 s"), (59.96, "1 m 00 s"),
        (125, "2 m 05 s"), (3_599, "59 m 59 s"), (3_600, "1 h 00 m"), (12_000, "3 h 20 m"), (86_400, "1 d 00 h"),
        (86_400 * 400 + 7_200, "400 d 02 h"), (-5, "-5.0 s"),
    ],
)  # fmt: skip
def test_durations_read_easily(seconds, text) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("1h30m", timedelta(minutes=90)),
        ("2w", timedelta(14)), ("1.5s", timedelta(seconds=1.5)), ("250ms", timedelta(milliseconds=250)),
        ("0s", timedelta(0)),
    ],
)  # fmt: skip
def test_durations_are_read(text, value) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "30", "d", "30 d", "30x", "-1d", "1d-", "d30", "999999999999d"])
def test_what_is_no_duration_is_refused(text) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_moments_are_read() -> None:
    now = datetime.now().astimezone()
    assert parse_moment("2h", now) == now - timedelta(hours=2)
    assert parse_moment("2026-11-21T14:30:00+02:00", now).utcoffset() is not None
    assert parse_moment("2026-11-21", now).replace(tzinfo=None) == datetime(2026, 11, 21)
    for text in ("soon", "2026-13-01", "99999999d"):
        with pytest.raises(ValueError, match=r"moment|before"):
            parse_moment(text, now)


@pytest.mark.parametrize("text", ["9999-12-31T23:59-14:00", "0001-01-01T00:00+14:00"])
def test_a_moment_at_the_end_of_time_is_refused(text) -> None:
    """Fuzzing found it: converted to local time it has no year, and `runs list --since` ended in a traceback."""
    with pytest.raises(ValueError, match="outside of the years 1 to 9999"):
        parse_moment(text, datetime.now().astimezone())


def test_times_are_told_from_now() -> None:
    assert (ago(0, 5_000), ago(5_000, 0)) == ("5.0 s ago", "in 5.0 s")
    assert moment(None) == "-"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"), ("a\x07\x9b", "a\\x07\\x9b"), ("a\nb", "a\\nb"),
        ("a\u202eb", "a\\u202eb"), ("ä→", "ä→"),
    ],
)  # fmt: skip
def test_nothing_drives_the_terminal(text, shown) -> None:
    assert plain(text) == shown


def test_lines_may_be_kept() -> None:
    assert plain("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


def test_text_is_cut_to_one_line() -> None:
    assert (cut("a\n b", 10), cut("abcdef", 4), cut("abc", 0)) == ("a b", "abc…", "…")


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ({"a": (1, {2})}, {"a": [1, [2]]}),
        ((float("-inf"),), ["-inf"]),
        (float("nan"), "nan"),
        ([float("inf")], ["inf"]),
        ({1: "x"}, {"1": "x"}),
        (b"ab", "YWI="),
        (timedelta(seconds=1), "PT1S"),
        (object, "<class 'object'>"),
        (Broken(), "<Broken whose repr raises RuntimeError>"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
def test_any_value_becomes_json(value, made) -> None:
    assert as_json(value) == made
    assert json.loads(json_line(value)) == made


def test_a_pydantic_model_becomes_an_object() -> None:
    from pydantic import BaseModel

    class Model(BaseModel):
        number: int

    assert as_json([Model(number=1)]) == [{"number": 1}]


def test_a_lone_surrogate_becomes_an_escape() -> None:
    assert json_line("\ud800") == '"\\ud800"'
