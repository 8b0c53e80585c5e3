"""The file of a store and the ground it stands on: what cannot serve, and whether it is still the same file.

Nothing here opens the database file: closing any descriptor of it would drop SQLite's own locks in this process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from durable.errors import StoreUnusable

NETWORK_FILE_SYSTEMS: Final = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "glusterfs",
    "ocfs2", "gfs2", "coda", "fuse",
})  # fmt: skip
"""Where locks or shared memory do not work between machines, so that a write-ahead log would be damaged."""

MOUNTS: Final = "/proc/self/mountinfo"


class Identity(NamedTuple):
    """What makes a file the same file."""

    device: int
    inode: int


def resolve(path: str) -> str:
    """Return the one absolute name of a file, symbolic links followed, so that all processes lock the same files."""
    return os.path.realpath(path)


def check_place(path: str) -> None:
    """Refuse a place where no store can live.

    Raises:
        StoreUnusable: a directory, in no directory, without the right to write, or on a network file system.
    """
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise StoreUnusable(f"{path!r} is a directory: name a file in it, such as {os.path.join(path, 'durable.db')!r}")
    if not os.path.isdir(folder):
        raise StoreUnusable(f"{path!r} cannot be created: there is no directory {folder!r}; create it first")
    if os.path.exists(path) and not os.path.isfile(path):
        raise StoreUnusable(f"{path!r} is not a regular file: name a file")
    for item in (path, folder):
        if os.path.exists(item) and not os.access(item, os.R_OK | os.W_OK):
            what = "file" if item == path else "directory"
            raise StoreUnusable(f"{path!r} cannot be written: the {what} {item!r} is read-only for this user")
    _check_file_system(path)


def _check_file_system(path: str) -> None:
    try:
        mounts = Path(MOUNTS).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    found = file_system_of(path, mounts)
    if found.partition(".")[0] in NETWORK_FILE_SYSTEMS:
        raise StoreUnusable(
            f"{path!r} lies on a network file system ({found}), where SQLite's locks cannot be trusted; "
            "put it on a local disk, or use a PostgreSQL database for several machines"
        )


def file_system_of(path: str, mounts: str) -> str:
    """Return the type of the file system that holds `path`, by the text of a mount table; empty if it does not say.

    Source: proc_pid_mountinfo(5): the mount point is field 5, the type follows the separator; the last line of several
    for one point is the one on top.
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = _unescaped(fields[4])
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text


def identity(path: str) -> Identity | None:
    """Return what the file is now, None if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Identity(found.st_dev, found.st_ino)


def check_identity(path: str, known: Identity) -> None:
    """Refuse to go on with a file that is no longer there under its name.

    Raises:
        StoreUnusable: it was deleted or replaced; what would be written now, nobody would ever find.
    """
    found = identity(path)
    if found != known:
        what = "deleted" if found is None else "replaced by another file"
        raise StoreUnusable(f"{path!r} was {what} while it was open; stop, put the file back, and start again")


def is_empty(path: str) -> bool:
    """Is there nothing in the file yet, or no file?"""
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return True


def wal_of(path: str) -> str:
    """Return the name of a database's write-ahead log."""
    return f"{path}-wal"


def index_of(path: str) -> str:
    """Return the name of the index of a database's write-ahead log, which every process that uses it keeps locked."""
    return f"{path}-shm"


def has_hard_links(path: str) -> bool:
    """Has the file a second name? Processes that use different names would keep different logs and locks."""
    try:
        return os.stat(path).st_nlink > 1
    except OSError:
        return False
