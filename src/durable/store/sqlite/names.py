"""Numbers for names that repeat: applications, queues, workers.

One `Names` belongs to one connection. What it has learnt stays true, because no number is ever given to another name;
after a rollback it forgets, because it may have learnt names that were never stored.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from durable.core.records import Queue, WorkerId
from durable.errors import StoreCorrupt

# Who has which number: one small read brings all names of a kind.
ALL_APPS: Final = "SELECT name, app FROM apps"
ALL_QUEUES: Final = "SELECT a.name, q.workflow, q.version, q.grp, q.queue FROM queues AS q JOIN apps AS a USING (app)"
ALL_WORKERS: Final = "SELECT id, worker FROM workers"
WORKER_BY_ID: Final = "SELECT worker FROM workers WHERE id = ?"
ADD_APP: Final = "INSERT INTO apps(name) VALUES (?) RETURNING app"
ADD_QUEUE: Final = "INSERT INTO queues(app, workflow, version, grp) VALUES (?, ?, ?, ?) RETURNING queue"


class Names:
    """The numbers of names, as one connection knows them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._apps: dict[str, int] = {}
        self._queues: dict[Queue, int] = {}
        self._queue_names: dict[int, Queue] = {}
        self._workers: dict[WorkerId, int] = {}
        self._worker_names: dict[int, WorkerId] = {}

    def forget(self) -> None:
        """Forget everything that may have been rolled back; workers are only added alone, and stay."""
        self._apps.clear()
        self._queues.clear()
        self._queue_names.clear()

    def app(self, name: str) -> int | None:
        """Return the number of an application, None if it is unknown."""
        if (number := self._apps.get(name)) is None:
            self._apps.update(self._connection.execute(ALL_APPS))
            number = self._apps.get(name)
        return number

    def app_or_new(self, name: str) -> int:
        """Return the number of an application; gives it one."""
        if (number := self.app(name)) is None:
            number = self._apps[name] = self._connection.execute(ADD_APP, (name,)).fetchone()[0]
        return number

    def queue(self, queue: Queue) -> int | None:
        """Return the number of a queue, None if nobody has ever stood in it."""
        if (number := self._queues.get(queue)) is None:
            self._load_queues()
            number = self._queues.get(queue)
        return number

    def queue_or_new(self, queue: Queue) -> int:
        """Return the number of a queue; gives it one."""
        if (number := self.queue(queue)) is None:
            app = self.app_or_new(queue.app)
            number = self._connection.execute(ADD_QUEUE, (app, *queue[1:])).fetchone()[0]
            self._queues[queue], self._queue_names[number] = number, queue
        return number

    def queue_name(self, number: int) -> Queue:
        """Return the queue that has a number."""
        if number not in self._queue_names:
            self._load_queues()
            if number not in self._queue_names:
                raise StoreCorrupt(
                    f"a run stands in queue {number}, which does not exist; 'durable doctor' shows the run"
                )
        return self._queue_names[number]

    def _load_queues(self) -> None:
        for *names, number in self._connection.execute(ALL_QUEUES).fetchall():
            queue = Queue(*names)
            self._queues[queue], self._queue_names[number] = number, queue

    def living_worker(self, worker: WorkerId) -> int | None:
        """Return the number of a worker that is registered now, None if it is not."""
        found = self._connection.execute(WORKER_BY_ID, (worker,)).fetchone()
        if found is None:
            return None
        self._workers[worker], self._worker_names[found[0]] = found[0], worker
        return int(found[0])

    def known_worker(self, worker: WorkerId) -> int:
        """Return the number that a worker had when it was seen last, 0 if it never was."""
        return self._workers.get(worker, 0)

    def worker_name(self, number: int) -> WorkerId | None:
        """Return the worker that has a number, None for no worker."""
        if number <= 0:
            return None
        if number not in self._worker_names:
            self._worker_names.update((number, worker) for worker, number in self._connection.execute(ALL_WORKERS))
        return self._worker_names.get(number)
