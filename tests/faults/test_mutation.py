"""The campaigns `mutation` and `coverage`: what mutants there are, and that tests which are no good are found out."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.torture._mutator import mutants, mutated
from tests.torture._rounds import Played, play
from tests.torture.coverage import left_out
from tests.torture.mutation import Candidate, Tally, candidates, equivalents, ordered_tests, tallied


def changes(source: str) -> set[str]:
    return {one.change for one in mutants(ast.parse(source))}


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("x = a < b", {"a < b -> a <= b", "a < b -> a >= b"}),
        ("x = a is not None", {"a is not None -> a is None"}),
        ("x = a and b", {"a and b -> a or b"}),
        ("x = a - 7", {"a - 7 -> a + 7", "7 -> 8"}),
        ("x = not a", {"not a -> a"}),
        ("x = True", {"True -> False"}),
        ("x = 'text'", {"'text' -> 'text~'"}),
        ("x = a if b else c", {"a if b else c -> c if b else a"}),
        ("x = min(a)", {"min(a) -> max(a)"}),
        ("x = a[b:]", {"b: -> :"}),
        ("x = [a for a in b if a]", {"for a in b if a -> for a in b"}),
        ("x = replace(b=c, d=e)", {"replace(b=c, d=e) -> replace(d=e)", "replace(b=c, d=e) -> replace(b=c)"}),
        ("def f():\n return a", {"return a -> return None"}),
        ("def f(a):\n a = b\n a.c = d\n e()", {"a = b -> pass", "a.c = d -> pass", "e() -> pass"}),
        ("if a:\n b", {"if a: -> if not a:"}),
        ("for a in b:\n continue", {"continue -> pass", "continue -> break"}),
        ("raise a(f'words {1}', 'words')", {"raise a(f'words {1}', 'words') -> pass"}),
        ("isinstance(a, B | C)", {"B | C -> B", "B | C -> C", "isinstance(a, B | C) -> pass"}),
        ("'''words'''\nx: int\nassert a < b\n__all__ = ['c']\nfrom d import e", set()),
        ("def f(a: b[1]) -> c[1]: ...", set()),
    ],
)  # fmt: skip
def test_there_is_a_mutant_for_each_small_change(source, there) -> None:
    assert changes(source) == there


def test_a_mutant_differs_from_the_source_at_its_place_only() -> None:
    source = "def f(a):\n    if a < 1:\n        return 2\n    return 3\n"
    made = [ast.unparse(mutated(source, number)) for number in range(len(mutants(ast.parse(source))))]
    assert len({*made, ast.unparse(ast.parse(source))}) == len(made) + 1
    assert made[0] == "def f(a):\n    if not a < 1:\n        return 2\n    return 3"


def test_mutants_that_are_called_equivalent_are_there_and_have_a_reason() -> None:
    names = {one.name for one in candidates()}
    assert [name for name in equivalents() if name not in names] == []
    assert all(len(why.split()) > 4 for why in equivalents().values())


def candidate(file: str, change: str) -> Candidate:
    return next(one for one in candidates() if one.file.endswith(file) and one.mutant.change == change)


def lease_mutant() -> Candidate:
    changes = {one.mutant.change: one for one in candidates() if one.file.endswith("lease.py")}
    return changes["deaths >= DEATHS_MAX -> deaths > DEATHS_MAX"]


def test_a_mutant_is_caught_by_tests_that_look_and_survives_those_that_do_not() -> None:
    one = lease_mutant()
    rounds = [(one.file, one.number, [f"tests/core/{name}.py"]) for name in ("test_lease", "test_places")]
    looking, blind = sorted(play("tests.torture._trial:trial", rounds), key=lambda played: str(played.arguments))
    caught = tallied([looking], [one])
    assert (caught.caught, caught.survivors, caught.violations()) == ({"test": 1}, [], [])
    survived = tallied([blind], [one])
    assert (survived.caught.total(), survived.survivors) == (0, [one])
    assert re.match(r"the score is 0\.0%, less than 90%: 1 mutants survived", survived.violations()[0])


@pytest.mark.parametrize(
    ("result", "failure", "kind"),
    [
        ({"code": 1, "failed": "import: NameError"}, "", "import"),
        ({"code": 2, "failed": ""}, "", "collection"),
        (None, "stuck for 300 s", "time"),
        (None, "ended with code -24", "killed"),
    ],
)
def test_what_else_a_mutant_may_break_is_a_catch(result, failure, kind) -> None:
    one = lease_mutant()
    assert tallied([Played([one.file, one.number, []], result, failure)], [one]).caught == {kind: 1}


def test_a_trial_that_says_nothing_is_no_catch() -> None:
    one = lease_mutant()
    tally = tallied([Played([one.file, one.number, []], None, "ended with code 1")], [one])
    assert (tally.caught.total(), len(tally.violations())) == (0, 1)


def test_tests_that_fail_anyway_catch_nothing() -> None:
    one = lease_mutant()
    plays = [Played(["src", None, []], {"code": 1, "failed": "test"}, ""), Played([one.file, one.number, []], {}, "")]
    tally = tallied(plays, [one])
    assert (tally.caught.total(), tally.violations()) == (0, ["the tests fail without a mutant: test"])


def test_a_score_that_is_high_enough_is_no_violation() -> None:
    one = lease_mutant()
    assert Tally(survivors=[one], caught=Counter(test=9)).violations() == []
    assert Tally(survivors=[one], caught=Counter(test=8)).violations() != []
    assert ordered_tests("src/durable/core/lease.py") == ["tests/core/test_lease.py", "tests/core"]


def test_a_line_and_a_branch_that_no_test_takes_are_violations() -> None:
    files = {"src/a.py": {"missing_lines": [3], "missing_branches": [[1, 3], [5, -4]]}}
    assert left_out({"files": files}) == [
        "src/a.py:3 is not executed", "src/a.py:1 never goes on at line 3", "src/a.py:5 never goes on to its end",
    ]  # fmt: skip
    assert left_out({"files": {"src/a.py": {"missing_lines": [], "missing_branches": []}}}) == []
