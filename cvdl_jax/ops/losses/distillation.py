"""Losses of a student that is to answer as its teacher does: soft targets, and the teacher's decision as a label."""

from typing import Any

import jax

from cvdl_jax.config.binding import Positive
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.losses.divergences import kl_divergence_of_logits
from cvdl_jax.ops.losses.reduction import reducible
from cvdl_jax.ops.value_checks import floats


@reducible
def soft_targets(logits: Any, teacher_logits: Any, temperature: Positive = 1.0) -> jax.Array:
    """`T^2 KL(softmax(v / T), softmax(z / T))` of a student's logits z from those of its teacher, v; 0 where z is v.

    The gradient `T (softmax(z / T) - softmax(v / T))` of z keeps its size while T grows, because of the factor T^2: for
    c classes and logits of mean 0 it becomes `(z - v) / c`. The divergence is the cross-entropy with soft targets less
    the entropy of these, in which there is nothing to learn.

    Args:
        logits: z, float [..., c].
        teacher_logits: v, [..., c]; no gradient goes there.
        temperature: T, positive; larger ones show more of how the teacher ranks the wrong classes.

    Returns:
        float32 [...].

    Raises:
        ValueError: for shapes that differ, or NaN.

    Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2 and equations 2 to 4.
    """
    z, v = floats("logits", logits), jax.lax.stop_gradient(floats("teacher_logits", teacher_logits))
    return temperature**2 * kl_divergence_of_logits(v / temperature, z / temperature)


@reducible
def hard_targets(logits: Any, teacher_logits: Any) -> jax.Array:
    """The cross-entropy of a student with the class that its teacher names, `-log softmax(z)_argmax(v)`.

    Args:
        logits: z, float [b, c].
        teacher_logits: v, [b, c]; of equal largest ones the first counts.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for shapes that make no sense.

    Reference: Touvron et al. 2021, "Training Data-Efficient Image Transformers & Distillation through Attention",
    equation 3, without its distillation token.
    """
    return softmax_cross_entropy(logits, teacher_logits.argmax(-1))
