"""The catalogue of faults: what can go wrong, and what holds all the same. The numbers stay; new faults get new ones.

A test says which of them it shows, in one of three ways, all read by `tests.faults.table`:

- `Covers: A3, A4` is the last line of its docstring, or of the docstring of its class or module, if all of it does;
- its name begins with the number: `test_i3_depth_64_passes_and_65_does_not`;
- it is a fact of the public contract of stores, which knows no catalogue: then it stands in `CONTRACT`.

A campaign of `tests/torture` says so in the docstring of its module. What is not so, or not there, says
`docs/known-limits.md`, with the numbers in brackets at the end of the line.

Sections C (PostgreSQL), J (server) and K (dashboard) come with what they are about.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Row(NamedTuple):
    """A fault: its number, what happens, and what holds."""

    number: str
    happens: str
    holds: str

    @property
    def section(self) -> str:
        return self.number[0]


SECTIONS: Final = {
    "A": "Processes die",
    "B": "The file and the disk",
    "D": "Time",
    "E": "Leases and zombies",
    "F": "Races",
    "G": "Determinism and versions",
    "H": "Python and asyncio",
    "I": "Payloads",
    "L": "Operation and load",
}

_TEXT: Final = """
A1  A worker dies before its claim is committed
    The run stays due; no death is counted
A2  It dies after the claim, before the task's body
    The run is due again at once; the body is executed once
A3  It dies while the effect is under way
    The attempt is repeated under the same idempotency key; at-most-once: `TaskInterrupted`
A4  It dies after the effect, before the record of it
    As A3: at most one execution more for each death, under the same key
A5  It dies within a commit
    All of the transaction or nothing of it
A6  It dies after the commit, before the body has the value
    The task is not executed again; the value is the recorded one
A7  It dies after the last step, before the end of the run
    Only the rest of the body is executed
A8  It dies while the end of a run is committed
    One final entry, whoever writes it
A9  It dies after the end of a run, before those who wait hear of it
    They find it by looking, within a second
A10 It dies between the record of a timer and the suspension
    The deadline stays
A11 It dies while a timer fires
    The timer fires once
A12 It dies between looking at a message and the record of its receipt
    The message is neither lost nor received twice
A13 It dies while a child is started
    The child and the parent's entry exist both or not at all; one child
A14 It dies while a run compensates
    The compensation goes on; what is done of it is not repeated
A15 It dies while a task waits for its next attempt
    The number of attempts and the time of the next one stay
A16 It dies while a run continues as new
    One continuation; messages stay
A17 It dies while ended runs are pruned
    Whole runs go; what is left behind by one is never seen by the next of its id
A18 It dies within a migration
    The next process finishes it
A19 The server dies with workers connected
    There is no server yet
A20 SIGTERM while work is under way
    Nothing new is claimed, attempts get their grace time, runs are handed back, the CPU is idle
A21 A step kills its process every time
    After five deaths without a new entry the run is set aside as poisoned; others go on
A22 A task needs more memory than there is
    `MemoryError` is a failure of the task; a process that the kernel kills is A21
A23 One of several workers of a parent dies
    Only its runs are taken over
A24 The machine loses its power
    Everything acknowledged is there, at `full`; nothing is damaged, at `relaxed` either
A25 Random kills without end
    Nothing is lost, changed or stuck; repetitions are no more than deaths
B1  The flush of a commit fails
    Nobody knows the outcome: all handles are closed, the file is opened anew, then the outcome is read back
B2  No space for the log
    Nothing is written and work waits; reads go on, unless the outcome of a commit is unknown
B3  No space to copy the log into the database
    Nothing is damaged; commits go on or wait
B4  A write is cut short
    SQLite repeats it or the commit fails; nothing is damaged
B5  The file reaches a size limit
    As B2
B6  A read fails
    The run is not failed; it is read again
B7  The file or its folder cannot be written any more
    The error says so; work waits, without a busy loop
B8  The file is deleted or replaced while it is open
    The store stops with an error instead of writing to a file that nobody sees
B9  The log is deleted after a crash
    It is noticed; nobody writes until somebody has looked
