"""Attention rollout: how much of each patch is in the token that is classified, if attention alone mixed them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.analysis.explain import layers
from cvdl_jax.analysis.explain.cam import enlarged
from cvdl_jax.analysis.logits import LogitsFn, batch_of, checked_by, in_batches
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.observe import observing


def rollout(attention: Sequence[jax.Array]) -> jax.Array:
    """`R = A'_L ... A'_1`, `A' = (A + I) / 2`, A the mean over heads: I stands for the residual connection.

    Args:
        attention: of each block, from the first, weights [b, heads, t, t] whose rows sum to one.

    Returns:
        Float [b, t, t], rows summing to one: the shares of the input tokens in each output token.

    Reference: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3, equation 1.
    """
    total = None
    for weights in attention:
        a = weights.astype(jnp.float32).mean(1)
        a = (a + jnp.eye(a.shape[-1])[None]) / 2
        total = a if total is None else jnp.einsum("bij,bjk->bik", a, total, precision="highest")
    return total


@partial(jax.jit, static_argnums=0)
def _attention(logits_fn: LogitsFn, x: jax.Array) -> list[jax.Array]:
    with observing() as seen:
        logits_fn(x)
    return [w for layer in seen.values() for w in layer.get("weights", ())]


def attention_rollout(logits_fn: LogitsFn, x: Any) -> jax.Array:
    """`rollout` of a vision transformer, from the class token to the patches, at the size of the image; of no class.

    Args:
        logits_fn: that of a run of ours, or one that calls `nn.apply.apply_eval`.
        x: images [b, h, w, c].

    Returns:
        Float [b, h, w, 1]. Where the patches are averaged and there is no class token, the mean over all of them.

    Raises:
        ConfigError: for a function without attention, or whose tokens are not those of one grid of patches throughout.
    """
    x = checked_by(logits_fn, x)
    inner = layers.plain(logits_fn)
    sizes = [w.shape for w in jax.eval_shape(partial(_attention, inner), x[:1])]
    if not sizes:
        raise ConfigError("this function has no attention layers that can be seen; use gradcam for convolutions")
    maps = [s for s in layers.shapes(logits_fn, x[:1]).values() if len(s) == 4 and s[1] * s[2] > 1]
    t = sizes[0][-1]
    grid = maps[0][1:3] if maps else (0, 0)
    special = t - grid[0] * grid[1]
    if any(s[0] != 1 or s[-2:] != (t, t) for s in sizes) or not maps or special < 0:
        raise ConfigError(
            f"attention rollout needs one sequence of patches throughout, this function attends in {sizes[0]} ... "
            f"{sizes[-1]}; use gradcam where the last layer gives maps, or integrated_gradients (ig)"
        )

    def shares(x: jax.Array) -> jax.Array:
        flow = _rolled(inner, x)[..., special:]  # [b, t, patches]
        return (flow[:, 0] if special else flow.mean(1)).reshape(-1, *grid)

    return enlarged(in_batches(shares, batch_of(logits_fn), x), x)


@partial(jax.jit, static_argnums=0)
def _rolled(logits_fn: LogitsFn, x: jax.Array) -> jax.Array:
    return rollout(_attention(logits_fn, x))
