"""Losses of embeddings of a batch, in which rows of one class are near and rows of others far: metric learning.

`loss(rows) -> (losses, weights)`, of one shape with an axis of rows first; the loss of a batch is the sum of `losses
weights` over that of the weights. `config.loss.name` chooses one. No row is paired with itself.

The partners of `contrastive` and `weighted_l1`, one of a row's class and one of another, are those with the largest of
the uniform numbers that the caller drew: any partner is as likely as any other.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Positive
from cvdl_jax.ops import distances
from cvdl_jax.ops.losses.binary import binary_cross_entropy_with_logits


class Rows(NamedTuple):
    """The embeddings of some rows of a batch, and of all of its rows.

    Attributes:
        embeddings: float [b, e].
        labels: int [b], the class of each row.
        places: int [b], where the rows stand in the whole batch.
        everyone: float [n, e], the embeddings of the whole batch.
        all_labels: int [n].
        draws: float [b, n], uniform, of which the partners are taken.
        judge: {"weight": float [e], "bias": float []} of the learned distance; {} without one.
    """

    embeddings: jax.Array
    labels: jax.Array
    places: jax.Array
    everyone: jax.Array
    all_labels: jax.Array
    draws: jax.Array
    judge: Mapping[str, jax.Array] = {}


def contrastive(rows: Rows, margin: Positive = 1.0) -> tuple[jax.Array, jax.Array]:
    """Contrastive loss of two pairs for each row, one of its class and one of two classes.

        L = 1/2 d^2  for a pair of one class,    L = 1/2 max(0, margin - d)^2  for others,    d = |f(x_i) - f(x_j)|

    Args:
        rows: of the batch.
        margin: the distance beyond which a pair of two classes costs nothing; at most 2 for embeddings of length one.

    Returns:
        losses float [b, 2], of the pair of one class first; weights [b, 2], 0 where a row has no such partner.

    Reference: Hadsell, Chopra and LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping", equation 4.
    """
    partners, there = _partners(rows)
    far = jnp.take_along_axis(distances.euclidean(rows.embeddings, rows.everyone), partners, 1)  # [b, 2]
    near, apart = far[:, 0], jnp.maximum(margin - far[:, 1], 0)
    return jnp.stack([near**2, apart**2], 1) / 2, there.astype(far.dtype)


def triplet(
    rows: Rows, margin: Positive = 0.2, mining: Literal["hard", "semi_hard", "all"] = "hard"
) -> tuple[jax.Array, jax.Array]:
    """Triplet loss: an anchor is nearer to a positive, of its class, than to a negative, of another, by a margin.

        L = max(0, d(a, p) - d(a, n) + margin),    d(a, p) = |f(a) - f(p)|

    Args:
        rows: of the batch; each row is an anchor.
        margin: in units of the distance.
        mining: which triplets count. hard: the farthest positive and the nearest negative of each anchor; semi_hard:
            for each positive the nearest negative that is farther away than it, or, where none is, the farthest one;
            all: every triplet of the batch.

    Returns:
        losses and weights, float [b, 1] (hard), [b, n] (semi_hard) or [b, n n] (all); weight 0 where there is no such
        triplet.

    Reference: Schroff, Kalenichenko and Philbin 2015, "FaceNet", equation 2 and section 3.2 (semi-hard; its distances
    are squared); Hermans, Beyer and Leibe 2017, "In Defense of the Triplet Loss for Person Re-Identification",
    equations 5 (hard) and 4 (all).
    """
    d, (same, other) = distances.euclidean(rows.embeddings, rows.everyone), _relations(rows)
    if mining == "hard":
        farthest, nearest = jnp.where(same, d, -jnp.inf).max(1), jnp.where(other, d, jnp.inf).min(1)
        there = same.any(1) & other.any(1)
        losses = jnp.where(there, jnp.maximum(jnp.where(there, farthest - nearest, 0) + margin, 0), 0)
        return losses[:, None], there[:, None].astype(d.dtype)
    if mining == "semi_hard":
        beyond = other[:, None] & (d[:, None] > d[:, :, None])  # [b, p, n]: negative n is farther than positive p
        nearest = jnp.where(beyond, d[:, None], jnp.inf).min(2)
        farthest = jnp.where(other, d, -jnp.inf).max(1, keepdims=True)
        there = same & other.any(1, keepdims=True)
        negative = jnp.where(there, jnp.where(beyond.any(2), nearest, farthest), 0)
        return jnp.where(there, jnp.maximum(d - negative + margin, 0), 0), there.astype(d.dtype)
    there = same[:, :, None] & other[:, None]  # [b, p, n]
    losses = jnp.where(there, jnp.maximum(d[:, :, None] - d[:, None] + margin, 0), 0)
    return losses.reshape(len(d), -1), there.reshape(len(d), -1).astype(d.dtype)


def weighted_l1(rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Verification as classification: the binary cross-entropy of `p = sigmoid(s)` that two rows are of one class.

        s = sum_k w_k |f(x_i)_k - f(x_j)_k| + b

    Args:
        rows: of the batch, with the judge's w and b.

    Returns:
        losses float [b, 2], of the pair of one class first; weights [b, 2], 0 where a row has no such partner.

    Reference: Koch, Zemel and Salakhutdinov 2015, "Siamese Neural Networks for One-shot Image Recognition", section
    3.1. Errata of the course: ER75.
    """
    partners, there = _partners(rows)
    difference = jnp.abs(rows.embeddings[:, None] - rows.everyone[partners])  # [b, 2, e]
    scores = (difference * rows.judge["weight"][None, None]).sum(-1) + rows.judge["bias"]
    is_same = jnp.broadcast_to(jnp.asarray([[1.0, 0.0]], scores.dtype), scores.shape)
    return binary_cross_entropy_with_logits(scores, is_same), there.astype(scores.dtype)


def _relations(rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Which rows of the batch are others of a row's class, and which are of another class: bool [b, n] each."""
    same = rows.labels[:, None] == rows.all_labels[None]
    itself = rows.places[:, None] == jnp.arange(len(rows.all_labels))[None]
    return same & ~itself, ~same


def _partners(rows: Rows) -> tuple[jax.Array, jax.Array]:
    """A partner of a row's class and one of another: places int [b, 2], and whether there is one, bool [b, 2]."""
    able = jnp.stack(_relations(rows), 1)  # [b, 2, n]
    return jnp.where(able, rows.draws[:, None], -1).argmax(2), able.any(2)