B10 The log ends in the middle of a write
    Whole commits count, the rest is ignored
B11 Bits of the file change
    Damage of a row concerns its run, which is set aside; damage of a page is told; nothing wrong is believed
B12 Many processes write
    Nobody meets `database is locked`, and each gets its share
B13 A program reads for long
    Writers do not wait; the log grows, and `doctor` says so
B14 A transaction that has read wants to write
    There is none: all that write begin with `BEGIN IMMEDIATE`
B15 The file is on a network file system
    It is refused
B16 The process forks while the file is open
    The child is refused and disturbs nothing
B17 A second SQLite library opens the file in the same process
    Not noticed
B18 SQLite has the WAL-reset bug
    Checkpoints never run beside commits, by a lock of ours; `doctor` names the version
B19 The file has several names
    Symbolic links and relative names lead to one; hard links are warned of
B20 A flush takes very long
    The worker is not taken for dead
B21 Somebody switches flushing off
    There is no such setting; the level in force is shown
B22 The disk is full, then there is space again
    Work goes on by itself
B23 The file was written by a newer version
    It is refused, untouched
B24 A process dies while another one recovers the log
    One recovers, the others wait
D1  The clock is set back
    Timers fire late, by as much, and once; the time of a run never decreases
D2  The clock is set forward
    What is due then fires once; no worker is taken for dead
D3  The clock runs fast or slow
    Timers follow it
D4  The machine sleeps
    Locks outlast it: every run keeps its owner
D5  Daylight saving time begins or ends
    There are no schedules yet
D6  Odd durations
    Zero and less return at once, NaN and infinity are refused, the year 9999 is the end
D7  Datetimes without a zone
    Refused where they would have to be guessed
D8  The years 2038 and 9999
    Milliseconds in 64 bits; later dates are refused
D9  Workers and server disagree about the time
    There is no server yet
D10 Missed runs of a schedule
    There are no schedules yet
D11 A body reads the clock
    `durable.time()` is recorded; a difference made by `time.time()` is noticed on replay
D12 Leap seconds, new time zone rules
    Moments are milliseconds UTC; `23:59:60` is refused
E1  A worker is stopped for longer than the lease time
    Its runs go on elsewhere; when it wakes up, its writes are refused, and it begins anew
E2  A C call holds the GIL
    The worker keeps its runs
E3  A blocking call in async code
    The worker keeps its runs; a body that does so is told
E4  A worker lives but makes no progress
    After ten minutes its runs go on elsewhere
E5  The answer to a renewal is lost
    Nothing is renewed: a lock is held
E6  A zombie ends a run
    Refused; nothing is written
E7  A zombie sends, settles or starts something
    Refused with the Advance that carries it
E8  Two workers of one name
    Names are unique: boot, pid namespace, process, its start, and a random part
E9  A process starts beside a healthy one
    It takes nothing away
E10 A process id is used again
    Its start time differs
E11 A container restarts: same host name, process 1
    Its name differs; locks tell who lives, process ids do not
E12 A renewal races a takeover
    One lock decides
E13 Many want the runs of one that died
    The death is counted once, each run is claimed once
E14 A zombie's write waits for the lock while its runs are taken over
    Refused: it is checked within the transaction
E15 A backup is restored under living workers
    They find another file in its place and stop
E16 A plain task cannot be stopped when the run has another owner
    Its outcome is dropped
E17 A worker stands still between check and write
    There is no between: the transaction holds the lock
F1  Two processes start one id
    One run
F2  One id, other arguments or another workflow
    `InputMismatch`, `IdConflict`
F3  A start races the pruning of the run
    The old run or a new one, nothing of both
F4  A signal races a timer
    One of them is first, for ever; the signal stays for the next wait
F5  A message races the end of its run
    Received, kept unread, or refused
F6  A cancellation races the end
    One final state, and the caller learns which
F7  A cancellation races a commit
    What is committed stays; then the body hears
F8  A cancellation races a retry
    No further attempt begins
F9  Pause and resume race a claim
    No request is lost
F10 The parent is cancelled while its child ends
    One outcome of the child, recorded once
F11 One end is delivered twice
    The repetition is recognised
