"""Explanations measured: do they depend on the weights, does the score depend on what they name, do they hit it?

A map is reduced to one number a pixel by its sum over channels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.explain.perturbation import Fill, Output, filled_with, outputs_kept
from cvdl_jax.analysis.logits import LogitsFn, checked_by, targets
from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError, DataError


class Curve(NamedTuple):
    """What the score does while pixels are taken away or put back, most important first.

    Attributes:
        shares: of the pixels that were changed, [n + 1], from 0 to 1.
        values: of the class, float [b, n + 1].
        area: below each curve, by the trapezoidal rule, float [b].
    """

    shares: np.ndarray
    values: np.ndarray
    area: np.ndarray


def _finite(maps: Any) -> np.ndarray:
    """Maps in float64, refused where they have numbers that are not finite, of which nothing can be ranked."""
    maps = np.asarray(maps, np.float64)
    if not np.isfinite(maps).all():
        raise DataError("the maps have numbers that are not finite; measure maps of a model that has not diverged")
    return maps


def _ranks(maps: Any, x: jax.Array) -> np.ndarray:
    """The rank of every pixel of each map, 0 the most important: int [b, h, w]."""
    pixels = _finite(maps)
    if pixels.ndim != 4 or pixels.shape[:3] != x.shape[:3]:
        raise DataError(f"maps have the shape {list(pixels.shape)}, expected [b, h, w, channels] of {list(x.shape)}")
    flat = pixels.sum(-1).reshape(len(pixels), -1)
    order = np.argsort(-flat, 1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None].repeat(len(flat), 0), 1)
    return ranks.reshape(pixels.shape[:3])


@method
def _curve(
    logits_fn: LogitsFn, x: Any, maps: Any, target: Any, fill: Fill, steps: int, output: str, insert: bool
) -> Curve:
    x = checked_by(logits_fn, x)
    ranks, n = _ranks(maps, x), x.shape[1] * x.shape[2]
    steps = min(steps, n)
    chosen, empty = targets(logits_fn(x), target), filled_with(logits_fn, x, fill)
    counts = np.round(np.linspace(0, n, steps + 1)).astype(int)
    values = []
    for i in range(len(x)):  # every image has masks of its own
        changed = (ranks[i, ..., None] < k for k in counts)
        keep = changed if insert else (~mask for mask in changed)
        one = slice(i, i + 1)
        values.append(np.asarray(outputs_kept(logits_fn, x[one], empty[one], keep, chosen[one], output))[0])
    shares, curves = counts / n, np.asarray(values, np.float64)
    return Curve(shares, curves, np.trapezoid(curves, shares, axis=1))


@method
def deletion(
    logits_fn: LogitsFn,
    x: Any,
    maps: Any,
    target: Any = None,
    fill: Fill = 0.0,
    steps: Size = 20,
    output: Output = "probability",
) -> Curve:
    """The class's probability while pixels are filled, most important first: the lower its area, the better the map.

    Args:
        logits_fn: `[b, h, w, c] -> [b, k]`.
        x: images [b, h, w, c].
        maps: [b, h, w, channels], larger where pixels speak for the class.
        target: c; None for the largest score of the whole image.
        fill: what pixels become, see `perturbation.filled_with`.
        steps: in which all pixels are changed.
        output: "probability" or "score".

    Raises:
        DataError: for maps of another size, or of numbers that are not finite.

    Reference: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", section 4.2.
    """
    return _curve(logits_fn, x, maps, target, fill, steps, output, insert=False)


@method
def insertion(
    logits_fn: LogitsFn,
    x: Any,
    maps: Any,
    target: Any = None,
    fill: Fill = 0.0,
    steps: Size = 20,
    output: Output = "probability",
) -> Curve:
    """The class's probability while pixels are put into a filled image, most important first: the higher, the better.

    Args:
        logits_fn: `[b, h, w, c] -> [b, k]`.
        x: images [b, h, w, c].
        maps: [b, h, w, channels], larger where pixels speak for the class.
        target: c; None for the largest score of the whole image.
        fill: what the image is before, see `perturbation.filled_with`.
        steps: in which all pixels are changed.
        output: "probability" or "score".

    Raises:
        DataError: for maps of another size, or of numbers that are not finite.

    Reference: Petsiuk et al. 2018, section 4.2.
    """
    return _curve(logits_fn, x, maps, target, fill, steps, output, insert=True)


def random_maps(logits_fn: LogitsFn, x: Any, target: Any = None, seed: int = 0) -> np.ndarray:
    """Maps of random numbers in 0..1 [b, h, w, 1], the control of every measure: they explain nothing.

    Args:
        logits_fn: not asked.
        x: images [b, h, w, c].
        target: not asked.
        seed: of the numbers; they are the same whatever the weights are.
    """
    return np.random.default_rng(seed).uniform(size=(*np.shape(x)[:3], 1))


def pointing_game(maps: Any, truth: Any, tolerance: int = 0) -> np.ndarray:
    """Whether the largest pixel of each map lies on an object of the class, or within some pixels of it: bool [b].

    Args:
        maps: [b, h, w, channels].
        truth: bool [b, h, w], the pixels of the class.
        tolerance: in pixels, by rows and columns.

    Raises:
        DataError: for a truth of another size, an image without a pixel of the class, or maps that are not finite.

    Reference: Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop", section 4.1, with 15 pixels.
    """
    maps, truth = _finite(maps).sum(-1), np.asarray(truth, bool)
    if maps.shape != truth.shape or not truth.any((1, 2)).all():
        raise DataError(
            f"the truth is a mask [b, h, w] with a pixel of the class in every image, of maps {list(maps.shape)}; got "
            f"{list(truth.shape)}"
        )
    hits = []
    for one, mask in zip(maps, truth, strict=True):
        i, j = np.unravel_index(one.argmax(), one.shape)
        near = mask[max(i - tolerance, 0) : i + tolerance + 1, max(j - tolerance, 0) : j + tolerance + 1]
        hits.append(bool(near.any()))
    return np.array(hits)


def rank_correlation(a: Any, b: Any) -> np.ndarray:
    """Spearman's rank correlation of two maps of each image, [b, h, w, channels] -> float [b]; 0 for a constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(_finite(m).sum(-1).reshape(len(m), -1), axis=1) for m in (a, b)]
    p, q = (r - r.mean(1, keepdims=True) for r in ranks)
    scale = np.sqrt((p**2).sum(1) * (q**2).sum(1))
    return np.where(scale > 0, (p * q).sum(1) / np.where(scale > 0, scale, 1), 0.0)


