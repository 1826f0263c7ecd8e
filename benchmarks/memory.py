"""Peak memory of a training step: what XLA plans for it, and the most that the process ever held.

    python -m benchmarks.memory [model ...]

Arguments and temporaries are the compiled step's own (`memory_analysis`); data that live on the device are among the
arguments. The process's peak holds Python, JAX and the compiler too, which the row `imports alone` shows.
"""

import argparse
import json
import resource
import sys

from benchmarks import common

MODELS = ("mlp", "lenet5", "resnet20", "vit_tiny", "lstm")
MIB = 2**20


def peak() -> float:
    """The most memory this process has held, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MIB if sys.platform == "darwin" else most / 1024  # bytes there, KiB elsewhere


def measure(name: str) -> dict[str, float]:
    """MiB of one model's step, and of the process after some steps."""
    if name == "imports alone":
        import flax.linen  # noqa: F401
        import jax
        import optax  # noqa: F401

        jax.numpy.zeros(1).block_until_ready()
        return {"arguments": 0.0, "temporaries": 0.0, "process": peak()}
    from benchmarks import steps

    made, built = steps.program(name)
    call, _ = steps.advance(made, built)
    for _ in range(3):
        call()
    plan = made._functions["advance"].memory_analysis()
    return {
        "arguments": plan.argument_size_in_bytes / MIB,
        "temporaries": plan.temp_size_in_bytes / MIB,
        "process": peak(),
    }


def main() -> None:
    """Measures each model in a process of its own."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL", help=", ".join(MODELS))
    flags.add_argument("--child", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        print(json.dumps(measure(args.child)))
        return
    machine, rows = common.machine(), []
    for name in ("imports alone", *args.models):
        found = common.child("benchmarks.memory", "--child", name)
        rows.append([name, *(round(found[k], 1) for k in ("arguments", "temporaries", "process"))])
    header = ["model", "arguments, MiB", "temporaries, MiB", "process peak, MiB"]
    common.report("memory", header, rows, {"machine": machine})


if __name__ == "__main__":
    main()
