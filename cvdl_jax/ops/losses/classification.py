"""Classification losses, one value per example: `loss(logits [b, c], labels, ...) -> float32 [b]`.

`config.loss.name` is the name of one of these functions. The training step takes the mean itself, because it divides by
the weight of the global batch; other code can ask for `loss(..., reduction="mean", weights=w, mask=m)`, see
`reduction.reducible`. A label outside 0..c-1 and soft labels that are no probabilities are a ValueError where their
values are known, and so is NaN among the logits; inside jit such labels give NaN, which stops a run.

The binary losses take the logits [b, 2] of a model of two classes, whose score is `s = s_1 - s_0`, or one logit [b, 1].
"""

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import NotNegative, Positive, Probability, Share
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import binary, divergences, inputs
from cvdl_jax.ops.losses.reduction import reducible


@reducible
def softmax_cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: Share = 0.0) -> jax.Array:
    """Softmax cross-entropy, `L = - sum_j t_j log softmax(s)_j`; log c for equal scores.

    Args:
        logits: s, float [b, c].
        labels: int [b], or soft labels float [b, c] whose rows sum to one.
        label_smoothing: a in [0, 1); the target is `t = (1 - a) y + a / c`.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for shapes or a smoothing that make no sense.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7, for the smoothing.
    """
    logits = inputs.check(logits, labels, "softmax_cross_entropy")
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"config.loss.label_smoothing={label_smoothing} must lie in [0, 1); 0 turns it off")
    # Optax subtracts a score from the log-sum-exp, which loses digits unless the largest score is near 0.
    logits = logits - jax.lax.stop_gradient(logits.max(1, keepdims=True))
    if label_smoothing == 0 and labels.ndim == 1:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    else:
        targets = optax.smooth_labels(inputs.one_hot(labels, logits.shape[1], logits.dtype), label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
    return inputs.reject(losses, labels, logits.shape[1])


@reducible
def multiclass_hinge(logits: jax.Array, labels: jax.Array, margin: Positive = 1.0) -> jax.Array:
    """Multiclass support vector machine, `L = sum_{j != y} max(0, s_j - s_y + m)`; m (c - 1) for equal scores.

    Args:
        logits: scores s, float [b, c].
        labels: y, int [b].
        margin: m > 0, by how much the right score must lead.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for soft labels, or a margin that is not positive.

    Reference: Weston and Watkins 1999, "Support Vector Machines for Multi-Class Pattern Recognition", where the
        margin is 2. (Optax's `multiclass_hinge_loss` is the form of Crammer and Singer, the maximum over j.)
    """
    logits = inputs.check(logits, labels, "multiclass_hinge")
    inputs.refuse_soft(labels, "multiclass_hinge")
    if not 0 < margin < float("inf"):
        raise ConfigError(f"config.loss.margin={margin} must be positive; the usual one is 1.0")
    right = jnp.take_along_axis(logits, labels[:, None], axis=1)  # [b, 1]
    others = 1 - jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)  # [b, c]
    return inputs.reject((jax.nn.relu(logits - right + margin) * others).sum(1), labels, logits.shape[1])


