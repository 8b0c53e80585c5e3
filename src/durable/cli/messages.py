"""`durable runs signal` and `durable runs send`: give a run what it waits for."""

from __future__ import annotations

from typing import Any

import click

from durable.api.app import Workflow
from durable.cli.arguments import SHOWN_CHARS, parse_value
from durable.cli.exits import NOT_FOUND, REFUSED, CommandError
from durable.cli.formatting import cut, json_line
from durable.cli.opening import Target, opened
from durable.cli.options import finish, run_id_argument, target_of, target_options
from durable.cli.output import print_json, say
from durable.errors import RunNotFound, RunNotOpen


def payload_of(text: str) -> Any:
    """Return the payload that a text means.

    Raises:
        CommandError: it was most likely meant as JSON. A signal cannot be taken back, so a slip must not be delivered.
    """
    try:
        return parse_value(text)
    except ValueError as error:
        raise CommandError(f"payload {cut(text, SHOWN_CHARS)!r}: {error}") from None


@click.command("signal")
@run_id_argument
@click.argument("name", metavar="NAME")
@click.argument("payload", metavar="[PAYLOAD]", default="null")
@click.option("--early", is_flag=True, help="Deliver it to a run that is yet to be started.")
@target_options
def signal(run_id: str, name: str, payload: str, early: bool, as_json: bool, **options: Any) -> None:
    """Deliver a signal: the run's `wf.signal(NAME)` returns PAYLOAD (JSON, else text). The first delivery counts."""
    finish(_signal(target_of(options), run_id, name, payload_of(payload), early, as_json))


async def _signal(target: Target, run_id: str, name: str, payload: Any, early: bool, as_json: bool) -> None:
    async with opened(target, run_ids=[run_id]) as app:
        await _check_open(app, run_id, early)
        first = await app.complete(run_id, name, payload)
    if not first:
        raise CommandError(f"signal {name!r} of run {run_id!r} was delivered before; the first payload stays", REFUSED)
    if as_json:
        print_json({"id": run_id, "signal": name, "done": "delivered"})
    else:
        say(f"signal {name!r} is delivered to run {run_id!r}: {cut(json_line(payload), SHOWN_CHARS)}")


async def _check_open(app: Workflow, run_id: str, early: bool) -> None:
    try:
        state = (await app.runs.get(run_id)).state
    except RunNotFound as error:
        if early:
            return
        raise CommandError(
            f"{error}; --early delivers a signal to a run that is yet to be started", NOT_FOUND
        ) from None
    if state.is_final:
        raise RunNotOpen(run_id, state.label, "it has ended and waits for no signal")


@click.command("send")
@run_id_argument
@click.argument("name", metavar="NAME")
@click.argument("payload", metavar="[PAYLOAD]", default="null")
@click.option(
    "--id", "message_id", metavar="ID", help="The message's id: sent again with the same one, it is one message."
)
@target_options
def send(run_id: str, name: str, payload: str, message_id: str | None, as_json: bool, **options: Any) -> None:
    """Append a message to a run's mailbox: the run's `wf.receive(NAME)` returns PAYLOAD (JSON, else text)."""
    finish(_send(target_of(options), run_id, name, payload_of(payload), message_id, as_json))


async def _send(target: Target, run_id: str, name: str, payload: Any, message_id: str | None, as_json: bool) -> None:
    async with opened(target, run_ids=[run_id]) as app:
        await app.send(run_id, name, payload, id=message_id)
    if as_json:
        print_json({"id": run_id, "message": name, "done": "sent"})
    else:
        say(f"message {name!r} is sent to run {run_id!r}: {cut(json_line(payload), SHOWN_CHARS)}")
