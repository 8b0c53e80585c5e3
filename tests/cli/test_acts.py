"""`durable runs cancel|pause|resume|retry`, one by one and in bulk; `signal` and `send`."""

import json

import pytest

from tests.cli.support import wait_for


@pytest.fixture
def queued(durable, shop):
    """Three runs that wait for a worker: order-1, order-2, approval-1."""
    shop.start("order", "1", "2")
    shop.start("approval", "1")
    return durable


def states(durable) -> dict[str, str]:
    return {line["id"]: line["state"] for line in durable("runs", "list", "--json").objects}


def test_runs_are_paused_and_resumed_by_id(queued) -> None:
    done = queued("runs", "pause", "order-1", "order-2")
    assert (done.code, done.out) == (0, "run 'order-1': paused\nrun 'order-2': paused\n")
    assert "paused; to let it go on: durable runs resume order-1" in queued("runs", "show", "order-1").out
    assert queued("runs", "resume", "order-1", "--json").object == {"id": "order-1", "done": "queued"}
    assert states(queued) == {"order-1": "queued", "order-2": "paused", "approval-1": "queued"}


def test_a_run_is_cancelled_with_a_reason(queued) -> None:
    done = queued("runs", "cancel", "order-1", "--because", "no money")
    assert (done.code, done.out) == (0, "run 'order-1': cancelled\n")
    assert "no money" in queued("runs", "list", "--state", "cancelled").out


def test_a_filter_asks_before_it_acts(queued, answers) -> None:
    answers("n")
    done = queued("runs", "cancel", "--workflow", "order")
    assert (done.code, "nothing was changed" in done.err) == (5, True)
    assert "cancel 2 runs (order-2, order-1)?" in done.err
    assert set(states(queued).values()) == {"queued"}
    answers("y")
    assert queued("runs", "cancel", "--workflow", "order").code == 0
    assert states(queued) == {"order-1": "cancelled", "order-2": "cancelled", "approval-1": "queued"}


def test_a_question_that_nobody_can_answer_is_refused(queued) -> None:
    done = queued("runs", "cancel", "--all")
    assert (done.code, done.out) == (2, "")
    assert "cancel 3 runs (approval-1, order-2, order-1)? Nobody can answer here: add --yes" in done.err
    assert set(states(queued).values()) == {"queued"}


def test_yes_answers_for_programs(queued) -> None:
    done = queued("runs", "pause", "--all", "--yes", "--json")
    assert [line["done"] for line in done.objects] == ["paused"] * 3
    assert queued("runs", "resume", "--state", "paused", "--workflow", "order", "--yes").code == 0
    assert states(queued) == {"order-1": "queued", "order-2": "queued", "approval-1": "paused"}


def test_bulk_goes_over_page_limits(durable, shop, monkeypatch) -> None:
    monkeypatch.setattr("durable.cli.acts.LIST_PAGE_MAX", 3)
    monkeypatch.setattr("durable.cli.acts.AT_ONCE", 2)
    shop.start("order", *range(8))
    assert len(durable("runs", "cancel", "--all", "--yes", "--json").objects) == 8
    assert set(states(durable).values()) == {"cancelled"}


def test_a_filter_that_matches_nothing_changes_nothing(queued) -> None:
    done = queued("runs", "cancel", "--workflow", "none")
    assert (done.code, done.err) == (0, "no runs match\n")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("cancel", "run 'order-9' has succeeded: it has ended and cannot be cancelled"),
        ("pause", "run 'order-9' has succeeded: only a run that has not ended"),
        ("resume", "run 'order-9' has succeeded: only a paused run can be resumed"),
        ("retry", "run 'order-9' has succeeded: only a run that failed or was set aside can be retried"),
    ],
)
def test_a_run_in_the_wrong_state_is_5(durable, command, text) -> None:
    assert durable("run", "shop.py:order", "order_id=9").code == 0
    done = durable("runs", command, "order-9")
    assert (done.code, done.out) == (5, "")
    assert text in done.err
    assert len(done.err.splitlines()) == 1


def test_of_several_runs_each_is_told(queued) -> None:
    done = queued("runs", "pause", "order-1", "nothing", "order-2")
    assert done.code == 5
    assert done.out == "run 'order-1': paused\nrun 'order-2': paused\n"
    assert "run 'nothing' does not exist" in done.err
    assert "durable: 1 of 3 runs could not be changed" in done.err
    lines = queued("runs", "resume", "order-1", "nothing", "--json").objects
    assert [set(line) for line in lines] == [{"id", "done"}, {"id", "error"}]


@pytest.mark.parametrize("command", ["cancel", "pause", "resume", "retry"])
def test_runs_must_be_named_in_one_way(queued, command) -> None:
    done = queued("runs", command)
    assert (done.code, "no runs are named: give run ids, a filter" in done.err) == (2, True)
    done = queued("runs", command, "order-1", "--workflow", "order")
    assert (done.code, "by id and by a filter: give one of the two" in done.err) == (2, True)


