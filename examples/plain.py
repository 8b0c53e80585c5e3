"""Plain functions all the way: a `def` workflow with `def` tasks, called from ordinary blocking code.

    python examples/plain.py notes.txt more.txt

Without arguments it counts the words of its own source.
"""

import sys
from pathlib import Path

import durable
from durable import Workflow

wf = Workflow("plain")


@wf.task
def count_words(path: str) -> int:
    print(f"reading {path}", flush=True)
    return len(Path(path).read_text().split())


@wf.task
def publish(total: int) -> str:
    print("publishing", flush=True)
    return f"{total} words"


@wf.workflow
def count_all(paths: list[str]) -> str:
    # The body has a thread of its own while it works. A sleep blocks nothing else: a run that sleeps gives its thread
    # back, and is called again from the beginning, with everything recorded at hand, when it is due.
    total = 0
    for path in paths:
        total += count_words(path)
    durable.sleep(2)
    return publish(total)


if __name__ == "__main__":
    print(count_all(sys.argv[1:] or [__file__]))
