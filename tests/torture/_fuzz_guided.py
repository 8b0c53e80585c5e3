"""Fuzzing guided by coverage, as a program: `python -m tests.torture._fuzz_guided FOLDER RUNS SEED`.

atheris must be importable. The folder gets `wrong`, a line for each input that broke something, and what libFuzzer
leaves behind of an input that took the process down or did not end; libFuzzer's words go to stderr.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any, Final

INPUT_BYTES_MAX: Final = 2_048
INPUT_SECONDS_MAX: Final = 20
MEMORY_MIB_MAX: Final = 2_048


def options(folder: Path, runs: int, seed: int) -> list[str]:
    """Return the options of libFuzzer."""
    return [
        f"-runs={runs}", f"-seed={seed % 2**32 or 1}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}", f"-artifact_prefix={folder}/crash-", f"-dict={folder}/words",
        "-print_final_stats=1", "-verbosity=0", str(folder / "corpus"),
    ]  # fmt: skip


def prepare(folder: Path, frames: list[bytes], tokens: tuple[bytes, ...]) -> None:
    """Write what the fuzzer begins with: frames, each as all that it can be read as, and words of the format."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, frame in enumerate(frames):
        (corpus / str(number)).write_bytes(bytes([number % 64]) + frame)
    words = ("".join(f"\\x{byte:02x}" for byte in token) for token in tokens)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in words))


def main(folder: Path, runs: int, seed: int) -> None:
    """Fuzz; does not return."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["durable.codec"]):
        importlib.import_module("durable.codec")
    codec = importlib.import_module("tests.torture._fuzz_codec")
    values = importlib.import_module("tests.torture._fuzz_values")
    checker = codec.Checker()
    prepare(folder, checker.corpus, values.TOKENS)
    wrong = (folder / "wrong").open("w", buffering=1)

    def play(data: bytes) -> None:
        checker.check_any(data)
        for violation in checker.found.violations:
            wrong.write(json.dumps(violation) + "\n")
        checker.found.violations.clear()

    atheris.Setup([sys.argv[0], *options(folder, runs, seed)], play)
    atheris.Fuzz()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
