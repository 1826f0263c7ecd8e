"""Evaluations of anything that makes images: against the images of a split, and by a classifier.

A sampler is a function `sample(state, key, n) -> images [n, h, w, c] in 0..1`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cvdl_jax.judge import Judge
from cvdl_jax.metrics import samples
from cvdl_jax.task import Eval

DIRECTIONS = 128  # of the sliced distance; fixed, so that runs of different seeds compare
Sampler = Callable[..., jax.Array]


def directions(size: int, dtype: jnp.dtype) -> jax.Array:
    """Unit vectors [size, DIRECTIONS], uniform on the sphere, always the same."""
    axes = jax.random.normal(jax.random.key(0), (size, DIRECTIONS), dtype)
    return axes / jnp.linalg.norm(axes, axis=0, keepdims=True)


def compared(sample: Sampler, split: str) -> Eval:
    """As many samples as a split has images: `sliced_wasserstein`, in pixels along a direction, and `spread`.

    Args:
        sample: the sampler.
        split: of the data section; "test" is evaluated once, at the end.
    """

    def step(state, batch, key):
        real = batch["image"]
        fake = sample(state, key, real.shape[0])
        axes = directions(real[0].size, real.dtype)
        return {name: x.reshape(x.shape[0], -1) @ axes for name, x in (("real", real), ("fake", fake))}  # [b, k]

    def finalise(means, rows):
        pair = rows["real"], rows["fake"]
        return {"sliced_wasserstein": samples.sliced_wasserstein(*pair), "spread": samples.spread(*pair)}

    return Eval(step, finalise, split, final=split == "test")


def judged(sample: Sampler, judge: Judge, batch_size: int) -> Eval:
    """What a classifier says of `judge.samples` samples: classes covered, mean confidence, inception score.

    Args:
        sample: the sampler.
        judge: from `judge.load`.
        batch_size: of an evaluation; the samples of the last batch that are too many are left out.
    """

    def step(state, batch, key):
        return {"probabilities": judge.probabilities(sample(state, key, batch_size))}

    def finalise(means, rows):
        return samples.judged(rows["probabilities"][: judge.samples])

    return Eval(step, finalise, -(-judge.samples // batch_size))
