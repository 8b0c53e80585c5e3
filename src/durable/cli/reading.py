"""Opens a database to look at it: nothing is created, migrated, locked or written, and no worker is registered."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from durable.api.stores import store_maker
from durable.cli.opening import check_exists
from durable.codec.base import Codec
from durable.codec.json_codec import JsonCodec
from durable.runtime.clock import SystemClock
from durable.runtime.histories import RunReader
from durable.store.sqlite.reading import reading
from durable.store.sqlite.url import parse_url


@asynccontextmanager
async def opened_reader(db: object, codec: Codec | None = None) -> AsyncIterator[RunReader]:
    """Open what an application keeps its runs in.

    Args:
        db: A path, a URL, or a store of the user's own, of which only methods that read are called.
        codec: The application's codec, for its own stores.

    Raises:
        CommandError: there is no such file.
        StoreError: it cannot be read.
    """
    if isinstance(db, (str, os.PathLike)):
        check_exists(os.fspath(db))
        with reading(parse_url(os.fspath(db)).path) as reader:
            yield reader
        return
    store = store_maker(db, codec or JsonCodec())()
    await store.open(SystemClock())
    try:
        yield store
    finally:
        await store.close()
