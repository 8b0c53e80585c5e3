"""A file that several processes append to and nobody changes: what really happened, in order, over all crashes.

durable does not know of it. That makes it a witness: the journal says what was recorded, the ledger says what was done.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    word: str
    pid: int
    at: float
    name: str


class Ledger:
    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, word: str, name: str) -> None:
        self.append_all(word, [name])

    def append_all(self, word: str, names: Iterable[str]) -> None:
        text = "".join(f"{word} {os.getpid()} {time.time():.6f} {name}\n" for name in names)
        # O_APPEND and a single write: lines of several threads and processes do not mix, and a kill -9 right after it
        # takes nothing back, because the kernel has it.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[Line]:
        text = self.path.read_text() if self.path.exists() else ""
        fields = (line.split(" ", 3) for line in text.splitlines())
        return [Line(word, int(pid), float(at), name) for word, pid, at, name in fields]


@dataclass(frozen=True)
class Verdict:
    """What ledger and journal say together about an import that has ended."""

    files: int  # results in the journal
    parses: int  # lines in the ledger
    in_work: list[str]  # parsed again, but not recorded before: they were in work when the process died
    repeated: list[str]  # recorded, and parsed again after that
    never: list[str]  # a result, but never parsed
    twice: list[str]  # two results for one file

    @property
    def holds(self) -> bool:
        return not (self.repeated or self.never or self.twice)


def judge(lines: Iterable[Line], results: list[str]) -> Verdict:
    """Read the ledger from top to bottom.

    Before each start of the importer, its `recorded` lines name every file that the journal has. From there on, a
    `parse` line for such a file is a broken promise.
    """
    recorded: set[str] = set()
    parsed: Counter[str] = Counter()
    in_work, repeated = [], []
    for line in lines:
        if line.word == "recorded":
            recorded.add(line.name)
            continue
        if line.name in recorded:
            repeated.append(line.name)
        elif line.name in parsed:
            in_work.append(line.name)
        parsed[line.name] += 1
    never = [name for name in results if name not in parsed]
    twice = [name for name, times in Counter(results).items() if times > 1]
    return Verdict(len(results), parsed.total(), in_work, repeated, never, twice)
