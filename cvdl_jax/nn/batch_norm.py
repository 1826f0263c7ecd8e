"""Batch and layer normalisation. Statistics and parameters are at least float32, whatever the model computes in.

More kinds are in `nn/norms.py`, where models choose one by name.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core import trace_context
from cvdl_jax.core.parallel import axis_name, mean_devices, real_rows, row_blocks
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.precision import at_least_float32

PATH = "config.model.norm"
MOMENTS = "moments"  # collection of Flax variables: sums from which `engine/batch_statistics.py` makes statistics


@contextmanager
def batch_statistics(collect: bool = False) -> Iterator[dict[str, Any]]:
    """Evaluations traced in here normalise by their own batches.

    Args:
        collect: put sums of every layer's moments into the dict, {name of a model in the state or "": tree}.
    """
    moments: dict[str, Any] = {}
    with trace_context.within(normalise_by_batch=True, moments=moments if collect else None):
        yield moments


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last.

    `y = scale (x - mean) / sqrt(var + epsilon) + bias`, var the biased variance. The collection "batch_stats" holds
    running averages for evaluation, `running <- (1 - momentum) * running + momentum * batch`; only training changes
    them.

    Under jit the batch is one global array; under pmap the devices' moments are averaged, which is exact because their
    shares of the batch are equal. Not synchronised, every device normalises its own rows: what is computed then depends
    on the number of devices, and the running averages are those of the devices' statistics.

    Where statistics of the batch are used in evaluation, what an example gets depends on the others of its batch;
    padded rows do not count (`core/parallel.py`), and the batch is taken as a whole. A padded batch whose one real row
    has a single value a channel gives NaN.

    Attributes:
        momentum: weight of the new batch in the running averages, in [0, 1]. PyTorch's; Flax's is one minus this.
        epsilon: added to the variance.
        running_var: "biased", the average of what training normalised by, or "unbiased", by m / (m - 1) of it for m
            values a channel, as PyTorch's.
        synchronised: statistics of the global batch; else of each device's rows.
        track_running_stats: keep running averages; without them evaluation uses the statistics of its batch.
        dtype: of the result.

    Reference: Ioffe and Szegedy 2015, "Batch Normalization", algorithms 1 and 2.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    running_var: str = "biased"
    synchronised: bool = True
    track_running_stats: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalises.

        Args:
            x: float [b, ..., c].
            train: normalise by the batch and update the averages.

        Returns:
            Array [b, ..., c].

        Raises:
            ConfigError: for an attribute out of its range, or a batch with too few values for its statistics.
        """
        self._check(x)
        wide, c = at_least_float32(self.dtype), x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,), wide)
        bias = self.param("bias", nn.initializers.zeros, (c,), wide)
        running = None
        if self.track_running_stats:
            running = (
                self.variable("batch_stats", "mean", jnp.zeros, (c,), wide),
                self.variable("batch_stats", "var", jnp.ones, (c,), wide),
            )
        x = x.astype(wide)
        if train or running is None or trace_context.current().normalise_by_batch:
            blocks = row_blocks() if train and not self.synchronised and not self.is_initializing() else 1
            mean, var = self._moments(x, blocks, None if train else real_rows())  # [c] or [blocks, 1 ..., c]
            if train and running is not None and not self.is_initializing():
                self._update(running, mean, var, x, blocks)
        else:
            mean, var = running[0].value, running[1].value
        one = (1,) * (x.ndim - 1)
        if mean.ndim > 1:  # statistics of blocks of rows
            y = (x.reshape(mean.shape[0], -1, *x.shape[1:]) - mean) * lax.rsqrt(var + self.epsilon)
            return (y.reshape(x.shape) * scale.reshape(*one, c) + bias.reshape(*one, c)).astype(self.dtype)
        scale = scale * lax.rsqrt(var + self.epsilon)
        return ((x - mean.reshape(*one, c)) * scale.reshape(*one, c) + bias.reshape(*one, c)).astype(self.dtype)

    def _check(self, x: jax.Array) -> None:
        if not 0 <= self.momentum <= 1:
            raise ConfigError(f"{PATH}: batch(momentum={self.momentum}), the new batch's weight, must lie in [0, 1]")
        if not 0 < self.epsilon < math.inf:
            raise ConfigError(f"{PATH}: batch(epsilon={self.epsilon}) must be positive, such as 1e-5")
        if self.running_var not in ("biased", "unbiased"):
            raise ConfigError(f"{PATH}: batch(running_var={self.running_var!r}) must be 'biased' or 'unbiased'")
        if x.ndim < 2:
            raise ConfigError(f"batch normalisation takes a batch [b, ..., c], got shape {x.shape}")

    def _values(self, x: jax.Array, blocks: int) -> int:
        """How many values of a channel share their statistics."""
        devices = lax.axis_size(axis_name()) if axis_name() is not None and self.synchronised else 1
        return x.size // x.shape[-1] // blocks * devices

    def _check_values(self, x: jax.Array, blocks: int) -> None:
        if not self.is_initializing() and self._values(x, blocks) < 2:
            raise ConfigError(
                f"{PATH}: batch normalisation {self.name or ''} needs two values a channel, and a batch of shape "
                f"{list(x.shape)} has one, which would become 0; raise config.batch_size (in evaluations "
                "config.eval_batch_size; predict more than one image), or use norm='layer'"
            )

    def _moments(self, x: jax.Array, blocks: int, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Mean and biased variance [c] in two passes, so that nothing cancels; of several blocks [blocks, 1, ..., c].

        One pass about the running mean, which begins at 0, would lose the variance of data far from 0.
        """
        self._check_values(x, blocks)
        weights = None
        if mask is not None:
            if len(mask) != len(x):
                raise ConfigError(
                    f"normalisation by the batch met {len(x)} rows in an evaluation of batches of {len(mask)}, and "
                    "cannot tell which are padding; use running statistics"
                )
            weights = mask.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        if blocks > 1:
            if len(x) % blocks:
                raise ConfigError(
                    f"{PATH}: batch(synchronised=False): {len(x)} rows do not divide over {blocks} devices"
                )
            x = x.reshape(blocks, -1, *x.shape[1:])
        axis = None if self.is_initializing() or not self.synchronised else axis_name()
        axes = tuple(range(1 if blocks > 1 else 0, x.ndim - 1))

        def average(values: jax.Array) -> jax.Array:
            total = values.mean(axes, keepdims=True) if weights is None else _weighted(values, weights, axes)
            return total if axis is None else lax.pmean(total, axis)

        mean = average(x)
        var = average(jnp.square(x - mean))
        if weights is not None and trace_context.current().moments is None:
            # one real value has no variance; how many are real is known when it runs
            var = jnp.where(weights.sum() * (x.size // x.shape[-1] // len(x)) < 2, jnp.nan, var)
        self._note(mean, var, x, weights)
        return (mean, var) if blocks > 1 else (mean.reshape(-1), var.reshape(-1))

    def _update(self, running: Any, mean: jax.Array, var: jax.Array, x: jax.Array, blocks: int) -> None:
        """Moves the running averages towards the batch's statistics."""
        if self.running_var == "unbiased":
            values = self._values(x, blocks)
            var = var * (values / (values - 1))
        if not self.synchronised:
            mean, var = (mean_devices(v.reshape(-1, x.shape[-1]).mean(0)) for v in (mean, var))
        for average, new in zip(running, (mean, var), strict=True):
            average.value = (1 - self.momentum) * average.value + self.momentum * new

    def _note(self, mean: jax.Array, var: jax.Array, x: jax.Array, weights: jax.Array | None) -> None:
        """Adds up what the statistics of a whole split are made of, where somebody asks for it."""
        if not self.is_mutable_collection(MOMENTS) or self.is_initializing():
            return
        places = x.size // x.shape[-1] // len(x)
        count = (len(x) if weights is None else weights.sum()) * jnp.asarray(places, x.dtype)
        sums = {"count": count, "total": count * mean.reshape(-1), "deviations": count * var.reshape(-1)}
        for name, value in (sums | {"freedom": jnp.maximum(count - 1, 0)}).items():
            self.sow(MOMENTS, name, value, reduce_fn=jnp.add, init_fn=lambda: jnp.zeros((), x.dtype))


def _weighted(values: jax.Array, weights: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The mean of values [b, ..., c] over axes, rows weighted by [b, 1, ..., 1]."""
    places = math.prod(values.shape[1:-1])
    return (values * weights).sum(axes, keepdims=True) / (weights.sum() * places)


def layer_norm(dtype: Any, name: str | None = None, epsilon: float = 1e-6) -> nn.LayerNorm:
    """Layer normalisation over the last axis, `epsilon` 1e-6 as in Vision Transformers unless given.

    Reference: Ba et al. 2016, "Layer Normalization", equation 3.
    """
    return nn.LayerNorm(
        epsilon=epsilon, dtype=dtype, param_dtype=at_least_float32(dtype), use_fast_variance=False, name=name
    )
