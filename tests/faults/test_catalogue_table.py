"""The catalogue of faults and its page are those of the tests there are."""

from __future__ import annotations

import ast

import pytest

from tests.faults import table
from tests.faults.catalogue import CONTRACT, ROWS, SECTIONS
from tests.torture import _figures

NUMBERS = [row.number for row in ROWS]


def test_each_row_is_shown_by_a_test_a_campaign_or_told_among_the_limits():
    assert [number for number in NUMBERS if number not in table.shown().numbers()] == []


def test_what_tests_say_that_they_show_is_in_the_catalogue():
    assert sorted(table.shown().numbers() - set(NUMBERS)) == []


def test_facts_of_the_contract_that_show_something_are_there():
    assert sorted(CONTRACT.keys() - table.facts().keys()) == []
    assert {number for numbers in CONTRACT.values() for number in numbers} <= set(NUMBERS)


def test_the_catalogue_counts_from_one_without_gaps():
    for section in SECTIONS:
        own = [number for number in NUMBERS if number[0] == section]
        assert own == [f"{section}{number}" for number in range(1, len(own) + 1)]
        assert own


def test_the_page_is_up_to_date():
    assert table.table(table.PAGE.read_text()) == table.table(table.page()), "run: python -m tests.faults.table"


def test_each_line_of_figures_belongs_to_a_campaign():
    assert {line["name"] for line in _figures.lines()} <= table.campaigns().keys()


def test_figures_are_those_of_the_last_line_and_of_all_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(_figures, "FIGURES", tmp_path / "figures.jsonl")
    monkeypatch.setattr(_figures, "_commit", lambda: "abc1234")
    assert _figures.unused_seed("kill") == 0
    _figures.keep({"name": "kill", "n": 1000, "violations": 1, "seeds": [0, 999], "seconds": 60.5})
    assert _figures.unused_seed("kill") == 1_000_000
    _figures.keep(
        {
            "name": "kill", "n": 500, "violations": 0, "seeds": [1_000_000, 1_000_499], "seconds": 31.0,
            "points": {"good": 2000},
        }
    )  # fmt: skip
    assert (_figures.unused_seed("kill"), _figures.unused_seed("starts")) == (2_000_000, 0)
    day = _figures.lines()[-1]["date"]
    shown = table.page().partition(table.FIGURES_TITLE)[2].splitlines()
    expected = "| *kill* | 500 | 0 | 1000000–1000499 | 31.0 | points (good 2,000) | " + day + " | abc1234 | 1,500 | 1 |"
    assert expected in shown
    assert "| *starts* | | | | | | | | | |" in shown


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("Covers: A3, A14", ["A3", "A14"]), ("It holds.\n\nCovers: B1\n", ["B1"]), ("It covers: nothing", []), ("", [])],
)
def test_numbers_are_read_from_the_last_line_of_a_docstring(text, numbers):
    assert table.covered(ast.parse(f'"""{text}"""'), "here") == numbers


@pytest.mark.parametrize("text", ["Covers: A3\n\nAnd more.", "Covers: A3\nCovers: A4", "Covers: A3-A5", "Covers: A3."])
def test_a_line_that_would_not_be_understood_is_refused(text):
    with pytest.raises(ValueError, match="here: "):
        table.covered(ast.parse(f'"""{text}"""'), "here")
