"""`durable prune`: by age, by number, by state; what others need stays."""

import pytest


def ids(durable) -> list[str]:
    return [line["id"] for line in durable("runs", "list", "--json", "--limit", "1000").objects]


@pytest.fixture
def stocked(durable, monkeypatch):
    """Ended long ago: order-0, order-1, bad-x; ended now: order-2, plain."""
    monkeypatch.setenv("SHOP_DAYS_AGO", "40")
    for number in range(2):
        assert durable("run", "shop.py:order", f"order_id={number}").code == 0
    assert durable("run", "shop.py:bad", "text=x").code == 1
    monkeypatch.setenv("SHOP_DAYS_AGO", "0")
    assert durable("run", "shop.py:order", "order_id=2").code == 0
    assert durable("run", "shop.py:plain", "number=1", "--id", "plain").code == 0
    return durable


def test_runs_that_ended_long_ago_go(stocked) -> None:
    done = stocked("prune", "--older-than", "30d", "--yes")
    assert (done.code, done.out) == (0, "2 runs deleted\n")
    assert ids(stocked) == ["plain", "order-2", "bad-x"]


def test_failed_runs_go_only_when_named(stocked) -> None:
    assert stocked("prune", "--older-than", "30d", "--state", "failed", "--yes").out == "1 run deleted\n"
    assert ids(stocked) == ["plain", "order-2", "order-1", "order-0"]


def test_the_newest_of_each_workflow_stay(stocked) -> None:
    assert stocked("prune", "--keep", "1", "--yes", "--json").object == {"matching": 2, "deleted": 2, "dry_run": False}
    assert ids(stocked) == ["plain", "order-2", "bad-x"]


def test_age_and_number_together_are_the_milder_of_both(stocked) -> None:
    assert stocked("prune", "--keep", "2", "--older-than", "30d", "--yes").out == "1 run deleted\n"
    assert ids(stocked) == ["plain", "order-2", "bad-x", "order-1"]


def test_only_one_workflow_is_pruned_when_named(stocked) -> None:
    assert stocked("prune", "--older-than", "0s", "--workflow", "plain", "--yes").out == "1 run deleted\n"
    assert "order-2" in ids(stocked)


def test_a_dry_run_deletes_nothing(stocked) -> None:
    done = stocked("prune", "--older-than", "30d", "--dry-run")
    assert (done.code, done.out) == (0, "2 runs would be deleted, less those that others wait for\n")
    assert len(ids(stocked)) == 5


def test_the_question_names_the_number(stocked, answers) -> None:
    answers("n")
    done = stocked("prune", "--older-than", "30d")
    assert (done.code, "delete up to 2 runs?" in done.err) == (5, True)
    assert len(ids(stocked)) == 5


def test_open_runs_stay(durable, shop) -> None:
    """Covers: L7"""
    shop.start("order", "1")
    assert durable("prune", "--keep", "0", "--yes").out == "0 runs deleted\n"
    assert ids(durable) == ["order-1"]


def test_large_numbers_go_in_batches(durable, shop, monkeypatch) -> None:
    monkeypatch.setattr("durable.cli.prune.BATCH", 2)
    monkeypatch.setattr("durable.cli.prune.LIST_PAGE_MAX", 3)
    shop.start("order", *range(7))
    assert durable("runs", "cancel", "--all", "--yes").code == 0
    assert durable("prune", "--keep", "0", "--yes").out == "7 runs deleted\n"


def test_a_run_whose_parent_is_open_stays(durable, shop) -> None:
    """Covers: L7"""
    (shop.folder / "family.py").write_text(
        "from durable import Workflow\nwf = Workflow('family')\n"
        "@wf.workflow(id='child')\nasync def child(): return 1\n"
        "@wf.workflow(id='parent')\nasync def parent():\n    await child()\n    await wf.signal('go')\n"
    )
    from tests.cli.support import wait_for

    with shop.popen("run", "family.py:parent") as process:
        wait_for(process.stderr, "suspended")
    done = durable("prune", "--keep", "0", "--yes")
    assert (done.code, done.out) == (0, "0 runs deleted; 1 stay, because other runs need them\n")
