"""What a shell expects of a command: help, exit codes, pipes, colours, completion."""

import json
import os
import re
import subprocess

import pytest

from durable.cli import exits
from durable.cli.main import cli
from tests.cli.support import COMMAND, environment

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def commands(group, path: tuple[str, ...] = ()):
    import click

    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))


ALL = dict(commands(cli))


def test_the_commands_are_these() -> None:
    assert [" ".join(path) for path in ALL] == [
        "run", "worker", "runs", "runs list", "runs show", "runs history", "runs export", "runs cancel", "runs pause",
        "runs resume", "runs retry", "runs signal", "runs send", "check", "prune", "doctor", "completion",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(durable, path) -> None:
    for option in ("--help", "-h"):
        done = durable(*path, option)
        assert (done.code, done.err) == (0, "")
        assert f"Usage: durable {' '.join(path)}" in done.out


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_takes_db_and_json(path) -> None:
    import click

    if isinstance(ALL[path], click.Group) or path == ("completion",):
        return
    names = {name for parameter in ALL[path].params for name in parameter.opts}
    assert {"--db", "--json"} <= names
    assert all(getattr(parameter, "help", "") for parameter in ALL[path].params if parameter.opts[0].startswith("-"))


def test_help_tells_the_exit_codes(durable) -> None:
    out = " ".join(durable("--help").out.split())
    assert exits.SUMMARY in out
    for code in (
        exits.OK,
        exits.UNSUCCESSFUL,
        exits.USAGE,
        exits.STORE,
        exits.NOT_FOUND,
        exits.REFUSED,
        exits.INTERRUPTED,
    ):
        assert re.search(rf"^ +{code} ", exits.__doc__ or "", re.MULTILINE)


def test_no_command_at_all_shows_the_help_and_is_2(durable) -> None:
    assert (durable().code, "Usage: durable" in durable().err) == (2, True)
    assert durable("runs").code == 2


def test_the_version_is_printed(durable) -> None:
    assert re.fullmatch(r"durable \d+\.\d+\.\S+\n", durable("--version").out)


def test_help_loads_neither_rich_nor_commands(shop) -> None:
    program = (
        "import sys\nfrom durable.cli.main import run\nrun(['--help'])\n"
        "names = ('rich', 'durable.cli.runs', 'durable.cli.run', 'durable.cli.opening')\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([COMMAND[0], "-c", program], env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_importing_durable_loads_no_click(shop) -> None:
    program = "import durable, durable.blocking, sys\nprint([n for n in sys.modules if n in ('click', 'rich')])"
    done = subprocess.run([COMMAND[0], "-c", program], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Pipes ---------------------------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_is_no_error(shop) -> None:
    shop.start("order", *range(2_000))
    with shop.popen("runs", "list", "--json", "--limit", "2000") as process:
        assert json.loads(process.stdout.readline())["id"] == "order-1999"
        process.stdout.close()
        err = process.stderr.read()
        code = process.wait()
    assert (code, err) == (141, "")


@pytest.mark.parametrize("command", [["list"], ["history", "order-1"], ["show", "order-1"], ["list", "--json"]])
def test_the_code_is_the_same_for_all_that_nobody_reads(shop, command) -> None:
    shop.start("order", "1")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "runs", *command], cwd=shop.folder, env=environment(), stdout=writing, stderr=subprocess.PIPE,
        check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(shop, streams) -> None:
    shop.start("order", "1")
    command = f"exec {' '.join(map(repr, COMMAND))} runs list {streams}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=shop.folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert shop.run("doctor", "--json").object["findings"] == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_full_disk_under_the_output_is_told(shop) -> None:
    shop.start("order", "1")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "runs", "list", "--json"], cwd=shop.folder, env=environment(), stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "durable: the output cannot be written: No space left on device\n")


