"""Measure durable: `python bench/run.py SCENARIO … [--store URL] …`. README.md tells what and how."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