F12 An arrival races the wait for it
    No wake-up is lost
F13 Two schedulers at one tick
    There are no schedules yet
F14 Processes create or migrate a file at once
    One does it, the others wait
F15 The holder of a queue's only place dies
    There are no such limits yet
F16 The holder of a rate limit's token dies
    There are no such limits yet
F17 Fifty branches end in any order
    A replay has the recorded order
F18 A step id twice in one run
    An error where it is used
F19 A run starts or awaits itself
    An error, no deadlock
F20 Ten thousand wait for one thing
    All are woken, in one transaction
F21 A request is repeated after the run has ended
    It is recognised as long as the run is kept
F22 A cancellation arrives while `TaskInterrupted` is handled
    One outcome
G1  A step was added before the recorded ones
    Noticed before any effect; the run is set aside, goes on when the code is right again
G2  A step was renamed
    As G1
G3  Steps changed places
    As G1
G4  Arguments of a recorded step changed
    As G1
G5  A body depends on the environment, the time or chance
    As G1, when it makes a difference
G6  Another hash seed
    No difference comes from the engine
G7  Sets of tasks
    They have an order
G8  The code changes while a run sleeps
    `version`, `patched`, or noticed
G9  No worker has the workflow
    The run stays queued, and whoever waits is warned
G10 A value is in a format that is newer than the worker
    The run is set aside as unreadable, and goes on in a worker that knows it
G11 Server and worker of different versions
    There is no server yet
G12 A deployment is rolled back
    Runs of the new version wait for it; without versions, see G1
G13 A journal without end
    At `history_max` the run is set aside, and goes on with a higher one
G14 A body catches everything
    It is suspended all the same
G15 Globals and context variables
    A run begins in an empty context
G16 Another version of Python
    Journals are the same
G17 A body reads and writes
    Refused: through the loop always, by audit events in strict mode
H1  The caller is cancelled during a commit
    The commit ends; the next call goes on from it
H2  A cancellation is taken back
    `uncancel` counts as in asyncio
H3  A library cancels again and again
    A busy loop, which is set aside
H4  `asyncio.timeout` around durable operations
    A durable timer
H5  A cancellation is swallowed
    It comes once more, then the run goes on
H6  Durable calls in `finally`
    Executed on cancellation, never on eviction
H7  `KeyboardInterrupt`, `SystemExit` in a task
    The process ends; nothing is recorded
H8  A result cannot be stored
    An error with the place inside the value; the run is not stuck
H9  Exceptions that are circular, huge, or fight back
    Recorded, shortened if need be
H10 A program forks
    An application that has begun is refused in the child; one that has not works
H11 Several loops, closed loops, uvloop
    One application works under each
H12 `RecursionError`, `GeneratorExit`, `StopIteration` from a task
    Failures like others
H13 Branches left at the end of a body
    Cancelled, may clean up
H14 One worker, very many runs
    Its memory does not grow
H15 The interpreter ends during a commit
    The commit ends or not; no hang, no noise
H16 A plain task never ends
    Its step times out; its thread is left behind
H17 A value is changed after it was returned
    The body has a copy, from the first time on
I1  Code in stored bytes
    Nothing is imported, called or constructed by name
I2  Data that looks like a tag
    Comes back as it was
I3  Deep values
    Refused both ways, before parsing
I4  Large values
    Refused with the limit and how to raise it
I5  Small text, large memory
    The number of elements is bounded
I6  Compressed bombs
    Refused before they are unpacked
I7  NUL and lone surrogates
    Exact
I8  Integers of any size
    Exact
I9  NaN, infinity, minus zero
    Exact to the bit
I10 Keys that JSON would make equal
    Stay apart
I11 A result of None
    Is a result
I12 Unknown codecs, wrong checksums, cut bytes
    The run is set aside, its bytes are kept, others go on
I13 Types
    Come back as they were, or are refused
I14 Secrets
    Encrypted where a key ring is given; previews are left out then
I15 Keys are renewed or missing
    Old ones are read; a missing one sets the run aside
L1  A backup under load
    The copy is sound and goes on
