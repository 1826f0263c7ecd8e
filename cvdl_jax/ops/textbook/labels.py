"""Conversions of labels, {0, 1}, {-1, 1}, class numbers 0..c-1 and one-hot rows, and of images to vectors.

Invalid values are a ValueError where they are known; inside jit they give NaN, or -1 in an integer result, and never
another label.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.ops.value_checks import between, check_concrete, floats, one_of, or_nan


def one_hot(labels: Any, num_classes: int, dtype: Any = jnp.float32) -> jax.Array:
    """One-hot rows, `onehot(c)_k = [k = c]`.

    Args:
        labels: int [...], in 0..num_classes - 1.
        num_classes: c, at least 1.
        dtype: floating.

    Returns:
        [..., c].

    Raises:
        ValueError: for a label that is no class (NaN rows inside jit), or labels that are no integers.
    """
    labels = _integers("labels", labels)
    good = between("labels", labels, 0, num_classes - 1)
    return or_nan(good[..., None], jax.nn.one_hot(labels, num_classes, dtype=dtype)).astype(dtype)


def classes(one_hot: Any) -> jax.Array:
    """Class numbers of one-hot rows, the inverse of `one_hot`.

    Args:
        one_hot: [..., c] of zeros with a single one.

    Returns:
        int32 [...].

    Raises:
        ValueError: for rows that are not one-hot, such as soft labels (-1 inside jit); for scores use `hardmax`.
    """
    rows = floats("one_hot", one_hot)
    ones = rows.sum(-1) == 1
    good = one_of("one_hot", rows, (0, 1)).all(-1)
    good = good & check_concrete("the sum of a row", jnp.where(ones, 1, rows.sum(-1)), lambda v: v == 1, "1")
    return jnp.where(good, rows.argmax(-1), -1).astype(jnp.int32)


def signs(labels: Any) -> jax.Array:
    """{0, 1} -> {-1, 1}: `2 y - 1`.

    Args:
        labels: 0 or 1, any dtype, [...].

    Returns:
        float32 [...].

    Raises:
        ValueError: for another label (NaN inside jit).
    """
    y = floats("labels", labels)
    return or_nan(one_of("labels", y, (0, 1)), 2 * y - 1)


def bits(signs: Any) -> jax.Array:
    """{-1, 1} -> {0, 1}: `(y + 1) / 2`, the inverse of `signs`.

    Args:
        signs: -1 or 1, any dtype, [...].

    Returns:
        int32 [...].

    Raises:
        ValueError: for another sign (-1 inside jit).
    """
    y = floats("signs", signs)
    return jnp.where(one_of("signs", y, (-1, 1)), (y + 1) / 2, -1).astype(jnp.int32)


def hardmax(scores: Any) -> jax.Array:
    """The one-hot row of the largest score; of equal ones the first, as in argmax.

    Args:
        scores: float [..., c].

    Returns:
        float32 [..., c]. A row with a NaN is refused (NaN inside jit).

    Raises:
        ValueError: for NaN.
    """
    s = floats("scores", scores)
    rows = jax.nn.one_hot(s.argmax(-1), s.shape[-1], dtype=jnp.float32)
    return or_nan(~jnp.isnan(s).any(-1, keepdims=True), rows)


def image_to_vector(image: Any) -> jax.Array:
    """Images as vectors, row by row, the channels of a pixel side by side: 32 x 32 x 3 bytes are 3072 numbers.

    Args:
        image: [..., h, w, c]; bytes 0..255 become floats 0..1, floats stay as they are.

    Returns:
        float32 [..., h w c].

    Raises:
        ValueError: for fewer than three axes, or another dtype.
    """
    image = jnp.asarray(image)
    if image.ndim < 3:
        raise ValueError(f"image must be [..., h, w, c], got shape {list(image.shape)}; give grey images one channel")
    if image.dtype == jnp.uint8:
        image = image.astype(jnp.result_type(float)) / 255
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image must be uint8 in 0..255 or float, got dtype {image.dtype}")
    return image.reshape(*image.shape[:-3], -1)


def vector_to_image(vector: Any, shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """The inverse of `image_to_vector`, on the host.

    Args:
        vector: float [..., h w c].
        shape: (h, w, c).
        dtype: a float type, which keeps the numbers, or uint8, which rounds 0..1 to the nearest of 0..255.

    Returns:
        [..., h, w, c].

    Raises:
        ValueError: for a length that does not fit, or numbers outside 0..1 for uint8.
    """
    vector = np.asarray(vector)
    if len(shape) != 3 or vector.shape[-1:] != (math.prod(shape),):
        raise ValueError(f"vector of shape {list(vector.shape)} cannot be an image of shape (h, w, c)={tuple(shape)}")
    if np.dtype(dtype) == np.uint8:
        between("vector", vector, 0.0, 1.0)
        vector = np.rint(vector.astype(np.float64) * 255)
    return vector.reshape(*vector.shape[:-1], *shape).astype(dtype)


def _integers(name: str, x: Any) -> jax.Array:
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers, got dtype {x.dtype}")
    return x


def detection_vector(label: Any, box: Any, num_classes: int) -> jax.Array:
    """The label of an image with at most one object, `y = (c_0, c_1 ... c_K, b_x, b_y, b_h, b_w)`.

    Args:
        label: int [...], 0 for no object (c_0, the background), else the class, 1..K.
        box: its centre (b_x, b_y) and its height and width, in 0..1, float [..., 4]; ignored where there is no object.
        num_classes: K.

    Returns:
        float32 [..., K + 5]; the box is 0 where there is no object.

    Raises:
        ValueError: for a label that is no class (NaN inside jit), or a box of another shape.
    """
    label, box = _integers("label", label), jnp.asarray(box, jnp.float32)
    if box.shape != (*label.shape, 4):
        raise ValueError(f"box must be {[*label.shape, 4]}, one for each label, got {list(box.shape)}")
    return jnp.concatenate([one_hot(label, num_classes + 1), jnp.where((label == 0)[..., None], 0.0, box)], -1)


def from_detection_vector(vector: Any) -> tuple[jax.Array, jax.Array]:
    """The label int32 [...], 0 for no object, and the box [..., 4] of `detection_vector`; of scores, the largest."""
    vector = floats("vector", vector)
    return vector[..., :-4].argmax(-1).astype(jnp.int32), vector[..., -4:]