@reducible
def squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Squared error to the one-hot label, summed over classes: `L = sum_j (s_j - y_j)^2`.

    Args:
        logits: s, float [b, c].
        labels: int [b], or soft labels float [b, c].

    Returns:
        float32 [b].

    Raises:
        ConfigError: for shapes that make no sense.
    """
    logits = inputs.check(logits, labels, "squared_error")
    targets = inputs.one_hot(labels, logits.shape[1], logits.dtype)
    return inputs.reject(optax.squared_error(logits, targets).sum(1), labels, logits.shape[1])


@reducible
def focal(
    logits: jax.Array, labels: jax.Array, gamma: NotNegative = 2.0, alpha: tuple[NotNegative, ...] | None = None
) -> jax.Array:
    """Focal loss of softmax, `L = - alpha_y (1 - p_y)^gamma log p_y`: easy examples count less.

    Args:
        logits: s, with p = softmax(s), float [b, c], c at least 2.
        labels: y, int [b].
        gamma: 0 or more; 0 gives cross-entropy.
        alpha: c weights, one per class; None for no weights.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for soft labels, one class, or a gamma or alpha that makes no sense.

    Reference: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 5, for two classes. Errata of the
        course: ER19.
    """
    logits = inputs.check(logits, labels, "focal")
    inputs.refuse_soft(labels, "focal")
    classes = logits.shape[1]
    if classes < 2:
        raise ConfigError("focal needs logits of two classes or more, got one; use 'binary_focal' for one logit")
    if not 0 <= gamma < float("inf"):
        raise ConfigError(f"config.loss.gamma={gamma} must be 0 or more, and finite; the usual one is 2.0")
    if alpha is not None and (len(alpha) != classes or not all(0 <= a < float("inf") for a in alpha)):
        raise ConfigError(f"config.loss.alpha={alpha} must be {classes} numbers, one per class, 0 or more")
    log_p = jax.nn.log_softmax(logits)  # [b, c]
    losses = -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]  # [b]
    if gamma:  # log(1 - p_y) from the other classes: exact, with a finite gradient, where p_y rounds to one
        others = jnp.where(jnp.arange(classes)[None] == labels[:, None], -jnp.inf, log_p)  # [b, c]
        losses = jnp.exp(gamma * jax.nn.logsumexp(others, axis=1)) * losses
    if alpha is not None:
        losses = jnp.asarray(alpha, losses.dtype)[labels] * losses
    return inputs.reject(losses, labels, classes)


@reducible
def cosine(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """One minus the cosine of the angle between scores and target, `L = 1 - s . t / (|s| |t|)`, in [0, 2].

    Args:
        logits: s, float [b, c].
        labels: t, int [b] for one-hot targets, or soft labels float [b, c].

    Returns:
        float32 [b].

    Raises:
        ConfigError: for shapes that make no sense.

    Reference: Barz and Denzler 2020, "Deep Learning on Small Datasets without Pre-Training using Cosine Loss".
    """
    logits = inputs.check(logits, labels, "cosine")
    targets = inputs.one_hot(labels, logits.shape[1], logits.dtype)
    return inputs.reject(1 - divergences.cosine_similarity(logits, targets), labels, logits.shape[1])


@reducible
def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Independent binary cross-entropy per class, `L = sum_j -y_j log p_j - (1 - y_j) log(1 - p_j)`, p = sigmoid(s).

    An image may have several labels, or none. With integer labels it is one class against the rest, for each class.

    Args:
        logits: s, float [b, c].
        labels: y, float [b, c] in [0, 1], one column per label or attribute; or int [b].

    Returns:
        float32 [b].

    Raises:
        ConfigError: for shapes that make no sense.

    Reference: He et al. 2019, "AttGAN: Facial Attribute Editing by Only Changing What You Want", equation 2.
    """
    logits = inputs.check(logits, labels, "sigmoid_cross_entropy")
    targets = inputs.one_hot(labels, logits.shape[1], logits.dtype)
    losses = binary.binary_cross_entropy_with_logits(logits, targets).sum(1)
    return losses if labels.ndim == 2 else inputs.reject(losses, labels, logits.shape[1])


@reducible
def binary_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Logistic loss, `binary.binary_cross_entropy_with_logits`; for two logits, softmax cross-entropy.

    Args:
        logits: float [b, 2] or [b, 1].
        labels: int [b], 0 or 1; or soft labels float of the logits' shape.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for more classes, or shapes that make no sense.
    """
    score, y = inputs.binary(logits, labels, "binary_cross_entropy")
    return binary.binary_cross_entropy_with_logits(score, y)


@reducible
def binary_focal(
    logits: jax.Array, labels: jax.Array, gamma: NotNegative = 2.0, alpha: Probability | None = None
) -> jax.Array:
    """Focal loss of two classes, `binary.binary_focal`, which describes gamma and alpha.

    Args:
        logits: float [b, 2] or [b, 1].
        labels: int [b], 0 or 1; or soft labels float of the logits' shape.
        gamma: 0 or more.
        alpha: in [0, 1], or None.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for more classes, shapes that make no sense, gamma or alpha.
    """
    if not 0 <= gamma < float("inf"):
        raise ConfigError(f"config.loss.gamma={gamma} must be 0 or more, and finite; the usual one is 2.0")
    if alpha is not None and not 0 <= alpha <= 1:
        raise ConfigError(f"config.loss.alpha={alpha} must lie in [0, 1], or be None for no weights")
    score, y = inputs.binary(logits, labels, "binary_focal")
    return binary.binary_focal(score, y, gamma, alpha)


@reducible
def binary_hinge(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Hinge loss of two classes, `binary.binary_hinge`, where class 0 stands for -1.

    Args:
        logits: float [b, 2] or [b, 1].
        labels: int [b], 0 or 1.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for soft labels, more classes, or shapes that make no sense.
    """
    score, y = inputs.binary(logits, labels, "binary_hinge")
    inputs.refuse_soft(labels, "binary_hinge")
    return binary.binary_hinge(score, 2 * y - 1)


@reducible
def perceptron(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Perceptron loss of two classes, `binary.perceptron`, where class 0 stands for -1.

    Args:
        logits: float [b, 2] or [b, 1].
        labels: int [b], 0 or 1.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for soft labels, more classes, or shapes that make no sense.
    """
    score, y = inputs.binary(logits, labels, "perceptron")
    inputs.refuse_soft(labels, "perceptron")
    return binary.perceptron(score, 2 * y - 1)
