"""The entry point: finds the command, and turns what went wrong into one line on stderr and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any, Final, NoReturn

import click

from durable.cli import exits
from durable.cli.groups import Group

_COMMANDS: Final = {
    "run": ("run", "Execute a workflow here and show how it goes; resume it after an interruption."),
    "worker": ("worker", "Execute everything that is due, until interrupted."),
    "runs": ("runs", "Look at runs, and act on them."),
    "check": ("check", "Replay the runs in flight against the code as it stands now: the check before a deploy."),
    "prune": ("prune", "Delete runs that ended, by age or number."),
    "doctor": ("doctor", "Say whether anything needs attention."),
    "completion": ("completion", "Print the script that completes commands in a shell."),
}
"""The commands, the module of each, and what `--help` says: so that it need not import them."""


COMPLETE_VARIABLE: Final = "_DURABLE_COMPLETE"
"""Set by the scripts of `durable completion`: a shell asks what a word may become."""


class LazyGroup(Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which one meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"durable.cli.{_COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"durable {version('durable')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit codes: {exits.SUMMARY}.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """Functions that survive crashes: run them, work on what is due, and see what became of it.

    The database is the one that --db names, else the one in the code of the application, else that of DURABLE_DB, else
    durable.db in the current directory. NO_COLOR turns colours off.
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    _fill_closed_streams()
    code = run(sys.argv[1:] if args is None else args)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _output_failed(error)
    sys.exit(code)


def run(args: list[str]) -> int:
    """Run a command; return the exit code. Errors of our own are told in one line."""
    try:
        if COMPLETE_VARIABLE in os.environ:
            cli.main(args, prog_name="durable", complete_var=COMPLETE_VARIABLE)
        # Not `cli.main`: it takes over broken pipes, and ends with exit codes of its own.
        with cli.make_context("durable", list(args)) as ctx:
            result: Any = cli.invoke(ctx)
        return result if isinstance(result, int) else exits.OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return exits.USAGE
    except click.ClickException as error:
        _tell_usage(error)
        return exits.USAGE
    except (click.Abort, KeyboardInterrupt):
        _tell("interrupted")
        return exits.INTERRUPTED
    except OSError as error:
        if error.errno != errno.EPIPE and not _is_of_output(error):
            raise
        return _output_failed(error)
    except Exception as error:
        code = exits.code_of(error)
        if code is None:
            raise
        _tell(str(error))
        return code


def _tell_usage(error: click.ClickException) -> None:
    ctx = getattr(error, "ctx", None)
    hint = f" ('{ctx.command_path} --help' shows how)" if ctx is not None else ""
    message = " ".join(error.format_message().split()).rstrip(".")
    _tell(f"{message[:1].lower()}{message[1:]}{hint}")


def _tell(message: str) -> None:
    from durable.cli.formatting import plain

    click.echo(f"durable: {plain(message)}", err=True)


def _is_of_output(error: OSError) -> bool:
    # A write to a stream names no file; errors about files do.
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF)


def _output_failed(error: OSError) -> int:
    """The output cannot be written: be quiet if nobody reads it, else say so."""
    # What is still buffered would fail again when the interpreter ends.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return exits.CLOSED_OUTPUT
    _tell(f"the output cannot be written: {error.strerror}")
    return exits.UNSUCCESSFUL


def _fill_closed_streams() -> None:
    """Open the null device in place of closed standard streams, lest a database gets their number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - it lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
