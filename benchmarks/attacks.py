"""Seconds of PGD-40 on 1,000 images of 28 x 28, here and in PyTorch on the same network, in one run on a CPU's cores.

    pip install -r benchmarks/requirements.txt        # into an environment of its own, if you like
    python -m benchmarks.attacks [--rounds N] [--steps N] [--images N] [--torch PYTHON]

The network is that of `configs/classify/robust_mnist.py` with the same random weights; eps 0.3, steps of 0.01, sign
steps from the same start, no image stops early. Each round measures both, one after the other, in a process of its
own; the ratio is of the medians, above 1.0 where ours is faster. Compilation is not counted, on either side.
Without PyTorch only our side is measured, and there is no ratio. Both sides print the mean loss of the changed images,
which has to agree.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

BATCH, EPS, SIZE = 250, 0.3, 0.01
SHAPES = {"conv0": (5, 5, 1, 16), "conv1": (5, 5, 16, 32), "dense0": (512, 128), "head": (128, 10)}


def drawn(images: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(weights by layer, images [n, 28, 28, 1] in 0..1, random starts in their balls)."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(size=shape, scale=(2 / np.prod(shape[:-1])) ** 0.5).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    x = rng.uniform(size=(images, 28, 28, 1)).astype(np.float32)
    start = np.clip(x + rng.uniform(-EPS, EPS, size=x.shape), 0, 1).astype(np.float32)
    return weights, x, start


def ours(images: int, steps: int) -> dict[str, float]:
    """Seconds, and the mean loss of the changed images."""
    import jax
    import jax.numpy as jnp

    from cvdl_jax.analysis.attacks import threat
    from cvdl_jax.models import registry

    weights, x, start = drawn(images)
    section = {"name": "convnet", "channels": (16, 32), "kernel": 5, "padding": "valid", "units": (128,)}
    model = registry.create(section, "config.model", kinds=("backbones",), num_classes=10)
    params = {
        name: {"kernel": jnp.asarray(w), "bias": jnp.zeros(w.shape[-1], jnp.float32)} for name, w in weights.items()
    }

    def logits_fn(x: jax.Array) -> jax.Array:
        return model.apply({"params": params}, x, False)[0]

    @jax.jit
    def loss(z: jax.Array, y: jax.Array) -> jax.Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits_fn(z)), y[:, None], 1).sum()

    @jax.jit
    def step(x: jax.Array, z: jax.Array, y: jax.Array) -> jax.Array:
        return threat.project(z + SIZE * jnp.sign(jax.grad(loss)(z, y)), x, EPS)

    classes = jax.jit(lambda x: logits_fn(x).argmax(1))
    parts = [(jnp.asarray(x[i : i + BATCH]), jnp.asarray(start[i : i + BATCH])) for i in range(0, images, BATCH)]
    labels = [classes(a) for a, _ in parts]
    loss(step(*parts[0], labels[0]), labels[0]).block_until_ready()
    begin, total = time.perf_counter(), 0.0
    for (a, z), y in zip(parts, labels, strict=True):
        for _ in range(steps):
            z = step(a, z, y)
        total += float(loss(z, y))
    return {"seconds": time.perf_counter() - begin, "loss": total / images}


def theirs(images: int, steps: int) -> dict[str, float]:
    """The same in PyTorch."""
    import torch
    from torch.nn import functional

    weights, x, start = drawn(images)
    conv0, conv1 = (torch.tensor(weights[name].transpose(3, 2, 0, 1).copy()) for name in ("conv0", "conv1"))
    # Our maps are flattened with the channels last.
    dense = torch.tensor(weights["dense0"].reshape(4, 4, 32, 128).transpose(3, 2, 0, 1).reshape(128, 512).copy())
    head = torch.tensor(weights["head"].T.copy())

    def logits_fn(x: "torch.Tensor") -> "torch.Tensor":
        for kernel in (conv0, conv1):
            x = functional.max_pool2d(functional.relu(functional.conv2d(x, kernel)), 2)
        return functional.relu(x.flatten(1) @ dense.T) @ head.T

    def attacked(a: "torch.Tensor", z: "torch.Tensor", y: "torch.Tensor", count: int) -> "torch.Tensor":
        for _ in range(count):
            z = z.detach().requires_grad_(True)
            loss = functional.cross_entropy(logits_fn(z), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, z)
            z = torch.minimum(torch.maximum(z.detach() + SIZE * gradient.sign(), a - EPS), a + EPS).clamp(0, 1)
        return z

    torch.set_num_threads(os.cpu_count() or 1)
    x, start = (torch.tensor(part.transpose(0, 3, 1, 2).copy()) for part in (x, start))
    parts = [(x[i : i + BATCH], start[i : i + BATCH]) for i in range(0, images, BATCH)]
    with torch.no_grad():
        labels = [logits_fn(a).argmax(1) for a, _ in parts]
    attacked(*parts[0], labels[0], 2)
    begin, total = time.perf_counter(), 0.0
    for (a, z), y in zip(parts, labels, strict=True):
        z = attacked(a, z, y, steps)
        with torch.no_grad():
            total += float(functional.cross_entropy(logits_fn(z), y, reduction="sum"))
    return {"seconds": time.perf_counter() - begin, "loss": total / images}


def one(side: str, python: str, images: int, steps: int) -> dict[str, float] | None:
    """One measurement in a process of its own; None where it failed, with its last line printed."""
    command = [python, "-m", "benchmarks.attacks", "--only", side, "--images", str(images), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{side}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", flush=True)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measures both sides in turn and prints the ratio of their medians."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--steps", type=int, default=40)
    flags.add_argument("--images", type=int, default=1000)
    flags.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="the interpreter that has PyTorch")
    flags.add_argument("--only", choices=("ours", "theirs"), help="measure one side once, in this process")
    args = flags.parse_args()
    if args.only:
        print(json.dumps((ours if args.only == "ours" else theirs)(args.images, args.steps)))
        return
    sides: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(args.rounds):
        for side, python in (("ours", sys.executable), ("theirs", args.torch)):
            measured = one(side, python, args.images, args.steps)
            sides[side] += [measured] if measured else []
    medians = {side: statistics.median(m["seconds"] for m in all_of) for side, all_of in sides.items() if all_of}
    for side, seconds in medians.items():
        print(f"{side}: {seconds:.2f} s, mean loss {sides[side][0]['loss']:.4f}")
    if len(medians) == 2:
        print(f"ratio, above 1 where ours is faster: {medians['theirs'] / medians['ours']:.2f}")


if __name__ == "__main__":
    main()
