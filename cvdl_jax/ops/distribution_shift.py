"""Training on one distribution for a test on another: importance weights, where they come from, and what they cost.

    E_te[l(f(x), y)] = E_tr[w(x, y) l(f(x), y)],   w = p_te(x, y) / p_tr(x, y)

Under covariate shift p(y | x) stays and w is a function of x; under label shift p(x | y) stays and w is a function of
y; under concept shift p(y | x) changes, and no weight that is known without labels of the test set can help.

Reference: Shimodaira 2000, "Improving predictive inference under covariate shift by weighting the log-likelihood
function"; Moreno-Torres et al. 2012, "A unifying view on dataset shift in classification".
"""

import jax
import jax.numpy as jnp


def weighted_risk(losses: jax.Array, weights: jax.Array) -> jax.Array:
    """`mean(w l)`, an estimate without bias of the mean loss under the test distribution.

    Args:
        losses: of examples of the training distribution, float [n].
        weights: w of each, float [n].

    Returns:
        float [].
    """
    return (losses * weights).mean()


def ratio_of_normals(x: jax.Array, tested: tuple[float, float], trained: tuple[float, float]) -> jax.Array:
    """`p_te(x) / p_tr(x)` of one-dimensional normal distributions. Args: x [n]; (mean, deviation) of each. -> [n]."""

    def log_p(mean: float, deviation: float) -> jax.Array:
        return -jnp.square((x - mean) / deviation) / 2 - jnp.log(deviation)

    return jnp.exp(log_p(*tested) - log_p(*trained))


def ratio_from_logits(logits: jax.Array, trained: int, tested: int) -> jax.Array:
    """`p_te(x) / p_tr(x)` from a classifier that tells examples of the test set (1) from training examples (0).

    Args:
        logits: its log odds, float [n].
        trained: how many training examples it was trained on.
        tested: how many of the test set.

    Returns:
        float [n].

    Reference: Bickel et al. 2009, "Discriminative Learning Under Covariate Shift", equation 5.
    """
    return jnp.exp(logits) * (trained / tested)


def effective_size(weights: jax.Array) -> jax.Array:
    """`(sum w)^2 / sum w^2`: how many equal weights would have so noisy a mean. Args: [n]. Returns: [], at most n.

    Reference: Kish 1965, "Survey Sampling", section 8.2.
    """
    return jnp.square(weights.sum()) / jnp.square(weights).sum()


def label_ratio(confusion: jax.Array, predicted: jax.Array) -> jax.Array:
    """`p_te(y) / p_tr(y)` from the predictions of a classifier on unlabelled examples of the test distribution.

    Solves `C w = m`, and sets what is negative to 0. Under label shift a classifier errs alike on both distributions,
    so that its predictions are a mixture of the columns of C.

    Args:
        confusion: C, joint shares of (predicted, true) in the training distribution, float [c, c]; sums to 1.
        predicted: m, shares of the predictions in the test distribution, float [c].

    Returns:
        w of each class, float [c]; by least squares where C has no inverse.

    Reference: Lipton et al. 2018, "Detecting and Correcting for Label Shift with Black Box Predictors", section 4.
    """
    return jnp.maximum(jnp.linalg.pinv(confusion) @ predicted, 0)


def label_prior(probabilities: jax.Array, prior: jax.Array, steps: int = 100) -> jax.Array:
    """The class shares of unlabelled examples by expectation maximisation.

    Args:
        probabilities: p_tr(y | x) of examples of the test distribution, float [n, c], calibrated.
        prior: p_tr(y), float [c], positive.
        steps: of the algorithm.

    Returns:
        p_te(y), float [c].

    Reference: Saerens et al. 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A Simple
        Procedure", equation 2.9.
    """

    def step(_: int, new: jax.Array) -> jax.Array:
        joint = probabilities * (new / prior)[None]
        return (joint / joint.sum(1, keepdims=True)).mean(0)

    return jax.lax.fori_loop(0, steps, step, prior)


def mean_discrepancy(first: jax.Array, second: jax.Array, scale: float) -> jax.Array:
    """The squared maximum mean discrepancy with the kernel `exp(- |x - y|^2 / (2 s^2))`, without bias.

    Args:
        first: float [n, d].
        second: float [m, d].
        scale: s.

    Returns:
        float []; about 0, also below, for one distribution.

    Reference: Gretton et al. 2012, "A Kernel Two-Sample Test", equation 3.
    """

    def kernel(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.exp(-jnp.square(a[:, None] - b[None]).sum(-1) / (2 * scale**2))

    def inside(x: jax.Array) -> jax.Array:
        n = len(x)
        return (kernel(x, x).sum() - n) / (n * (n - 1))

    return inside(first) + inside(second) - 2 * kernel(first, second).mean()
