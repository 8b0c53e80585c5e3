"""Watch the importer be killed and go on. `./dev demo` runs this.

    python examples/importer/demo.py                # in a temporary folder that is gone afterwards
    python examples/importer/demo.py --keep DIR     # kill anything by hand, this program too, and run it again

The importer runs as a process of its own. Half-way it gets a kill -9 from here, which no program can catch or prepare
for, and is started again. At the end two records that know nothing of each other are compared: durable's journal, and
a ledger to which the tasks append a line before they parse a file. Exit code 0 means that the promise was kept.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import importer
from display import Display, Story, display_for, figures, proof
from ledger import Ledger, judge

import durable
from durable import Workflow

LOOK_SECONDS = 0.05
DEATHS_IN_VAIN_MAX = 3
LOG_LINES_SHOWN = 20
INTERRUPTED = 130  # the exit code of programs that ctrl-C ended


class Demo:
    def __init__(self, folder: Path, files: int | None, *, kill: bool, display: Display) -> None:
        self.folder = folder
        self.files = files
        self.will_kill = kill
        self.display = display
        self.story = Story()
        self.ledger = Ledger(folder / "ledger.txt")
        # A second application object on the importer's database. It is no worker, it only looks.
        self.observer = Workflow("importer", db=folder / "durable.db")

    async def play(self) -> bool:
        """Run the importer until it has finished, however often it dies; return whether the promise was kept."""
        known = await self.recorded()
        self.story.recorded_earlier = len(known)
        in_vain = 0
        while not await self.run_once(known):
            before, known = known, await self.recorded()
            self.story.deaths.append(len(known))
            self.display.say(f"dead. Recorded so far: {len(known)} files. Starting it again")
            in_vain = 0 if len(known) > len(before) else in_vain + 1
            if in_vain == DEATHS_IN_VAIN_MAX:
                raise SystemExit(f"demo: the importer died {in_vain} times without getting any further")
        kept = await self.prove()
        await self.observer.stop()
        return kept

    async def run_once(self, known: list[str]) -> bool:
        """Run the importer as a process; return False when it was killed."""
        # From here on none of these files may be parsed. The ledger keeps the list for the verdict at the end.
        self.ledger.append_all("recorded", known)
        started = time.time()
        with self.process() as process:
            self.display.say(f"the importer is process {process.pid}; it has {len(known)} results to build on")
            await self.watch(process, len(known))
        self.story.seconds += time.time() - started
        if known:
            mine = (line.at for line in self.ledger.lines() if line.pid == process.pid and line.word == "parse")
            self.story.resumed_ms += [round(1000 * (at - started)) for at in list(mine)[:1]]
        if process.returncode in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
            return False
        if process.returncode:
            said = (self.folder / "importer.log").read_text().splitlines()
            raise SystemExit("\n".join(["demo: the importer failed:", *said[-LOG_LINES_SHOWN:]]))
        return True

    async def watch(self, process: subprocess.Popen[bytes], known: int) -> None:
        """Show how far it is until it ends, and kill it once in the middle of what was left to do."""
        while process.poll() is None:
            done, total = await self.progress()
            self.display.show(done, total)
            if self.will_kill and done > known and done >= (known + total) // 2:
                self.will_kill = False
                self.display.say(f"kill -9 {process.pid}")
                process.send_signal(signal.SIGKILL)
                process.wait()
            await asyncio.sleep(LOOK_SECONDS)
        self.display.show(*await self.progress())

    async def progress(self) -> tuple[int, int]:
        """Return what the importer told durable.progress last."""
        with contextlib.suppress(durable.RunNotFound):
            if said := (await self.observer.runs.get(importer.RUN_ID)).progress:
                done, total, _ = json.loads(said)
                return done, total
        return 0, 0

    async def recorded(self) -> list[str]:
        """Return the files whose result the journal has."""
        try:
            history = await self.observer.runs.history(importer.RUN_ID)
        except durable.RunNotFound:
            return []
        return [event.step for event in history if event.name == "count" and event.status == "ok"]

    async def prove(self) -> bool:
        results = await self.recorded()
        verdict = judge(self.ledger.lines(), results)
        self.display.end()
        print("\n" + (self.folder / "report.txt").read_text())
        print(figures(self.story, verdict))
        print(proof(verdict), end="")
        return verdict.holds

    @contextlib.contextmanager
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start the importer in the folder; it does not outlive this block, nor this process."""
        command = [sys.executable, str(Path(__file__).resolve()), "--as-importer"]
        if self.files is not None:
            command += ["--files", str(self.files)]
        environment = os.environ | {"DURABLE_DB": str(self.folder / "durable.db")}
        with (self.folder / "importer.log").open("ab") as log:
            # A session of its own, so that a ctrl-C in the terminal reaches us alone, and we end it in order.
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, start_new_session=True,
                stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.kill()


def be_the_importer(files: int | None) -> None:
    """Run importer.py, and end when the demo does, even if that was killed: then nobody holds our stdin open."""

    def end_with_the_demo() -> None:
        os.read(0, 1)
        os._exit(INTERRUPTED)

    threading.Thread(target=end_with_the_demo, daemon=True).start()
    importer.run(files)


@contextlib.contextmanager
def folder_for(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="durable-demo-") as name:
        yield Path(name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill an importer in the middle and watch it go on.")
    parser.add_argument("--files", type=int, metavar="N", help="import only the first N files")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder, keep it, go on where it is")
    parser.add_argument("--no-kill", action="store_true", help="leave the killing to you")
    parser.add_argument("--as-importer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_importer:
        be_the_importer(options.files)
        return 0
    logging.getLogger("durable").setLevel(logging.ERROR)  # that a worker died is said below, in its place
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended politely: tidy up as after ctrl-C
    try:
        with folder_for(options.keep) as folder, display_for(sys.stdout) as display:
            display.say(f"every module of Python {platform.python_version()}'s standard library, one checkpoint a file")
            display.say(f"in {folder}")
            kept = asyncio.run(Demo(folder, options.files, kill=not options.no_kill, display=display).play())
    except KeyboardInterrupt:
        print("\ninterrupted" + (f"; run it again to go on in {options.keep}" if options.keep else ""))
        return INTERRUPTED
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