# Retry ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def failed(durable):
    """A run that failed in its second step."""
    assert durable("run", "shop.py:bad", "text=x").code == 1
    return durable


def test_retry_says_what_it_drops_and_does_not_ask_if_nothing_is_repeated(failed, shop) -> None:
    done = failed("runs", "retry", "bad-x")
    assert (done.code, done.out) == (0, "run 'bad-x' is queued and goes on as soon as a worker takes it\n")
    assert "run 'bad-x': 2 entries are dropped, at 2-3" in done.err
    assert "what was recorded there: broken error (2)" in done.err
    assert "no effect that succeeded will run again" in done.err
    assert "?" not in done.err
    assert states(failed) == {"bad-x": "queued"}
    (shop.folder / "mended").touch()
    assert failed("run", "shop.py:bad", "text=x").code == 0
    assert shop.ledger() == ["charge x"]
    assert "retried: dropped" in failed("runs", "show", "bad-x").out


def test_retry_from_a_position_repeats_effects(failed, shop) -> None:
    done = failed("runs", "retry", "bad-x", "--from", "1", "--yes")
    assert done.code == 0
    assert "run 'bad-x': 3 entries are dropped, at 1-3" in done.err
    assert "effects that succeeded and will run again: charge (1)" in done.err
    (shop.folder / "mended").touch()
    assert failed("run", "shop.py:bad", "text=x").code == 0
    assert shop.ledger() == ["charge x", "charge x"]


def test_retry_as_json_tells_the_plan(failed) -> None:
    assert failed("runs", "retry", "bad-x", "--from", "1", "--yes", "--json").object == {
        "id": "bad-x", "done": "queued", "dropped": [1, 2, 3], "repeats": ["charge (1)"],
    }  # fmt: skip


@pytest.fixture
def repaid(failed):
    """Another one, whose clean-up succeeded: a retry repeats that."""
    assert failed("run", "shop.py:repaid", "text=y").code == 1
    return failed


@pytest.mark.parametrize("ids", [["repaid-y"], ["bad-x", "repaid-y"], ["repaid-y", "bad-x"]])
def test_retry_asks_before_effects_are_repeated_however_many_runs_are_named(repaid, answers, ids) -> None:
    before = states(repaid)
    done = repaid("runs", "retry", *ids)
    assert (done.code, done.out, "add --yes" in done.err) == (2, "", True)
    assert "effects that succeeded and will run again: refund (2)" in done.err
    answers("n")
    assert repaid("runs", "retry", *ids).code == 5
    assert states(repaid) == before
    answers("y")
    assert repaid("runs", "retry", *ids).code == 0
    assert {states(repaid)[run_id] for run_id in ids} == {"queued"}


def test_retry_of_several_runs_that_repeat_nothing_does_not_ask(failed) -> None:
    assert failed("run", "shop.py:bad", "text=z").code == 1
    done = failed("runs", "retry", "bad-x", "bad-z")
    assert (done.code, done.out) == (0, "run 'bad-x': queued\nrun 'bad-z': queued\n")


def test_retry_by_filter_says_what_is_repeated_and_asks(repaid) -> None:
    done = repaid("runs", "retry", "--state", "failed")
    assert (done.code, done.out) == (2, "")
    assert "effects that succeeded and will run again: refund (2)" in done.err
    assert "retry 2 runs (repaid-y, bad-x)?" in done.err
    assert set(states(repaid).values()) == {"failed"}


def test_retry_of_many_runs_names_those_that_repeat_something(repaid, monkeypatch) -> None:
    monkeypatch.setattr("durable.cli.retry.NAMED_MAX", 1)
    done = repaid("runs", "retry", "--all", "--yes")
    assert done.code == 0
    assert done.err == "run 'repaid-y' will repeat refund (2)\n"
    assert set(states(repaid).values()) == {"queued"}


def test_retry_from_a_position_asks_though_nothing_is_repeated(failed) -> None:
    done = failed("runs", "retry", "bad-x", "--from", "2")
    assert (done.code, "retry run 'bad-x'? Nobody can answer here: add --yes" in done.err) == (2, True)
    assert states(failed) == {"bad-x": "failed"}


def test_several_retries_as_json_tell_their_plans(repaid) -> None:
    lines = repaid("runs", "retry", "bad-x", "repaid-y", "nothing", "--yes", "--json").objects
    assert [line.get("repeats") for line in lines] == [[], ["refund (2)"], None]
    assert "run 'nothing' does not exist" in lines[2]["error"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bad-x", "--from", "99"], "position 99: the journal has positions 1 to 3"),
        (["bad-x", "--from", "0"], "'0' is no whole number of at least 1"),
        (["bad-x", "bad-y", "--from", "1"], "--from POSITION takes exactly one run id"),
        (["--all", "--from", "1"], "--from POSITION takes exactly one run id"),
    ],
)
def test_a_position_that_makes_no_sense_is_2(failed, arguments, text) -> None:
    done = failed("runs", "retry", *arguments)
    assert done.code == 2
    assert text in done.err


