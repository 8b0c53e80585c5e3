"""Benchmarks: how fast durable is, beside what the same machine can do at most. See README.md.

`run.py` is the command. Each repetition of a scenario is a process of its own (`child.py`), some use further ones
(`helper.py`).
"""
