"""What must hold whatever bytes the codec is given, and whatever value.

Bytes become a value or a `DecodeError`; a value that was read is written and read again as the same; frames that were
encrypted and changed are never read; nothing that a frame names is executed or imported; an input takes seconds at most
and little memory.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, Final

from durable.codec import CodecChain, Compression, Encryption, JsonCodec, KeyRing
from durable.codec.base import Codec
from durable.errors import DecodeError, EncodeError
from tests.codec.values import Checked, Colour, Event, Model, Parcel, Receipt, identical
from tests.torture._fuzz_values import SPRUNG, TAGS, any_value, damaged, twisted
from tests.torture._processes import Found

SECONDS_MAX: Final = 3.0
"""Processor time that one input may take: a thousand times what any takes."""

GROWTH_MAX: Final = 512 << 20
"""Bytes by which a process may grow that plays inputs of some kilobytes."""

CORPUS: Final = 300
"""Frames that are damaged: those of as many values."""

AAD: Final = b"a place"

ANNOTATIONS: Final[tuple[Any, ...]] = (
    Receipt, Colour, Model, list[Receipt], dict[str, Parcel], Event | None, Checked, int, datetime,
    tuple[Receipt, ...],
)  # fmt: skip
"""No generics and named tuples: their annotations are text here, which is evaluated, lawfully, at each use."""

CODEC: Final = JsonCodec()
KEYS: Final = KeyRing({"old": bytes(32), "new": bytes(range(32))})
SEALED: Final = CodecChain(CODEC, Compression(), Encryption(KEYS, accept_plain=False))


class Guard:
    """Notes what the interpreter does on behalf of a frame and should not; one for a process, for it stays."""

    FORBIDDEN: Final = frozenset(
        {
            "import", "exec", "compile", "marshal.loads", "pickle.find_class", "os.system", "os.exec", "os.fork",
            "os.posix_spawn", "subprocess.Popen", "socket.connect", "ctypes.dlopen", "os.remove", "os.rename",
        }
    )  # fmt: skip

    def __init__(self) -> None:
        self.is_watching = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.is_watching:
            return
        if event == "open":
            # Time zones are read from their files.
            is_written = isinstance(args[1], str) and set(args[1]) & set("wax+")
            if is_written:
                self.seen.append(f"open {args[0]!r}")
        # A zone that no file has is looked for in the package of time zones, under its name.
        elif event in self.FORBIDDEN and not (event == "import" and str(args[0]).partition(".")[0] == "tzdata"):
            self.seen.append(f"{event} {args[:1]!r}")


_guards: Final[list[Guard]] = []


def guard() -> Guard:
    """Return this process's guard, after everything that is imported late has been."""
    if not _guards:
        for seed in range(500):
            CODEC.decode(CODEC.encode(any_value(Random(seed)), label="value"))
        for tag in TAGS:
            for body in (b'"x/y"', b"[1]", b'{"type":"builtins:ValueError","args":[]}'):
                _is_read(lambda tag=tag, body=body: CODEC.decode(b'T{"%b":%b}' % (tag.encode(), body)))  # type: ignore[misc]
        _is_read(lambda: CODEC.decode(b'T{"$datetime":"2024-01-01T00:00:00","zone":"No/Where"}'))
        for annotation in ANNOTATIONS:  # texts among them are evaluated when they are first met
            for body in (b"J{}", b"J[{}]", b'J{"a":{}}'):
                _is_read(lambda annotation=annotation, body=body: CODEC.decode(body, annotation))  # type: ignore[misc]
        SPRUNG.clear()
        _guards.append(Guard())
    return _guards[0]


def _is_read(read: Callable[[], object]) -> bool:
    try:
        read()
    except DecodeError:
        return False
    return True


