"""Losses of representations that need no labels: views of an image belong together, other images do not.

All take unit vectors, or scores, of the rows that this device has, and return a loss for each of them. What they are
compared with, all rows of the global batch, a queue, a memory, is given.
"""

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Positive


def nt_xent(
    anchors: jax.Array,
    candidates: jax.Array,
    own: jax.Array,
    positive: jax.Array,
    temperature: Positive = 0.5,
    twins: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The normalised temperature-scaled cross-entropy: an anchor is to be found by its positive among all but itself.

        l_i = -log exp(z_i . z_j / t) / sum_(k != i) exp(z_i . z_k / t),   j the positive of i

    Args:
        anchors: z_i, unit vectors [m, e].
        candidates: z_k, unit vectors [k, e], the anchors themselves among them.
        own: int [m], the place of each anchor among the candidates.
        positive: int [m], the place of its positive.
        temperature: t.
        twins: bool [m, k], candidates that show the anchor's image: those that are not its positive are left out, since
            they are no negatives; None where no image comes twice.

    Returns:
        losses [m]; whether the positive is the nearest of the others, float [m].

    Reference: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", equation 1.
    """
    logits = _wide(anchors) @ _wide(candidates).T / temperature  # [m, k]
    out = jax.nn.one_hot(own, len(candidates), dtype=bool)
    if twins is not None:
        out = out | (twins & ~jax.nn.one_hot(positive, len(candidates), dtype=bool))
    logits = jnp.where(out, -jnp.inf, logits)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), positive[:, None], 1)[:, 0]
    return losses, (logits.argmax(1) == positive).astype(losses.dtype)


def with_queue(
    queries: jax.Array, keys: jax.Array, queue: jax.Array, temperature: Positive = 0.2
) -> tuple[jax.Array, jax.Array]:
    """InfoNCE with a queue of negatives.

        l = -log exp(q . k / t) / (exp(q . k / t) + sum_j exp(q . n_j / t))

    Args:
        queries: q, unit vectors [b, e].
        keys: k of the same images, [b, e]; no gradient reaches them.
        queue: n, keys of earlier batches, [n, e].
        temperature: t.

    Returns:
        losses [b]; whether its own key is the nearest, float [b].

    Reference: He et al. 2020, "Momentum Contrast for Unsupervised Visual Representation Learning", equation 1.
    """
    q, k, n = _wide(queries), lax.stop_gradient(_wide(keys)), lax.stop_gradient(_wide(queue))
    logits = jnp.concatenate([(q * k).sum(1, keepdims=True), q @ n.T], 1) / temperature  # [b, 1 + n]
    losses = -jax.nn.log_softmax(logits)[:, 0]
    return losses, (logits.argmax(1) == 0).astype(losses.dtype)


def instances(
    vectors: jax.Array, memory: jax.Array, index: jax.Array, temperature: Positive = 0.07
) -> tuple[jax.Array, jax.Array]:
    """The non-parametric softmax, in which every image is a class and its vector in the memory is the class's weight.

        l_i = -log exp(v_i . f / t) / sum_j exp(v_j . f / t)

    Args:
        vectors: f, unit vectors [b, e].
        memory: v, unit vectors [n, e] of all n images; no gradient reaches them.
        index: i, int [b].
        temperature: t.

    Returns:
        losses [b]; whether its own vector is the nearest, float [b].

    Reference: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", equation 2,
        computed over all images and not estimated by samples of them (section 3.2).
    """
    logits = _wide(vectors) @ lax.stop_gradient(_wide(memory)).T / temperature  # [b, n]
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), index[:, None], 1)[:, 0]
    return losses, (logits.argmax(1) == index).astype(losses.dtype)


def bootstrap(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """The squared distance of unit vectors, `|p / |p| - z / |z||^2 = 2 - 2 cos(p, z)`: [b, e], [b, e] -> [b].

    No gradient reaches the targets.

    Reference: Grill et al. 2020, "Bootstrap Your Own Latent", equation 2.
    """
    return 2 - 2 * (_wide(predictions) * lax.stop_gradient(_wide(targets))).sum(1)


def distilled(
    student: jax.Array,
    teacher: jax.Array,
    centre: jax.Array,
    student_temperature: Positive = 0.1,
    teacher_temperature: Positive = 0.04,
) -> jax.Array:
    """Cross-entropy to the teacher's distribution, which is centred and sharpened.

        l = -sum_j softmax((t - c) / t_t)_j log softmax(s / t_s)_j

    Args:
        student: s, scores [b, p].
        teacher: t, scores [b, p] of another view; no gradient reaches them.
        centre: c, [p].
        student_temperature: t_s.
        teacher_temperature: t_t, below t_s: the teacher's distribution is sharper.

    Returns:
        [b].

    Reference: Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", equation 2, algorithm 1.
    """
    right = jax.nn.softmax((lax.stop_gradient(_wide(teacher)) - centre[None]) / teacher_temperature)
    return -(right * jax.nn.log_softmax(_wide(student) / student_temperature)).sum(1)


def masked_error(
    predicted: jax.Array, patches: jax.Array, masked: jax.Array, normalised: bool = True, epsilon: Positive = 1e-6
) -> jax.Array:
    """The mean squared error of the masked patches of each image.

        l = sum_p m_p mean_j (y_pj - x_pj)^2 / sum_p m_p

    Args:
        predicted: y, float [b, p, d].
        patches: x, float [b, p, d].
        masked: m, [b, p], 1 for patches that the encoder has not seen; one or more in every row.
        normalised: each patch is compared after subtracting its mean and dividing by its standard deviation (the root
            of the unbiased variance plus `epsilon`).
        epsilon: see `normalised`.

    Returns:
        [b].

    Reference: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3, "Reconstruction target".
    """
    x, y, m = _wide(patches), _wide(predicted), _wide(masked)
    if normalised:
        x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True, ddof=1) + epsilon)
    return (((y - x) ** 2).mean(-1) * m).sum(1) / m.sum(1)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
