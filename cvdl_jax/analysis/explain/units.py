"""What layers have learned: their filters, the patches that excite a unit most, and the examples they think alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from cvdl_jax.analysis.explain.layers import Layer, features, split_at_maps
from cvdl_jax.analysis.logits import LogitsFn, checked_by
from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError, DataError, nearest

KERNELS = ("kernel",)


def filters(params: Mapping[str, Any], layer: str) -> np.ndarray:
    """The kernels of a convolution as pictures, each stretched to 0..1 by its own least and greatest weight.

    Of the first layer, a filter on one or three channels is a picture by itself, float [n, 1, kh, kw, c]. Deeper ones
    have as many channels as the layer below: [n, c, kh, kw, 1], a grey picture for each; they show little, since
    nobody sees what those channels are.

    Args:
        params: of a Flax model.
        layer: a convolution's name, "conv0" or "stage1_block0/conv0".

    Raises:
        ConfigError: for a name that is no convolution, with the nearest.
    """
    kernels = {
        "/".join(path[:-1]): np.asarray(x) for path, x in flatten_dict(dict(params)).items() if path[-1] in KERNELS
    }
    kernels = {name: x for name, x in kernels.items() if x.ndim == 4}
    if layer not in kernels:
        raise ConfigError(f"layer={layer!r} is not a convolution with filters; {nearest(layer, kernels)}")
    w = kernels[layer].astype(np.float32).transpose(3, 2, 0, 1)[..., None]  # [n, c, kh, kw, 1]
    if w.shape[1] == 3:
        w = w.transpose(0, 4, 2, 3, 1)  # [n, 1, kh, kw, 3]
    low = w.min((1, 2, 3, 4), keepdims=True)
    return (w - low) / np.maximum(w.max((1, 2, 3, 4), keepdims=True) - low, 1e-12)


def tiled(maps: Any, columns: int = 0) -> np.ndarray:
    """Maps side by side, each stretched to 0..1, with a pixel of 1 between them: float [H, W].

    Args:
        maps: [h, w, k], or units [k] of a layer without pixels, each of which is one pixel.
        columns: of the grid; 0 for about a square.
    """
    maps = np.asarray(maps, np.float32)
    maps = maps.reshape(1, 1, -1) if maps.ndim == 1 else maps
    if maps.ndim != 3:
        raise DataError(f"maps have the shape {list(maps.shape)}, expected [h, w, k] of one image, or [k]")
    h, w, k = maps.shape
    columns = columns or int(np.ceil(np.sqrt(k)))
    low, high = (maps.min(), maps.max()) if h * w == 1 else (maps.min((0, 1)), maps.max((0, 1)))
    scaled = (maps - low) / np.where(high > low, high - low, 1)
    rows = -(-k // columns)
    out = np.ones((rows * (h + 1) - 1, columns * (w + 1) - 1), np.float32)
    for i in range(k):
        y, x = i // columns * (h + 1), i % columns * (w + 1)
        out[y : y + h, x : x + w] = scaled[..., i]
    return out


def receptive_boxes(logits_fn: LogitsFn, x: jax.Array, layer: Layer | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Which rows and columns of an image each place of a layer's maps can see.

    A row of pixels that are not numbers makes every unit that sees it no number; weights that happen to be 0 do not
    hide it. Where a function hides such pixels (`where(z > 0, ...)`), a row is replaced by others instead, and units
    whose value changes see it.

    Args:
        logits_fn: see `layers.split`.
        x: images [b, h, w, c], for their shape and range.
        layer: that gives maps; None for the last.

    Returns:
        int [h', 2] and [w', 2]: the first pixel and the one after the last, of each row and column of the maps.
    """
    cut = split_at_maps(logits_fn, x[:1], layer)
    sides = []
    for axis in (1, 2):
        n = x.shape[axis]
        at = np.eye(n, dtype=bool).reshape(n, *[n if a == axis else 1 for a in (1, 2)], 1)
        probe = np.broadcast_to(np.asarray(x[:1]), (n, *x.shape[1:]))
        other = np.random.default_rng(axis).uniform(float(x.min()), float(x.max()), probe.shape).astype(probe.dtype)
        a = np.asarray(_maps(cut, np.where(at, np.nan, probe)))
        sees = np.isnan(a).any((3 - axis, 3))  # [pixels, places]
        if not sees.any():
            a = np.asarray(_maps(cut, np.where(at, other, probe))) != np.asarray(_maps(cut, probe[:1]))
            sees = a.any((3 - axis, 3))
        first, last = sees.argmax(0), n - sees[::-1].argmax(0)
        sides.append(np.stack([first, np.where(sees.any(0), last, first)], -1))
    return sides[0], sides[1]