def test_an_output_that_is_not_utf_8_gets_what_it_can_hold(shop) -> None:
    assert shop.run("run", "shop.py:order", "order_id=ä→").code == 0
    done = shop.run("runs", "show", "order-ä→", env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0
    assert "# worked  x failed  . waited" in done.out
    assert "order-\\xe4\\u2192" in done.out


# Colours -------------------------------------------------------------------------------------------------------------


def test_there_are_no_colours_in_a_pipe(shop) -> None:
    shop.start("order", "1")
    assert not COLOURS.search(shop.run("runs", "list").out)
    assert not COLOURS.search(shop.run("runs", "show", "order-1").out)


@pytest.mark.parametrize(("extra", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_told_otherwise(shop, extra, coloured) -> None:
    shop.start("order", "1")
    out = on_terminal(shop, ["runs", "list"], extra)
    assert "order-1" in out
    assert bool(re.search(r"\x1b\[(3[0-7]|9[0-7])m", out)) is coloured


def test_the_live_view_is_drawn_on_a_terminal(shop) -> None:
    out = on_terminal(shop, ["run", "shop.py:retried", "name=a"], {})
    assert "retried-a" in out
    assert "1/2 half" in out
    assert "flaky ok after" in COLOURS.sub("", out)
    assert "\x1b[31mred" not in out


def test_an_interruption_leaves_each_line_of_the_live_view_once(shop) -> None:
    out = on_terminal(shop, ["run", "shop.py:approval", "order_id=1"], {}, type_when="waits for signal", keys="\x03")
    screen = Screen()
    screen.feed(out)
    shown = [line for line in screen.lines if line]
    assert sum("approval-1  " in line for line in shown) == 1
    assert sum("stopping: attempts in flight may end" in line for line in shown) == 1
    assert sum("waits for signal approval" in line for line in shown) == 1
    assert "durable runs signal approval-1 approval PAYLOAD" in shown
    assert shown[-1].startswith("durable: interrupted; run 'approval-1' keeps what it recorded")


class Screen:
    """The lines of a terminal, as far as the live view moves the cursor: up, to the left, and erasing."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\r":
                self._column = 0
            elif part == "\n":
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif part.startswith("\x1b"):
                self._control(part)
            else:
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + part + line[self._column + len(part) :]
                self._column += len(part)

    def _control(self, part: str) -> None:
        if part.endswith("A"):
            self._row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            self.lines[self._row] = ""
        else:
            assert part[-1] in "mhl", part


def on_terminal(
    shop, arguments: list[str], extra: dict[str, str], *, type_when: str | None = None, keys: str = ""
) -> str:
    """Run a command on a terminal of 80 columns and return what it wrote; type `keys` once `type_when` is there."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    # The first terminal that the leader of a session opens is its own: keys become signals.
    command = ["sh", "-c", f'exec "$0" "$@" <{os.ttyname(theirs)}', *COMMAND, *arguments]
    process = subprocess.Popen(
        command, cwd=shop.folder, env=environment(extra), stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    parts = b""
    # Reading fails when the last one who could write has gone.
    try:
        while part := os.read(ours, 65_536):
            parts += part
            if type_when is not None and type_when.encode() in parts:
                os.write(ours, keys.encode())
                type_when = None
    except OSError:
        pass
    os.close(ours)
    assert process.wait() == (130 if keys else 0), parts
    return parts.decode()


# Completion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_is_printed(shop, shell) -> None:
    done = shop.run("completion", shell)
    assert done.code == 0
    assert "_DURABLE_COMPLETE" in done.out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("durable d", "doctor"),
        ("durable runs re", "retry"),
        ("durable runs list --state se", "set-aside"),
        ("durable runs show order-1", "order-11"),
        ("durable runs cancel order-1", "order-1"),
    ],
)
def test_words_are_completed(shop, words, found) -> None:
    shop.start("order", "1", "11", "2")
    number = len(words.split()) - 1
    env = {"_DURABLE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = shop.run(env=env)
    assert f"plain,{found}" in done.out.splitlines()
    assert "order-2" not in done.out


@pytest.mark.parametrize("words", ["durable run sh", "durable worker sh", "durable runs list --code sh"])
def test_the_shell_completes_the_file_of_a_target(shop, words) -> None:
    env = {"_DURABLE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert shop.run(env=env).out == "file,sh\n"


def test_completion_without_a_database_offers_nothing(shop) -> None:
    env = {"_DURABLE_COMPLETE": "bash_complete", "COMP_WORDS": "durable runs show x", "COMP_CWORD": "3"}
    done = shop.run(env=env)
    assert (done.code, done.out.strip(), done.err) == (0, "", "")
