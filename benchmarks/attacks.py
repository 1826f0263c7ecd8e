"""Seconds of PGD-40 and of integrated gradients with 50 steps on 1,000 images of 28 x 28, here and in PyTorch.

    pip install -r benchmarks/requirements.txt        # into an environment of its own, if you like
    python -m benchmarks.attacks [--rounds N] [--images N] [--torch PYTHON]

PyTorch's are `torchattacks.PGD` and `captum.attr.IntegratedGradients`, the libraries that users of PyTorch have, each
with the batches that it is given: 250 images. The network is that of `configs/classify/robust_mnist.py` with the same
random weights; eps 0.3, steps of 0.01, from the images themselves, no image stops early; both integrate by the midpoint
rule (captum's riemann_middle). Each round measures both sides, one after the other, in a process of its own; the ratio
is the median of those of the rounds, above 1.0 where ours is faster. Compilation is not counted, on either side. Both
print a number of what came out, the mean loss of the changed images or the mean absolute attribution, which have to
agree. Without PyTorch only our side is measured, and there is no ratio.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import common

BATCH, EPS, SIZE, STEPS, INTEGRAL = 250, 0.3, 0.01, 40, 50
SHAPES = {"conv0": (5, 5, 1, 16), "conv1": (5, 5, 16, 32), "dense0": (512, 128), "head": (128, 10)}
TASKS = {"pgd": "PGD-40 / torchattacks", "ig": "integrated gradients, 50 steps / captum"}


def drawn(images: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(weights by layer, images [n, 28, 28, 1] in 0..1)."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(size=shape, scale=(2 / np.prod(shape[:-1])) ** 0.5).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    return weights, rng.uniform(size=(images, 28, 28, 1)).astype(np.float32)


def timed(
    run: Callable[[Any, Any], Any], parts: list[tuple[Any, Any]], figure: Callable[[Any, Any, Any], float]
) -> dict:
    """Seconds of all parts, and the mean of `figure` over them; the first part runs once before."""
    float(figure(run(*parts[0]), *parts[0]))
    begin, total = time.perf_counter(), 0.0
    for x, y in parts:
        total += float(figure(run(x, y), x, y))
    return {"seconds": time.perf_counter() - begin, "figure": total / len(parts)}


def ours(task: str, images: int) -> dict[str, float]:
    """Our side."""
    import jax
    import jax.numpy as jnp
    import optax

    from cvdl_jax.analysis.attacks.pgd import pgd
    from cvdl_jax.analysis.explain.gradients import integrated_gradients
    from cvdl_jax.models import registry

    weights, x = drawn(images)
    section = {"name": "convnet", "channels": (16, 32), "kernel": 5, "padding": "valid", "units": (128,)}
    model = registry.create(section, "config.model", kinds=("backbones",), num_classes=10)
    params = {
        name: {"kernel": jnp.asarray(w), "bias": jnp.zeros(w.shape[-1], jnp.float32)} for name, w in weights.items()
    }

    def logits_fn(x: jax.Array) -> jax.Array:
        return model.apply({"params": params}, x, False)[0]

    def losses(z: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits_fn(z), y)

    classes = jax.jit(lambda x: logits_fn(x).argmax(1))
    parts = [(jnp.asarray(x[i : i + BATCH]), classes(x[i : i + BATCH])) for i in range(0, images, BATCH)]
    if task == "ig":
        run = lambda x, y: integrated_gradients(logits_fn, x, y, steps=INTEGRAL)  # noqa: E731
        return timed(run, parts, lambda made, x, y: abs(made).mean())
    attack = jax.jit(lambda x, y: pgd(lambda z: losses(z, y), x, jax.random.key(0), EPS, SIZE, STEPS, False))
    mean = jax.jit(lambda made, x, y: losses(made, y).mean())
    return timed(attack, parts, mean)


def theirs(task: str, images: int) -> dict[str, float]:
    """The same in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional

    weights, x = drawn(images)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    # Our maps are flattened with the channels last.
    dense = weights["dense0"].reshape(4, 4, 32, 128).transpose(3, 2, 0, 1).reshape(128, 512)
    arrays = [weights[name].transpose(3, 2, 0, 1) for name in ("conv0", "conv1")] + [dense, weights["head"].T]
    with torch.no_grad():
        for layer, array in zip([m for m in net if hasattr(m, "weight")], arrays, strict=True):
            layer.weight.copy_(torch.tensor(array.copy()))
            layer.bias.zero_()
    net.eval().requires_grad_(False)
    torch.set_num_threads(os.cpu_count() or 1)
    x = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        parts = [(x[i : i + BATCH], net(x[i : i + BATCH]).argmax(1)) for i in range(0, images, BATCH)]
    if task == "ig":
        from captum.attr import IntegratedGradients

        method = IntegratedGradients(net)
        run = lambda x, y: method.attribute(x, target=y, n_steps=INTEGRAL, method="riemann_middle")  # noqa: E731
        return timed(run, parts, lambda made, x, y: made.abs().mean())
    import torchattacks

    attack = torchattacks.PGD(net, eps=EPS, alpha=SIZE, steps=STEPS, random_start=False)
    return timed(attack, parts, lambda made, x, y: functional.cross_entropy(net(made), y))


def main() -> None:
    """Measures both sides in turn and prints the ratios."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--images", type=int, default=1000)
    flags.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="the interpreter that has PyTorch")
    flags.add_argument("--only", choices=("ours", "theirs"), help="measure one side of --task once, in this process")
    flags.add_argument("--task", choices=tuple(TASKS), default="pgd")
    args = flags.parse_args()
    if args.only:
        print(json.dumps((ours if args.only == "ours" else theirs)(args.task, args.images)))
        return
    machine, rows = common.machine(), []
    for task, name in TASKS.items():
        sides: dict[str, list[float]] = {"ours": [], "theirs": []}
        shown = {}
        for i in range(args.rounds):
            for side in ("ours", "theirs") if i % 2 == 0 else ("theirs", "ours"):
                given = ["--only", side, "--task", task, "--images", str(args.images)]
                try:
                    python = sys.executable if side == "ours" else args.torch
                    measured = common.child("benchmarks.attacks", *given, python=python)
                except SystemExit as error:
                    if side == "ours":
                        raise
                    print(f"{side}: {str(error).splitlines()[-1]}", flush=True)
                    continue
                sides[side].append(measured["seconds"])
                shown[side] = measured["figure"]
        ratio = common.median_ratio(sides["theirs"], sides["ours"]) if sides["theirs"] else "-"
        medians = [statistics.median(x) if x else "-" for x in sides.values()]
        rows.append([name, *medians, ratio, *(shown.get(side, "-") for side in sides)])
    header = ["what", "ours (s)", "PyTorch (s)", "ratio", "ours: figure", "PyTorch: figure"]
    common.report("attacks", header, rows, {"machine": machine, "rounds": args.rounds, "images": args.images})


if __name__ == "__main__":
    main()
