"""What augmentation costs on the device, alone and as a share of a training step.

    python -m benchmarks.augmentation [--rounds 3]

Each policy is compiled alone and run on one batch of 128 images of 32x32x3; the step is that of ResNet-20 without
augmentation. In a step a policy may cost less or more than alone, because XLA fuses it with what comes before and
after; the last column is measured, the step with the policy over the step without.
"""

import argparse
import json
import statistics
from functools import partial

from benchmarks import common

BATCH = 128
FULL = (
    "flip | padded_crop(padding=4) | color_jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1) | "
    "rotate(degrees=15) | cutout(size=8) | mixup(alpha=0.2)"
)
POLICIES = {
    "flip": "flip",
    "padded_crop": "padded_crop(padding=4)",
    "color_jitter": "color_jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)",
    "rotate": "rotate(degrees=15)",
    "cutout": "cutout(size=8)",
    "mixup": "mixup(alpha=0.2)",
    "flip to mixup": FULL,
    "auto_augment": "auto_augment(policy='cifar10')",
    "rand_augment": "rand_augment(n=2, m=9)",
    "trivial_augment": "trivial_augment(wide=True)",
}
IN_STEP = ("flip to mixup", "auto_augment", "rand_augment", "trivial_augment")


def alone(name: str) -> float:
    """Seconds of a compiled policy on one batch."""
    import jax
    import jax.numpy as jnp

    from cvdl_jax.data.augment import policy
    from cvdl_jax.engine import xla_flags

    xla_flags.prepare()
    transform = policy.build(POLICIES[name], 10)
    pixels = jax.random.uniform(jax.random.key(0), (BATCH, 32, 32, 3))
    batch = {"image": pixels, "label": jnp.arange(BATCH, dtype=jnp.int32) % 10}
    run = jax.jit(lambda batch, key: transform.update(None, batch, key)[1])
    return common.seconds_per_call(lambda: jax.block_until_ready(run(batch, jax.random.key(1))))


def step(name: str) -> float:
    """Seconds of a step of ResNet-20 with a policy; "" for none."""
    from benchmarks import steps

    steps.STEPS["resnet20"] = [part for part in steps.STEPS["resnet20"] if not part.startswith("--config.augment=")]
    call, count = steps.advance(*steps.program("resnet20", f"--config.augment={POLICIES.get(name, '')}"))
    return common.seconds_per_call(call, seconds=8.0) / count


def main() -> None:
    """Compares, in rounds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("policies", nargs="*", default=list(POLICIES), metavar="POLICY", help=", ".join(POLICIES))
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        kind, name = args.child
        print(json.dumps({"seconds": {"alone": alone, "step": step}[kind](name)}))
        return
    machine = common.machine()

    def measure(kind: str, name: str) -> float:
        return common.child("benchmarks.augmentation", "--child", kind, name)["seconds"]

    things = {("step", "")} | {("alone", name) for name in args.policies}
    things |= {("step", name) for name in args.policies if name in IN_STEP}
    figures = common.rounds({thing: partial(measure, *thing) for thing in sorted(things)}, args.rounds)
    plain, rows = figures["step", ""], []
    for name in args.policies:
        ms = 1000 * statistics.median(figures["alone", name])
        share = common.median_ratio(figures["alone", name], plain)
        with_it = figures.get(("step", name))
        rows.append([name, ms, share, common.median_ratio(with_it, plain) if with_it else "-"])
    print(f"step of ResNet-20 without augmentation: {1000 * statistics.median(plain):.3g} ms, batch {BATCH}")
    header = ["policy", "alone, ms", "share of the step", "step with it over the step"]
    kept = {" ".join(thing).strip(): seconds for thing, seconds in figures.items()}
    common.report("augmentation", header, rows, {"machine": machine, "seconds_of_rounds": kept})


if __name__ == "__main__":
    main()