def _maps(cut: Any, x: np.ndarray) -> jax.Array:
    return jax.jit(lambda x: cut.run(x, None)[1])(jnp.asarray(x))


class Patch(NamedTuple):
    """A part of an image that excites a unit.

    Attributes:
        index: of the image.
        value: of the unit.
        box: (top, left, bottom, right) in pixels, what the unit can see.
    """

    index: int
    value: float
    box: tuple[int, int, int, int]


def top_patches(
    logits_fn: LogitsFn, x: Any, channel: int, layer: Layer | None = None, most: Size = 9, overlap: float = 0.5
) -> list[Patch]:
    """The places of images at which a unit of a map is largest, each with the box that it can see.

    Neighbouring places see nearly the same, so of two boxes of one image that overlap more than a share of their union
    only the larger value stays (non-maximum suppression).

    Args:
        logits_fn: see `layers.split`.
        x: images [n, h, w, c], such as those of a validation split.
        channel: of the layer's maps.
        layer: that gives maps; None for the last.
        most: how many.
        overlap: in [0, 1].

    Returns:
        Patches, largest value first.

    Raises:
        ConfigError: for a layer or channel that does not exist.

    Reference: Zeiler and Fergus 2014, section 4; Girshick et al. 2014, section 4.1, for the suppression.
    """
    from cvdl_jax.metrics.detection import pairwise_iou

    x = checked_by(logits_fn, x)
    cut = split_at_maps(logits_fn, x[:1], layer)
    if not 0 <= channel < cut.shape[-1]:
        raise ConfigError(f"channel={channel}: the layer {cut.name!r} has the channels 0 ... {cut.shape[-1] - 1}")
    rows, columns = receptive_boxes(logits_fn, x, layer)
    values = np.asarray(features(logits_fn, x, cut.name if layer is None else layer))[..., channel]  # [n, h', w']
    patches: list[Patch] = []
    for place in np.argsort(-values, axis=None, kind="stable"):
        i, row, column = (int(k) for k in np.unravel_index(place, values.shape))
        (top, bottom), (left, right) = rows[row].tolist(), columns[column].tolist()
        box = (top, left, bottom, right)
        of_image = [p.box for p in patches if p.index == i]
        if of_image and float(pairwise_iou(np.array([box], float), np.array(of_image, float)).max()) > overlap:
            continue
        patches.append(Patch(i, float(values[i, row, column]), box))
        if len(patches) == most:
            break
    return patches


class Nearest(NamedTuple):
    """Examples of a set that are nearest to others.

    Attributes:
        index: in the set, nearest first: int [b, k].
        distance: Euclidean, float [b, k].
    """

    index: np.ndarray
    distance: np.ndarray


def nearest_examples(of_set: Any, queries: Any, k: Size = 6) -> Nearest:
    """The k examples that minimise `|h(x_i) - h(x)|`, of features h of any layer: an explanation by examples.

    Args:
        of_set: h(x_i) of the set, such as training images [n, ...]; see `layers.features`.
        queries: h(x) [b, ...].
        k: how many.

    Raises:
        DataError: for features of another shape, or a set of fewer than k.
    """
    of_set, queries = np.asarray(of_set), np.asarray(queries)
    if of_set.shape[1:] != queries.shape[1:] or len(of_set) < k:
        raise DataError(
            f"the set has features {list(of_set.shape)}, the queries {list(queries.shape)}; expected the same of each "
            f"example, and at least k={k} examples in the set"
        )
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (of_set, queries))
    centre = a.mean(0)  # differences of large numbers would lose digits
    a, b = a - centre, b - centre
    squared = np.maximum((b**2).sum(1)[:, None] - 2 * b @ a.T + (a**2).sum(1)[None], 0)
    order = np.argsort(squared, 1, kind="stable")[:, :k]
    return Nearest(order, np.sqrt(np.take_along_axis(squared, order, 1)))


def layers_with_filters(params: Mapping[str, Any]) -> Sequence[str]:
    """The names of the convolutions of a Flax model."""
    return [
        "/".join(path[:-1]) for path, x in flatten_dict(dict(params)).items() if path[-1] in KERNELS and x.ndim == 4
    ]
