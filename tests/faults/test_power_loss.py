"""T6 in short (A24, B10) with its positive controls (T32), and facts about the disk that loses its power."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.torture import powerloss
from tests.torture._disk import Disk, Record, put, sectors_of
from tests.torture._shim import File


def test_a_power_failure_loses_nothing_that_was_acknowledged():
    """Covers: A24, B10"""
    outcome = powerloss.campaign(150, seed=5)
    assert outcome.violations == []
    assert outcome.facts["points"] == {"good": 150}


def call(kind: str, data: bytes = b"", offset: int = 0, *, file: File = File.DATABASE, inode: int = 1) -> Record:
    return Record(kind, file, inode, offset, data)


def left(*calls: Record, seed: int = 0) -> list[bytes | None]:
    """Return what may be left of `x` after many failures."""
    disk = Disk()
    for record in calls:
        disk.play(record)
    source = random.Random(seed)
    return [disk.after_power_loss(source).get("x") for _ in range(300)]


NAMED = (call("c", b"x"), call("s", file=File.FOLDER))


def test_what_was_flushed_stays():
    assert set(left(*NAMED, call("w", b"a" * 1000), call("s"))) == {b"a" * 1000}


def test_what_was_not_flushed_stays_in_part():
    found = set(left(*NAMED, call("w", b"a" * 1024), call("s"), call("w", b"b" * 1024)))
    assert found == {one + other for one in (b"a" * 512, b"b" * 512) for other in (b"a" * 512, b"b" * 512)}


def test_a_cut_that_was_not_flushed_may_not_have_happened():
    assert {len(file or b"") for file in left(*NAMED, call("w", b"a" * 600), call("s"), call("t", offset=10))} == {
        10,
        600,
    }


def test_a_file_that_grew_may_hold_rubbish():
    tails = [file[512:] for file in left(*NAMED, call("w", b"a" * 512), call("s"), call("w", b"b" * 512, 512)) if file]
    assert {b"", bytes(512), b"b" * 512} < set(tails)
    assert any(tail not in (b"", bytes(512), b"b" * 512) for tail in tails)


def test_a_name_is_sure_when_its_folder_was_flushed():
    assert None in left(call("c", b"x"), call("w", b"a"), call("s"))
    assert None not in left(*NAMED)


def test_a_removed_file_may_come_back_until_its_folder_is_flushed():
    removed = call("u", b"x")
    assert set(left(*NAMED, call("w", b"a"), call("s"), removed)) == {b"a", None}
    assert set(left(*NAMED, call("w", b"a"), call("s"), removed, call("s", file=File.FOLDER))) == {None}


def test_sectors_begin_at_multiples_of_their_size():
    assert [(start, len(piece)) for start, piece in sectors_of(call("w", b"a" * 600, 500))] == [
        (500, 12),
        (512, 512),
        (1024, 76),
    ]


def test_what_is_left_replaces_what_was_there(tmp_path):
    (tmp_path / "old").write_bytes(b"")
    put({"/somewhere/x": b"a"}, tmp_path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("x", b"a")]


# The verdict ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_sound", "acknowledged", "verdict"),
    [
        ("b", True, 1, powerloss.GOOD),
        ("c", True, 1, powerloss.GOOD),  # committed, and not acknowledged yet
        ("a", True, 1, powerloss.LOST),
        ("x", True, 1, powerloss.DAMAGED),
        ("x", True, -1, powerloss.GOOD),  # nothing was acknowledged: it may be created now
        ("b", False, 1, powerloss.DAMAGED),
        ("b", False, -1, powerloss.DAMAGED),
    ],
)
def test_the_verdict_about_a_database(text: str, is_sound: bool, acknowledged: int, verdict: str):
    said = powerloss.Said(text, is_sound=is_sound)
    assert powerloss.judge(said, {"a": 0, "b": 1, "c": 2}, acknowledged) == verdict


def test_controls_that_find_nothing_are_violations():
    lost, damaged, fine = Counter(lost=1), Counter(damaged=1), Counter(good=9)
    assert powerloss.judge_controls(lost, damaged) == []
    assert len(powerloss.judge_controls(fine, damaged)) == 1
    assert len(powerloss.judge_controls(lost, fine)) == 1
    assert len(powerloss.judge_controls(lost + damaged, damaged)) == 1