def randomised(params: Mapping[str, Any], layers: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Parameters of which those of some layers are shuffled, array by array: of the same size, and of no meaning.

    Args:
        params: of a Flax model, {layer: tree}.
        layers: top-level names.
        seed: of the shuffles.

    Raises:
        ConfigError: for a layer that has no parameters.
    """
    unknown = [name for name in layers if name not in params]
    if unknown:
        raise ConfigError(f"layer={unknown[0]!r} has no parameters; those that have are {', '.join(params)}")
    rng = np.random.default_rng(seed)

    def shuffled(w: Any) -> Any:
        w = np.asarray(w)
        return jnp.asarray(rng.permutation(w.reshape(-1)).reshape(w.shape))

    return {name: jax.tree.map(shuffled, tree) if name in layers else tree for name, tree in params.items()}


def sanity_check(
    explain: Callable[[Mapping[str, Any]], Any], params: Mapping[str, Any], order: Sequence[str], seed: int = 0
) -> dict[str, float]:
    """How like the map of a trained network is that of one whose layers are randomised, from the last to the first.

    A method whose maps stay the same does not explain what the network has learned.

    Args:
        explain: parameters -> maps [b, h, w, channels], of one class for each image, the same in all calls.
        params: of the trained network.
        order: top-level names of its layers, from the last to the first.
        seed: of the shuffles.

    Returns:
        {layer: mean over images of the rank correlation, this layer and all before it in `order` randomised}.

    Reference: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.
    """
    before = explain(params)
    return {
        name: float(rank_correlation(before, explain(randomised(params, order[: i + 1], seed))).mean())
        for i, name in enumerate(order)
    }
