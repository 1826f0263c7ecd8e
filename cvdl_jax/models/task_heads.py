"""Kinds of tasks that share a network: what a head gives, its loss, what is read from it and how that is measured.

A section of `config.tasks` names one of the functions: `{"name": "angle", "entry": "angle", "weight": 1.0, "mask": ""}`
with `entry` and `mask`, names of entries of the data, and the function's own arguments. `mask` is 0 for the examples
whose label is missing, else 1.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Positive, Probability, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import regression as errors
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

Shape = tuple[int, ...]
Pair = tuple[jax.Array, jax.Array]


class Head(NamedTuple):
    """One kind of task for labels of one shape.

    Attributes:
        outputs: numbers that the network gives for an example.
        losses: `(outputs [b, n], truth [b, ...], beside [b, ...] or None, progress) -> [b]`; progress is the share of
            the run that is over.
        read: `outputs [b, n] -> [b, ...]`, the prediction as the labels are: a class, a number in its unit, points.
        measure: the name of what is measured.
        measured: `(prediction, truth, beside) -> (sums [b], weights [b])`.
        gaussian: whether the loss is a squared error, for `ops/losses/multi_task.py:uncertain`; others count there as
            a cross-entropy does.
        moves: whether the label would change if the image were flipped, turned or cut.
        beside: an entry that says more of the truth, such as which points are visible; "" for none.
    """

    outputs: int
    losses: Callable[..., jax.Array]
    read: Callable[[jax.Array], jax.Array]
    measure: str
    measured: Callable[..., Pair]
    gaussian: bool = False
    moves: bool = False
    beside: str = ""


def classification(shape: Shape, classes: Size) -> Head:
    """One of several classes: softmax cross-entropy `-log p_y`, and the share of right answers.

    A label that is no class has the loss NaN, which stops a run; a missing one needs a mask.

    Args:
        shape: of the label, int [].
        classes: how many there are.

    Raises:
        ConfigError: for a label of another shape.
    """
    _refuse("classification", shape, shape == (), "a class, []")

    def losses(scores, truth, beside, progress):
        return softmax_cross_entropy(scores, truth.astype(jnp.int32))

    return Head(classes, losses, lambda scores: scores.argmax(-1), "accuracy", _equal)


def binary(shape: Shape, positive: Counted | None = None) -> Head:
    """Yes or no: `-(1 - y) log(1 - p) - y log p` of `p = sigmoid(score)`, and the share of right answers.

    Args:
        shape: of the label, 0 or 1 [].
        positive: the class that is yes, where the label is one of several classes; None for 0 and 1.

    Raises:
        ConfigError: for a label of another shape.

    Reference: Ranjan et al. 2017, equations of L_D, L_G and L_S.
    """
    _refuse("binary", shape, shape == (), "0 or 1, []")
    yes = (lambda truth: truth == positive) if positive is not None else (lambda truth: truth > 0.5)

    def losses(scores, truth, beside, progress):
        return _logistic(scores[:, 0], yes(truth).astype(scores.dtype))

    measured = lambda said, truth, beside: _equal(said, yes(truth), beside)  # noqa: E731
    return Head(1, losses, lambda scores: scores[:, 0] > 0, "accuracy", measured)


def several(shape: Shape, loss: Literal["cross_entropy", "square"] = "cross_entropy") -> Head:
    """Several labels at once, each 0 or 1: the mean loss over them, and the mean share of right ones.

    Args:
        shape: of the labels, [k].
        loss: "cross_entropy" of `sigmoid(score)`; or "square", `(v' - v)^2` of the score itself, the paper's loss of
            the visibility of landmarks, whose answer is yes above one half.

    Raises:
        ConfigError: for labels of another shape.

    Reference: Ranjan et al. 2017, section III, for the square.
    """
    _refuse("several", shape, len(shape) == 1, "0 or 1 for each label, [k]")
    square, border = loss == "square", 0.5 if loss == "square" else 0.0

    def losses(scores, truth, beside, progress):
        y = truth.astype(scores.dtype)
        return (jnp.square(scores - y) if square else _logistic(scores, y)).mean(-1)

    def measured(said, truth, beside):
        right = (said == (truth > 0.5)).mean(-1)
        return right, jnp.ones_like(right)

    return Head(shape[0], losses, lambda scores: scores > border, "label_accuracy", measured, square)


def regression(
    shape: Shape, loss: Literal["l2", "l1", "smooth_l1"] = "l2", centre: float = 0.0, scale: Positive = 1.0
) -> Head:
    """Numbers, read as `y = centre + scale z`: the mean loss of `(y - t) / scale`, and the mean absolute error of y.

    Args:
        shape: of the label, [] or [k].
        loss: a function of `ops/losses/regression.py`.
        centre: what an output of 0 means, in the label's unit.
        scale: what an output of 1 means beyond it.

    Raises:
        ConfigError: for a label of another shape.
    """
    _refuse("regression", shape, len(shape) < 2, "a number, [], or several, [k]")
    function = getattr(errors, loss)

    def losses(z, truth, beside, progress):
        wanted = (truth.astype(z.dtype).reshape(z.shape) - centre) / scale
        return function(z, wanted).mean(-1)

    read = lambda z: (centre + scale * z).reshape(-1, *shape)  # noqa: E731
    return Head(shape[0] if shape else 1, losses, read, "mae", _absolute, loss == "l2", moves=True)


def age(
    shape: Shape,
    sigma: Positive = 3.0,
    blend: Probability = 1.0,
    ramp: Probability = 0.5,
    centre: float = 0.0,
    scale: Positive = 1.0,
) -> Head:
    """An age: `(1 - l) e^2 / 2 + l (1 - exp(-d^2 / (2 sigma^2)))`, d the error and e = d / scale, and the mean |d|.

    Args:
        shape: of the label, [].
        sigma: of the annotators, in years.
        blend: the last l; it begins with 0, the Euclidean loss, and rises evenly,
        ramp: during this share of the run; 0 for one l from the beginning.
        centre: what an output of 0 means, in years.
        scale: what an output of 1 means beyond it; 1 for the paper's loss, whose first part is of squared years.

    Raises:
        ConfigError: for a label of another shape.

    Reference: Ranjan et al. 2017, section III, L_A.
    """
    _refuse("age", shape, shape == (), "a number, []")

    def losses(z, truth, beside, progress):
        share = blend * jnp.clip(progress / ramp, 0.0, 1.0) if ramp else jnp.asarray(blend)
        share, e = share.astype(z.dtype), z[:, 0] - (truth.astype(z.dtype) - centre) / scale
        euclidean, bounded = (errors.age(e, jnp.zeros_like(e), sigma / scale, whole) for whole in (0.0, 1.0))
        return (1 - share) * euclidean + share * bounded

    return Head(1, losses, lambda z: centre + scale * z[:, 0], "mae", _absolute)


def angle(shape: Shape) -> Head:
    """An angle in degrees, as its cosine and sine, `|z - (cos a, sin a)|^2 / 2`, and the error in degrees.

    It is read as `atan2` of the two outputs, in -180 ... 180, and the error is the shorter way round, 0 ... 180.

    Args:
        shape: of the label, [].

    Raises:
        ConfigError: for a label of another shape.
    """
    _refuse("angle", shape, shape == (), "an angle in degrees, []")

    def losses(z, truth, beside, progress):
        a = jnp.deg2rad(truth.astype(z.dtype))
        return jnp.square(z - jnp.stack([jnp.cos(a), jnp.sin(a)], -1)).mean(-1)

    def measured(said, truth, beside):
        wrong = jnp.abs((said - truth + 180) % 360 - 180)
        return wrong, jnp.ones_like(wrong)

    read = lambda z: jnp.rad2deg(jnp.arctan2(z[:, 1], z[:, 0]))  # noqa: E731
    return Head(2, losses, read, "error_degrees", measured, True, moves=True)


def landmarks(shape: Shape, visible: str = "", size: Positive = 1.0) -> Head:
    """Points (x, y) of an image, read as `size (z + 1/2)`: `sum_k v_k |z_k - t_k|^2 / (2 K)`, and the mean distance.

    Args:
        shape: of the label, [K, 2], or [K, 3] with a depth that is not asked for.
        visible: the entry with v, 0 or 1 for each point [K]; "" for all visible. Others count neither in the loss nor
            in the distance.
        size: side of the image in the unit of the points.

    Raises:
        ConfigError: for a label of another shape.

    Reference: Ranjan et al. 2017, section III, the loss of key points of HyperFace.
    """
    _refuse("landmarks", shape, len(shape) == 2 and shape[1] in (2, 3), "points, [k, 2] or [k, 3]")
    count = shape[0]

    def losses(z, truth, beside, progress):
        wanted = truth[..., :2].astype(z.dtype) / size - 0.5
        square = jnp.square(z.reshape(-1, count, 2) - wanted).sum(-1)  # [b, K]
        return jnp.where(_seen(beside, square) != 0, square, 0.0).sum(-1) / (2 * count)

    def measured(said, truth, beside):
        far = jnp.sqrt(jnp.square(said - truth[..., :2]).sum(-1))  # [b, K]
        seen = _seen(beside, far)
        return jnp.where(seen != 0, far, 0.0).sum(-1), seen.sum(-1)

    read = lambda z: size * (z.reshape(-1, count, 2) + 0.5)  # noqa: E731
    return Head(2 * count, losses, read, "distance", measured, True, True, visible)


def _seen(beside: jax.Array | None, like: jax.Array) -> jax.Array:
    return jnp.ones_like(like) if beside is None else beside.astype(like.dtype)


def _logistic(s: jax.Array, y: jax.Array) -> jax.Array:
    """`log(1 + exp(s)) - y s`."""
    return jnp.logaddexp(s, 0.0) - y * s


def _equal(said: jax.Array, truth: jax.Array, beside: Any) -> Pair:
    right = (said == truth).astype(jnp.float32)
    return right, jnp.ones_like(right)


def _absolute(said: jax.Array, truth: jax.Array, beside: Any) -> Pair:
    wrong = jnp.abs(said - truth).reshape(len(said), -1).mean(-1)
    return wrong, jnp.ones_like(wrong)


def _refuse(kind: str, shape: Shape, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"a task of the kind {kind!r} needs {expected}; its entry is {list(shape)}")
