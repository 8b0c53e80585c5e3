"""The diagram and the table of states in `docs/how-it-works.md` are those of the core.

`python -m tests.docs.test_states` prints both as the page should have them.
"""

from durable.core.records import RunState
from durable.core.states import TRANSITIONS
from tests.docs.support import blocks, pages

PAGE = "docs/how-it-works.md"

REMARKS = {
    RunState.QUEUED: "due, or due at a time; waits for a worker",
    RunState.RUNNING: "executed by one worker, under its lease",
    RunState.SUSPENDED: "waits for a timer, signal, message or child, and holds nothing",
    RunState.PAUSED: "stopped by somebody, until it is resumed",
    RunState.SET_ASIDE: "cannot go on until someone acts; has a reason",
    RunState.SUCCEEDED: "ended with a result",
    RunState.FAILED: "ended with an error; may be retried",
    RunState.CANCELLED: "ended by request",
}


def diagram() -> str:
    lines = ["stateDiagram-v2", '    state "set aside" as set_aside', "    [*] --> queued: started"]
    for state, row in TRANSITIONS.items():
        lines += [f"    {name(state)} --> {name(target)}: {event.value}" for event, target in row.items()]
        if not row:
            lines.append(f"    {name(state)} --> [*]")
    return "\n".join(lines) + "\n"


def name(state: RunState) -> str:
    return state.label.replace(" ", "_")


def table() -> str:
    lines = ["| state | meaning | what leads out of it |", "|---|---|---|"]
    for state, row in TRANSITIONS.items():
        ways = ", ".join(f"{event.value} → {target.label}" for event, target in row.items())
        lines.append(f"| {state.label} | {REMARKS[state]} | {ways or 'nothing'} |")
    return "\n".join(lines) + "\n"


def test_the_diagram_is_made_from_the_transitions():
    assert [block.text for block in blocks() if block.page == PAGE and block.language == "mermaid"] == [diagram()]


def test_the_table_is_made_from_the_transitions():
    assert table() in pages()[PAGE]


def test_every_state_has_a_remark():
    assert set(REMARKS) == set(TRANSITIONS) == set(RunState)


if __name__ == "__main__":
    print(diagram(), table(), sep="\n")
