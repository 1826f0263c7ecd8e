"""Steps per second of `engine/train.py` over those of the bare jitted step in a plain Python loop.

    python -m benchmarks.loop_tax [--rounds 3]

The bare loop gathers a batch of the resident set and makes one step a call, with nothing else: no rows, no clock, no
signals. `engine/train.py` logs as the config says; its evaluations, saves and compilation are not part of either.
"""

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import common

STEPS = {"mlp": 6000, "lenet5": 300, "resnet20": 40}
INTERVALS = 10


def bare(name: str) -> float:
    """Seconds of a step in a plain loop over the compiled step."""
    import jax

    from benchmarks import steps
    from cvdl_jax.engine.feed import TrainFeed

    made, built = steps.program(name, "--config.steps_per_call=1")
    feed = TrainFeed(made, built.data, built.config.seed, 0, built.info.total_steps)
    n = STEPS[name] // 2
    sources = [feed.next(i, 1) for i in range(n)]
    state, sums = made.create(), made.zero_sums()
    for source in sources[:5]:
        state, sums = made.advance(state, sums, source, 1)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for i, source in enumerate(sources):
        state, sums = made.advance(state, sums, source, 1)
        if i % 8 == 7:  # a host must not run ahead without end
            jax.block_until_ready(sums)
    jax.block_until_ready(state)
    return (time.perf_counter() - start) / n


def loop(name: str) -> float:
    """Median seconds of a step over the logging intervals of a run of `engine/train.py`, without the first."""
    from benchmarks import steps
    from cvdl_jax.config import configs
    from cvdl_jax.engine import xla_flags
    from cvdl_jax.engine.train import train
    from cvdl_jax.workdir.metric_log import read

    xla_flags.prepare()
    path, *overrides = steps.STEPS[name]
    n = STEPS[name]
    more = [
        f"--config.total_steps={n}",
        f"--config.log.every_steps={n // INTERVALS}",
        "--config.eval.every_percent=100",
    ]
    with tempfile.TemporaryDirectory() as folder:
        train(configs.load(path, [*overrides, *more]), folder, ["benchmark"], lambda folder: None)
        rows = read(Path(folder) / "metrics.jsonl")
    return statistics.median(row["time/seconds_per_step"] for row in rows[1:])


def main() -> None:
    """Compares, in rounds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("models", nargs="*", default=list(STEPS), metavar="MODEL", help=", ".join(STEPS))
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        kind, name = args.child
        print(json.dumps({"seconds": {"bare": bare, "loop": loop}[kind](name)}))
        return
    machine, rows, kept = common.machine(), [], {}
    for name in args.models:

        def measure(kind: str, name: str = name) -> float:
            return common.child("benchmarks.loop_tax", "--child", kind, name)["seconds"]

        figures = common.rounds({k: partial(measure, k) for k in ("bare", "loop")}, args.rounds)
        ms = {k: 1000 * statistics.median(v) for k, v in figures.items()}
        rows.append([name, ms["bare"], ms["loop"], common.median_ratio(figures["bare"], figures["loop"])])
        kept[name] = figures
    header = ["model", "bare step, ms", "train.py, ms a step", "steps/s over the bare loop's"]
    common.report("loop_tax", header, rows, {"machine": machine, "seconds_of_rounds": kept})


if __name__ == "__main__":
    main()