def test_a_run_set_aside_is_retried_without_a_question(durable) -> None:
    assert durable("run", "shop.py:stuck", "name=a").code == 1
    done = durable("runs", "retry", "stuck-a")
    assert done.code == 0
    assert "nothing is dropped, it goes on from where it is" in done.err
    assert states(durable) == {"stuck-a": "queued"}


def test_failed_and_set_aside_runs_are_retried_in_bulk(failed) -> None:
    assert failed("run", "shop.py:stuck", "name=a").code == 1
    assert failed("run", "shop.py:order", "order_id=1").code == 0
    assert failed("runs", "retry", "--all", "--yes").code == 0
    assert states(failed) == {"bad-x": "queued", "stuck-a": "queued", "order-1": "succeeded"}


# Signals and messages ------------------------------------------------------------------------------------------------


def test_a_signal_is_delivered_once(queued) -> None:
    done = queued("runs", "signal", "approval-1", "approval", '{"ok": true}')
    assert (done.code, done.out) == (0, "signal 'approval' is delivered to run 'approval-1': {\"ok\": true}\n")
    again = queued("runs", "signal", "approval-1", "approval", "no")
    assert again.code == 5
    assert "was delivered before; the first payload stays" in again.err
    assert json.loads(queued("run", "shop.py:approval", "order_id=1").out) == {"ok": True}


@pytest.mark.parametrize(("payload", "value"), [([], None), (["yes"], "yes"), (["3"], 3), (['"3"'], "3")])
def test_a_payload_is_json_or_text(queued, payload, value) -> None:
    assert queued("runs", "signal", "approval-1", "approval", *payload, "--json").object["done"] == "delivered"
    assert json.loads(queued("run", "shop.py:approval", "order_id=1").out) == value


def test_a_signal_to_a_run_that_does_not_exist_needs_early(queued) -> None:
    done = queued("runs", "signal", "approval-2", "approval")
    assert done.code == 4
    assert "--early delivers a signal to a run that is yet to be started" in done.err
    assert queued("runs", "signal", "approval-2", "approval", "soon", "--early").code == 0
    assert queued("run", "shop.py:approval", "order_id=2").out == '"soon"\n'


def test_an_ended_run_takes_no_signal_and_no_message(durable) -> None:
    """Covers: F21"""
    assert durable("run", "shop.py:order", "order_id=9").code == 0
    done = durable("runs", "signal", "order-9", "approval")
    assert (done.code, "it has ended and waits for no signal" in done.err) == (5, True)
    done = durable("runs", "send", "order-9", "mail")
    assert (done.code, "cannot receive messages any more" in done.err) == (5, True)


def test_messages_are_received_in_order_and_each_id_once(durable, shop) -> None:
    shop.start("inbox", "a")
    for payload, message_id in (("first", "1"), ("again", "1"), ('{"n": 2}', "2")):
        assert durable("runs", "send", "inbox-a", "mail", payload, "--id", message_id).code == 0
    assert json.loads(durable("run", "shop.py:inbox", "name=a").out) == ["first", {"n": 2}]


def test_a_message_needs_a_run(queued) -> None:
    done = queued("runs", "send", "nothing", "mail", "--json")
    assert (done.code, done.out) == (4, "")
    assert "run 'nothing' does not exist" in done.err


@pytest.mark.parametrize("command", ["signal", "send"])
def test_a_payload_that_was_meant_as_json_and_is_none_is_not_delivered(queued, command) -> None:
    done = queued("runs", command, "approval-1", "approval", "{'by': 'ada'}")
    assert (done.code, done.out) == (2, "")
    assert """payload "{'by': 'ada'}": it begins like JSON and is none (Expecting property name""" in done.err
    assert "if text is meant, write it as a JSON string" in done.err
    assert queued("runs", command, "approval-1", "approval", """{"by": "ada"}""").code == 0


def test_text_is_acknowledged_as_text(queued) -> None:
    assert queued("runs", "send", "approval-1", "mail", "yes").out.endswith(""" to run 'approval-1': "yes"\n""")


def test_what_was_asked_of_a_run_is_seen_before_a_worker_takes_it(shop, durable) -> None:
    with shop.popen("run", "shop.py:items", "count=4") as process:
        wait_for(process.stderr, "item ok")
        process.kill()
    assert durable("runs", "cancel", "items-4").out == "run 'items-4': asked to cancel\n"
    assert "cancel requested, waits for a worker" in durable("runs", "list").out
    assert "queued: cancel requested, waits for a worker" in durable("runs", "show", "items-4").out
    assert durable("runs", "show", "items-4", "--json").object["requests"] == ["cancel"]


def test_names_with_control_characters_are_refused(queued) -> None:
    done = queued("runs", "signal", "approval-1", "a\nb")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "holds a control character" in done.err
