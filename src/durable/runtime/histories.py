"""The history of one run: everything that a replay of it needs, as a record and as a file.

A file is JSON, one for each run, made to be kept in a repository and read by people: times are ISO 8601 in UTC, an entry
is a line, and a value whose bytes are text is shown as text. The same run gives the same bytes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from durable.core.records import (
    Entry,
    Inbox,
    Kind,
    Message,
    PromiseRecord,
    Queue,
    RunKey,
    RunRecord,
    RunState,
    Status,
    Wait,
)
from durable.errors import UsageError
from durable.store.base import JOURNAL_PAGE_MAX, RunFilter
