"""Class activation maps: which places of a layer's maps speak for a class, shown at the size of the image.

A map is [b, h, w, 1], the layer's map enlarged by bilinear interpolation. Layers: see `layers.py`; None is the last
layer that gives maps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.analysis.explain import relu_rules
from cvdl_jax.analysis.explain.gradients import gradient
from cvdl_jax.analysis.explain.layers import Layer, split_at_maps
from cvdl_jax.analysis.logits import LogitsFn, batch_of, checked_by, in_batches, score, targets
from cvdl_jax.errors import ConfigError


@partial(jax.jit, static_argnums=0)
def _maps_and_gradients(run: Callable, x: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    shape = jax.eval_shape(lambda x: run(x, None)[1], x).shape

    def total(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, a = run(x, delta)
        return score(lambda _: logits, x, target).astype(jnp.float32).sum(), a

    slopes, a = jax.grad(total, has_aux=True)(jnp.zeros(shape))
    return a.astype(jnp.float32), slopes


@partial(jax.jit, static_argnums=0)
def _is_affine(run: Callable, x: jax.Array, target: jax.Array, a: jax.Array, slopes: jax.Array) -> jax.Array:
    """Whether `S_c(A + D) = S_c(A) + sum(D dS_c/dA)` for a change D that raises the score and for -D: bool [b]."""
    size = jnp.abs(a).mean((1, 2, 3), keepdims=True)
    change = size * jnp.sign(slopes)
    rise = (size * jnp.abs(slopes)).sum((1, 2, 3))
    before = score(lambda _: run(x, None)[0], x, target)
    up, down = (score(lambda _, d=d: run(x, d)[0], x, target) - before for d in (change, -change))
    return (jnp.abs(up - rise) <= 0.01 * rise) & (jnp.abs(down + rise) <= 0.01 * rise)


def _at(logits_fn: LogitsFn, x: Any, target: Any, layer: Layer | None) -> tuple:
    """Checked inputs, classes int [b], the cut, and the layer's maps A and `d S_c / d A`, float [b, h', w', k]."""
    x = checked_by(logits_fn, x)
    if x.ndim != 4:
        raise ConfigError(f"activation maps are those of images [b, h, w, c], got {list(x.shape)}")
    cut = split_at_maps(logits_fn, x[:1], layer)
    chosen = targets(logits_fn(x), target)
    a, slopes = in_batches(partial(_maps_and_gradients, cut.run), batch_of(logits_fn), x, chosen)
    return x, chosen, cut, a, slopes


def enlarged(maps: jax.Array, x: jax.Array) -> jax.Array:
    """Maps [b, h', w'] at the size of images [b, h, w, c]: [b, h, w, 1], by bilinear interpolation."""
    return jax.image.resize(maps, x.shape[:3], "bilinear")[..., None]


def cam(logits_fn: LogitsFn, x: Any, target: Any = None, layer: Layer | None = None) -> jax.Array:
    """`sum_k w_k^c A_k`, w the weights of a dense layer behind global average pooling of the maps A_k.

    They are read from the gradient: there `S_c = sum_k w_k^c mean(A_k) + b_c`, so that `w_k^c` is the sum of
    `d S_c / d A_k`, the same at every pixel; and the mean of the map, before it is enlarged, is `S_c - b_c`.

    Args:
        logits_fn: see `layers.split`.
        x: images [b, h, w, c].
        target: c; None for the largest score.
        layer: whose maps are pooled.

    Returns:
        Float [b, h, w, 1].

    Raises:
        ConfigError: where something else than pooling and a dense layer follows: the gradient differs between pixels,
            or the score is not affine in the maps, as behind a layer normalisation.

    Reference: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", equation 2.
    """
    x, chosen, cut, a, slopes = _at(logits_fn, x, target, layer)
    mean = slopes.mean((1, 2), keepdims=True)
    uneven = float(jnp.abs(slopes - mean).max()) > 1e-4 * float(jnp.abs(slopes).max())
    if uneven or not bool(in_batches(partial(_is_affine, cut.run), batch_of(logits_fn), x, chosen, a, slopes).all()):
        raise ConfigError(
            f"layer={cut.name!r} is not followed by global average pooling and one dense layer alone, of which class "
            "activation maps are made; use gradcam, which needs neither"
        )
    weights = mean * (slopes.shape[1] * slopes.shape[2])
    return enlarged((weights * a).sum(-1), x)


def gradcam(
    logits_fn: LogitsFn, x: Any, target: Any = None, layer: Layer | None = None, positive: bool = True
) -> jax.Array:
    """`max(0, sum_k alpha_k A_k)`, `alpha_k = mean over pixels of d S_c / d A_k`.

    Args:
        logits_fn: see `layers.split`.
        x: images [b, h, w, c].
        target: c; None for the largest score.
        layer: of the maps A_k.
        positive: whether what speaks against the class becomes 0.

    Returns:
        Float [b, h, w, 1].

    Raises:
        ConfigError: for a layer that does not exist or gives no maps.

    Reference: Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2.
    """
    x, _, _, a, slopes = _at(logits_fn, x, target, layer)
    maps = (slopes.mean((1, 2), keepdims=True) * a).sum(-1)
    return enlarged(jnp.maximum(maps, 0) if positive else maps, x)


def gradcam_plus_plus(logits_fn: LogitsFn, x: Any, target: Any = None, layer: Layer | None = None) -> jax.Array:
    """`max(0, sum_k w_k A_k)`, `w_k = sum_ij alpha_ij max(0, g_ij)`, `alpha = g^2 / (2 g^2 + sum(A) g^3)`, g = dS/dA_k.

    Each pixel of the gradient counts by itself, so that several small objects of a class weigh as much as a large one.
    The derivatives of higher order are those of exp(S), where they are powers of g.

    Args:
        logits_fn: see `layers.split`.
        x: images [b, h, w, c].
        target: c; None for the largest score.
        layer: of the maps A_k.

    Returns:
        Float [b, h, w, 1].

    Raises:
        ConfigError: for a layer that does not exist or gives no maps.

    Reference: Chattopadhyay et al. 2018, "Grad-CAM++", equations 10 and 19.
    """
    x, _, _, a, g = _at(logits_fn, x, target, layer)
    below = 2 * g**2 + a.sum((1, 2), keepdims=True) * g**3
    alpha = jnp.where(below == 0, 0, g**2 / jnp.where(below == 0, 1, below))
    weights = (alpha * jnp.maximum(g, 0)).sum((1, 2), keepdims=True)
    return enlarged(jnp.maximum((weights * a).sum(-1), 0), x)


def guided_gradcam(logits_fn: LogitsFn, x: Any, target: Any = None, layer: Layer | None = None) -> jax.Array:
    """Grad-CAM, which says where, times guided back-propagation, which is sharp: element by element, like x.

    Args:
        logits_fn: see `layers.split`; it has ReLUs.
        x: images [b, h, w, c].
        target: c; None for the largest score.
        layer: of the maps of Grad-CAM.

    Raises:
        ConfigError: for a layer that does not exist or gives no maps, or a function without a ReLU.

    Reference: Selvaraju et al. 2017, section 3.1.
    """
    sharp = gradient(relu_rules.with_rule(logits_fn, "guided"), x, target)
    return gradcam(logits_fn, x, target, layer) * sharp
