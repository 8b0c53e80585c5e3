"""Encryption of frames with AES-256-GCM, and the keys for it.

A frame holds the id of its key, so keys can be changed while old values stay readable. What the caller passes as `aad`
and the header itself are authenticated: a stored value that was moved to another run or position, or whose key id was
changed, is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from durable.errors import DecodeError, KeyMissing, UsageError

TAG: Final = b"E"
KEY_BYTES: Final = 32

_NONCE_BYTES: Final = 12
_MAC_BYTES: Final = 16
_ID_BYTES_MAX: Final = 64


class KeyRing:
    """Keys by id. The primary one writes; all of them read.

    To change keys: give every worker a ring that holds the new key beside the old ones, then make it the primary, and
    remove an old key when no open run and no kept history was written with it.

    Args:
        keys: Key ids and keys of 32 random bytes each (`KeyRing.new_key()`).
        primary: The id of the key that writes; the last one when left out.

    Raises:
        UsageError: There is no key, one has the wrong length, or the primary one is not among them.
    """

    def __init__(self, keys: Mapping[str, bytes], primary: str | None = None) -> None:
        if not keys:
            raise UsageError("a key ring needs at least one key")
        for key_id, key in keys.items():
            if len(key) != KEY_BYTES:
                raise UsageError(
                    f"key {key_id!r} has {len(key)} bytes; AES-256 needs {KEY_BYTES}, see KeyRing.new_key()"
                )
            if not 1 <= len(key_id.encode()) <= _ID_BYTES_MAX:
                raise UsageError(f"key id {key_id!r} must have 1 to {_ID_BYTES_MAX} bytes")
        self._keys = dict(keys)
        self.primary = next(reversed(self._keys)) if primary is None else primary
        if self.primary not in self._keys:
            raise UsageError(f"the primary key {self.primary!r} is not in the key ring")

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(map(repr, self._keys))}; primary {self.primary!r})"

    @staticmethod
    def new_key() -> bytes:
        """Return a fresh random key."""
        return os.urandom(KEY_BYTES)

    def key(self, key_id: str) -> bytes | None:
        return self._keys.get(key_id)


class Encryption:
    """A transform that encrypts every frame; random nonces keep a key good for 2**32 values.

    Args:
        keys: The key ring. accept_plain: Also read frames that are not encrypted, as those from before encryption was
        switched on. Whoever can
            write the database can then also put plain values there.

    Raises:
        UsageError: The package `cryptography` is not installed.
    """

    tags = TAG
    hides = True

    def __init__(self, keys: KeyRing, *, accept_plain: bool = True) -> None:
        self._keys, self._cipher, self.accept_plain = keys, cipher_class(), accept_plain
        self._ciphers: dict[str, Any] = {}

    def seal(self, data: bytes, aad: bytes) -> bytes:
        """Return the encrypted frame."""
        key_id = self._keys.primary
        name = key_id.encode()
        header = TAG + bytes([len(name)]) + name
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = self._cipher_of(key_id, "value").encrypt(nonce, data, header + aad)
        return header + nonce + sealed

    def open(self, data: bytes, aad: bytes, label: str) -> bytes:
        """Return the frame that was encrypted.

        Raises:
            KeyMissing: The key ring lacks its key.
            DecodeError: The frame is damaged, was changed, or belongs to another place.
        """
        start = 2 + (data[1] if len(data) > 1 else 0)
        header, nonce, sealed = data[:start], data[start : start + _NONCE_BYTES], data[start + _NONCE_BYTES :]
        if len(sealed) < _MAC_BYTES:
            raise DecodeError(label, "its encrypted frame is cut off")
        cipher = self._cipher_of(header[2:].decode("utf-8", "replace"), label)
        try:
            found: bytes = cipher.decrypt(nonce, sealed, header + aad)
        except Exception as error:
            why = "it was changed, or belongs to another run or position, or its key id names another key now"
            raise DecodeError(label, why) from error
        return found

    def _cipher_of(self, key_id: str, label: str) -> Any:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            key = self._keys.key(key_id)
            if key is None:
                raise KeyMissing(label, f"it is encrypted under the key {key_id!r}, which the key ring does not hold")
            cipher = self._ciphers[key_id] = self._cipher(key)
        return cipher


def cipher_class() -> Any:
    """Return AESGCM of the package `cryptography`, which is imported only here.

    Raises:
        UsageError: It is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise UsageError("encryption needs the package of the extra: pip install 'durable[crypto]'") from error
    return AESGCM