class Checker:
    """Plays inputs and notes what is wrong.

    Args:
        codec: Of values as they are.
        sealed: The same, compressed and encrypted.
    """

    def __init__(self, codec: Codec = CODEC, sealed: Codec = SEALED) -> None:
        self._codec, self._sealed = codec, sealed
        self._guard = guard()
        self._grown_from = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.found = Found()
        self._frames = [_frame(Random(number), any_value(Random(number)), number % 4 == 3) for number in range(CORPUS)]
        self._secrets = [
            self._sealed.encode(any_value(Random(number)), label="value", aad=AAD) for number in range(CORPUS)
        ]

    @property
    def corpus(self) -> list[bytes]:
        """Frames of all kinds."""
        return self._frames

    # One input ------------------------------------------------------------------------------------------------------

    def play_seed(self, seed: int) -> None:
        """Play the input that a seed stands for."""
        source = Random(seed)
        match seed % 5:
            case 0 | 1:
                self.watched(f"seed {seed}", lambda: self.check_value(any_value(source)))
            case 2 | 3:
                data = source.choice(self._frames)
                data = twisted(source, data) if seed % 2 else damaged(source, data, self._frames)
                way = seed // 5
                self.watched(f"seed {seed}", lambda: self.check_bytes(way, data))
            case _:
                self.watched(f"seed {seed}", lambda: self.check_secret(source))

    def watched(self, what: str, check: Callable[[], None]) -> None:
        """Do a check; whatever it raises is wrong, and whatever the interpreter does on the side."""
        self._guard.is_watching = True
        began = time.process_time()
        try:
            check()
        except Exception as error:
            self.wrong(what, f"raised {type(error).__name__}: {str(error)[:200]}")
        finally:
            self._guard.is_watching = False
        took = time.process_time() - began
        if took > SECONDS_MAX:
            self.wrong(what, f"took {took:.1f} s")
        for noted in (self._guard.seen, SPRUNG):
            if noted:
                self.wrong(what, f"executed {noted[:3]}")
                noted.clear()

    def wrong(self, what: str, why: str) -> None:
        """Note something wrong."""
        self.found.violations.append(f"{what}: {why}")

    def check_growth(self) -> None:
        """Is the process as large as before, about?"""
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._grown_from)
        if grown > GROWTH_MAX:
            self.wrong("all inputs", f"the process has grown by {grown >> 20} MiB")

    # What must hold -------------------------------------------------------------------------------------------------

    def check_value(self, value: Any) -> None:
        """A value comes back as it was, with its types, plain and encrypted."""
        self.found.counts["values"] += 1
        self._comes_back(self._codec, value)

    def _comes_back(self, codec: Codec, value: Any) -> bytes:
        data = codec.encode(value, label="value", aad=AAD)
        again = codec.decode(data, label="value", aad=AAD)
        if not identical(again, value):
            became = codec.encode(again, label="value", aad=AAD)
            raise AssertionError(f"a value became another one: {data[:90]!r} became {became[:90]!r}")
        return data

    def check_bytes(self, way: int, data: bytes) -> None:
        """Bytes are read, and then written and read as the same again; or refused as damaged.

        Args:
            way: A number that says as what they are read.
            data: Anything.
        """
        self.found.counts["frames"] += 1
        checks = (self._check_as_value, self._check_as_value, self._check_as_error, self._check_as_arguments)
        check = (*checks, self._check_as_annotated)[way % 5]
        try:
            check(way // 5, data)
        except DecodeError:
            return
        self.found.counts["read"] += 1

    def _check_as_value(self, way: int, data: bytes) -> None:
        self._check_written(self._codec.decode(data))

    def _check_written(self, value: Any) -> None:
        try:
            data = self._codec.encode(value, label="value")
        except EncodeError:
            self.found.counts["read and not written"] += 1
            return
        try:
            again = self._codec.decode(data)
        except DecodeError as error:
            raise AssertionError(f"what was read and written is not read again: {error}: {data[:200]!r}") from None
        if not is_same(again, value) and self._codec.encode(again, label="value") != data:
            raise AssertionError(f"what was read and written comes back otherwise: {data[:200]!r}")

    def _check_as_error(self, way: int, data: bytes) -> None:
        error = self._codec.decode_error(data)
        again = self._codec.decode_error(self._codec.encode_error(error))
        if type(again) is not type(error):
            raise AssertionError(f"a {type(error).__name__} comes back as a {type(again).__name__}")

    def _check_as_arguments(self, way: int, data: bytes) -> None:
        args, kwargs = self._codec.decode_arguments(data, label="arguments")
        try:
            again, _, _ = self._codec.encode_arguments(args, kwargs, label="arguments")
        except EncodeError:
            self.found.counts["read and not written"] += 1
            return
        if not is_same(self._codec.decode_arguments(again, label="arguments"), (args, kwargs)):
            raise AssertionError(f"arguments come back otherwise: {again[:200]!r}")

    def _check_as_annotated(self, way: int, data: bytes) -> None:
        self._codec.decode(data, ANNOTATIONS[way % len(ANNOTATIONS)])

    def check_secret(self, source: Random) -> None:
        """An encrypted frame that was changed, or moved to another place, is not read; one that was not is."""
        self.found.counts["secrets"] += 1
        data = source.choice(self._secrets)
        changed = damaged(source, data, self._secrets)
        aad = AAD if source.random() < 0.9 else source.choice((b"", b"another place"))
        if aad == AAD and changed in self._secrets:
            return
        for one, place in ((changed, aad), (data, aad + b"!")):
            if _is_read(lambda one=one, place=place: self._sealed.decode(one, aad=place)):  # type: ignore[misc]
                raise AssertionError(f"a value was changed, and is read: {one!r}")
        if not _is_read(lambda: self._sealed.decode(data, aad=AAD)):
            raise AssertionError("an encrypted frame that nobody changed is not read")

    def check_any(self, data: bytes) -> None:
        """Play an input of the guided fuzzer: the first byte says as what to read the rest."""
        if data:
            self.watched(repr(data[:300]), lambda: self.check_bytes(data[0], data[1:]))


def is_same(left: Any, right: Any) -> bool:
    """Are two values identical? A class whose fields hold nonsense may be unable to say so."""
    try:
        return identical(left, right)
    except Exception:
        return False


def _frame(source: Random, value: Any, is_error: bool) -> bytes:
    if not is_error:
        return CODEC.encode(value, label="value")
    kind = source.choice((ValueError, KeyError, OSError, LookupError))
    error = ExceptionGroup("g", [kind(1, "two"), kind(3)]) if source.random() < 0.3 else kind(7, value)
    error.add_note("note")
    error.__cause__ = TypeError("cause")
    return CODEC.encode_error(error)


def play_seeds(first: int, count: int) -> Found:
    """Play the inputs of a range of seeds."""
    checker = Checker()
    for seed in range(first, first + count):
        checker.play_seed(seed)
    checker.check_growth()
    return checker.found
