"""Makes flushes slower in child processes, for the question what a slower disk would change."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("slowflush.c")


def compiled(folder: str) -> str:
    """Compile the shim into a folder and return the library's path.

    Raises:
        SystemExit: there is no gcc, or it refuses the source.
    """
    library = os.path.join(folder, "slowflush.so")
    try:
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, str(SOURCE), "-ldl"], check=True)
    except FileNotFoundError:
        raise SystemExit("bench: --slow-flush compiles a small library and needs gcc; install it") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"bench: gcc refused {SOURCE} (exit code {error.returncode})") from error
    return library


def environment(library: str, ms: float) -> dict[str, str]:
    """Return the variables under which every flush takes that much longer."""
    loaded = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{library} {loaded}".strip(), "SLOW_FLUSH_US": str(round(ms * 1000))}
