"""Whether a CPU run gains by virtual devices (`--host_devices=N`): images per second over those of one device.

python -m benchmarks.host_devices [--rounds 3] [model ...]
"""

import argparse
import json
import os
import statistics
from functools import partial

from benchmarks import common

MODELS = ("mlp", "lenet5", "resnet20", "vit_tiny")
DEVICES = (1, 2, 4)


def seconds(name: str, n: int) -> float:
    """Seconds of a step with n virtual devices."""
    from benchmarks import steps

    made, built = steps.program(name, host_devices=n)
    call, count = steps.advance(made, built)
    return common.seconds_per_call(call, seconds=6.0) / count


def main() -> None:
    """Compares, in rounds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL", help=", ".join(MODELS))
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        print(json.dumps({"seconds": seconds(args.child[0], int(args.child[1]))}))
        return
    os.environ.pop("XLA_FLAGS", None)
    machine, rows, kept = common.machine(), [], {}
    for name in args.models:

        def measure(n: int, name: str = name) -> float:
            return common.child("benchmarks.host_devices", "--child", name, str(n))["seconds"]

        figures = common.rounds({str(n): partial(measure, n) for n in DEVICES}, args.rounds)
        ratios = [common.median_ratio(figures["1"], figures[str(n)]) for n in DEVICES[1:]]
        rows.append([name, 1000 * statistics.median(figures["1"]), *ratios])
        kept[name] = figures
    header = ["model", "one device, ms a step", *(f"steps/s with {n}" for n in DEVICES[1:])]
    common.report("host_devices", header, rows, {"machine": machine, "seconds_of_rounds": kept})


if __name__ == "__main__":
    main()
