"""From starting Python to the first completed step of `make run`'s command, with a warm compilation cache.

    python -m benchmarks.first_step [--rounds 5]

The child is the real command; it ends itself after the first row that the loop advances. Beside it, in the same
rounds: an interpreter that imports jax, flax and optax and does nothing, the least that any such program takes.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import common

FIRST = """
import os, sys
sys.path.insert(0, {root!r})
import jax
import launch
from cvdl_jax.engine import train
advance = train.Loop._advance
def first(loop):
    advance(loop)
    jax.block_until_ready(loop.state)
    os._exit(0)
train.Loop._advance = first
launch.main(["--config", "configs/classify/lenet5.py", "--workdir", sys.argv[1]])
sys.exit("the run ended before its first step")
"""


def seconds(code: str, *arguments: str) -> float:
    """Wall seconds of a fresh interpreter that runs some code.

    Raises:
        SystemExit: with what it printed, if it failed.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=common.ROOT)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return time.perf_counter() - start


def first() -> float:
    """Of the real command, up to the first step."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(FIRST.format(root=str(common.ROOT)), folder)


def main() -> None:
    """Measures, in rounds; the first one, which may fill the cache, is not counted."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rounds", type=int, default=5)
    args = flags.parse_args()
    machine = common.machine()
    first()
    least = "import jax, flax.linen, optax; jax.numpy.zeros(1).block_until_ready()"
    figures = common.rounds({"first step": first, "imports alone": lambda: seconds(least)}, args.rounds)
    rows = [[name, statistics.median(values), min(values), max(values)] for name, values in figures.items()]
    header = ["what", "median seconds", "least", "most"]
    common.report("first_step", header, rows, {"machine": machine, "seconds_of_rounds": figures})


if __name__ == "__main__":
    main()
