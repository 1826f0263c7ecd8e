"""One pixel, chosen and coloured by differential evolution."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import BlackBox, asked_for, needs
from cvdl_jax.config.binding import Count, Range
from cvdl_jax.errors import DataError

Population = Annotated[int, Range("5 or more", lambda x: x >= 5)]  # SciPy's least


@needs("scores")
def one_pixel(
    model: Any,
    x: Any,
    label: Any,
    key: jax.Array | None = None,
    *,
    population: Population = 100,
    generations: Count = 30,
) -> jax.Array:
    """Changes one pixel of each image, `|x - z|_0 <= 1`: its place and its colour minimise the margin of the label.

    Differential evolution without crossover: `v = p_1 + 0.5 (p_2 - p_3)` of random members, kept where it is better.

    Args:
        model: a BlackBox of scores, which counts; or `logits_fn(x)`.
        x: float [b, h, w, c] in 0..1.
        label: int [b].
        key: None for one of seed 0.
        population: candidates of an image, 5 or more.
        generations: at most; an image that is misclassified is asked no more.

    Returns:
        Changed images [b, h, w, c] in 0..1, one pixel each.

    Raises:
        DataError: for images outside 0..1, what is no image, or labels that do not exist.
        ConfigError: for a model that gives labels only.

    Reference: Su et al. 2019, "One Pixel Attack for Fooling Deep Neural Networks", section III (untargeted).
    """
    oracle, x = asked_for(model, "scores", "one_pixel"), np.asarray(threat.check_images(x))
    if x.ndim != 4:
        raise DataError(f"one_pixel needs images [b, h, w, c], got the shape {list(x.shape)}; use another attack")
    label = np.asarray(oracle.checked_labels(x, label))
    key = jax.random.key(0) if key is None else key
    results = []
    for i, (image, y) in enumerate(zip(x, label, strict=True)):
        seed = int(jax.random.randint(jax.random.fold_in(key, i), (), 0, 2**31 - 1))
        results.append(_evolved(oracle, image, int(y), seed, population, generations))
    return jnp.asarray(np.stack(results))


def painted(image: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Copies of an image with one pixel changed.

    Args:
        image: [h, w, c].
        members: [n, 2 + c]: row, column, colour, each in 0..1.

    Returns:
        [n, h, w, c].
    """
    h, w, _ = image.shape
    copies, n = np.repeat(image[None], len(members), 0), np.arange(len(members))
    rows, columns = (np.minimum((members[:, k] * size).astype(int), size - 1) for k, size in ((0, h), (1, w)))
    copies[n, rows, columns] = members[:, 2:]
    return copies


def _evolved(oracle: BlackBox, image: np.ndarray, label: int, seed: int, population: int, generations: int):
    from scipy.optimize import differential_evolution

    size = 2 + image.shape[2]
    start = np.random.default_rng(seed).uniform(size=(population, size))

    def margins(members: np.ndarray) -> np.ndarray:
        """Of SciPy's columns [2 + c, n]; padded to the population, so that one shape is compiled."""
        n = members.shape[1]
        padded = np.resize(members.T, (population, size)) if n < population else members.T
        scores = jnp.asarray(oracle.scores(painted(image, padded), np.arange(len(padded)) < n))
        return np.asarray(threat.margin(scores, jnp.full(len(padded), label)))[:n]

    best = differential_evolution(
        margins, [(0.0, 1.0)] * size, strategy="rand1bin", mutation=0.5, recombination=1.0, maxiter=generations,
        init=start, rng=seed, polish=False, vectorized=True, updating="deferred", tol=0,
        callback=lambda intermediate_result: intermediate_result.fun < 0,
    )  # fmt: skip
    return painted(image, best.x[None])[0]
