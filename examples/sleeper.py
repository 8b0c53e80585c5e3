"""Work, sleep for an hour, work again. The hour is an hour over any number of crashes.

    python examples/sleeper.py
    python examples/sleeper.py --seconds 10

Kill it and run it again, within the hour or after it: it sleeps what is left, or not at all.
"""

import argparse
import asyncio
import time

import durable
from durable import Workflow

wf = Workflow("sleeper")


@wf.task
async def my_work(part: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {part}", flush=True)


@wf.workflow(id="sleeper-{seconds}")
async def sleeper(seconds: float) -> float:
    began = durable.time()  # recorded like everything else: the same moment after a crash
    await my_work("before")
    await durable.sleep.aio(seconds)
    await my_work("after")
    return durable.time() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sleep through crashes.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    seconds = asyncio.run(sleeper(parser.parse_args().seconds))
    print(f"done {seconds:.1f} s after the first beginning")