L2  The file is copied without its log
    Not noticed in the copy; the manual says how to copy
L3  A backup is restored
    Runs go back in time and repeat what they did since
L4  Timers are long overdue
    Each fires once, in pages
L5  Old and new versions of durable at once
    The first version has no older one
L6  An older version opens the file
    Refused, untouched
L7  Pruning under load
    What others need stays
L8  The disk is nearly full
    Nothing is held back; a full disk is B2
L9  Very many timers at once
    All fire, in pages; workers keep their runs
L10 Very many messages to one run
    Kept and received in order
L11 Very many children
    The parent's journal grows by two entries a child
L12 All retries of a failing service
    Exponential waits, spread
L13 Idle workers
    They use hardly any CPU
L14 A value that breaks its decoder
    Only that run is set aside
L15 Metrics by run id
    There are no metrics yet
"""

_ROW: Final = re.compile(r"^([A-L]\d+) +(.+)\n    (.+)$", re.MULTILINE)

ROWS: Final = tuple(Row(*found.groups()) for found in _ROW.finditer(_TEXT))

CONTRACT: Final = {
    "test_a_finish_is_recognised_and_its_final_entry_stays_the_first_one": ("A8", "F11"),
    "test_a_child_is_started_with_the_entry_that_says_so": ("A13",),
    "test_a_repeated_receipt_is_one_receipt": ("A12",),
    "test_a_repeated_continuation_is_one": ("A16",),
    "test_the_mailbox_outlives_a_continuation": ("A16",),
    "test_nothing_of_a_pruned_run_is_seen_by_the_next_of_its_id": ("A17", "F3"),
    "test_deaths_in_a_row_delay_a_run_and_then_poison_it": ("A21",),
    "test_a_new_entry_makes_the_count_begin_again": ("A21",),
    "test_the_same_batch_may_be_executed_after_reopening": ("B1",),
    "test_living_workers_keep_their_runs_whatever_the_clock_says": ("D2", "D4", "E9"),
    "test_another_worker_is_fenced": ("E6",),
    "test_another_epoch_is_fenced": ("E6",),
    "test_a_refused_advance_leaves_nothing_behind": ("E7",),
    "test_a_worker_that_was_forgotten_is_fenced_and_claims_nothing": ("E1", "E6"),
    "test_a_run_is_claimed_once": ("E13",),
    "test_peers_that_start_one_id_at_once_make_one_run": ("F1",),
    "test_a_second_start_reports_the_run_that_is_there": ("F1",),
    "test_a_message_needs_a_run_that_is_open": ("F5",),
    "test_a_request_that_crosses_the_owner_leaving_makes_the_run_due": ("F7", "F9"),
    "test_a_request_outlives_the_death_of_the_owner": ("F7",),
    "test_a_run_that_nobody_owns_pauses_at_once_and_is_due_when_resumed": ("F9",),
    "test_an_owner_that_obeys_a_withdrawn_request_keeps_the_run": ("F9",),
    "test_a_request_that_is_withdrawn_leaves_no_notice": ("F9",),
    "test_an_advance_that_is_repeated_is_done_once": ("F11",),
    "test_what_arrives_before_the_wait_is_registered_refuses_the_suspension": ("F12",),
    "test_what_arrives_between_wait_and_suspension_is_noticed": ("F12",),
    "test_what_arrives_after_the_suspension_makes_the_run_due": ("F12",),
    "test_wait_and_arrival_may_share_a_batch": ("F12",),
    "test_a_promise_wakes_all_that_wait_for_it": ("F20",),
    "test_a_repeated_send_is_done_whatever_became_of_the_run": ("F21",),
    "test_bytes_come_back_as_they_are": ("I7",),
    "test_texts_come_back_as_they_are": ("I7",),
    "test_many_due_runs_are_claimed_in_pages": ("L9",),
    "test_ended_runs_go_and_open_ones_stay": ("L7",),
    "test_a_run_that_another_waits_for_stays": ("L7",),
    "test_a_child_stays_as_long_as_its_parent_is_open": ("L7",),
}
"""Facts of `durable.testing.contract`, which every store has to keep, and what they show."""
