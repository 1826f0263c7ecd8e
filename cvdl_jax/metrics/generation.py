"""Measures of generated images, and the evaluations that take them: against the images of a split, and by a classifier.

A sampler is a function `sample(state, key, n) -> images [n, h, w, c] in 0..1`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.parallel import row_places, row_random
from cvdl_jax.core.task import Eval
from cvdl_jax.errors import DataError
from cvdl_jax.metrics import feature_distances
from cvdl_jax.ops import latent_walks

DIRECTIONS = 128  # of the sliced distance; fixed, so that runs of different seeds compare
Sampler = Callable[..., jax.Array]


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray) -> float:
    """The mean over directions of the one-dimensional Wasserstein-1 distance, in the units of the projections.

    In one dimension the best plan moves sorted values onto sorted values: `W1 = mean |sort(x) - sort(y)|`.

    Args:
        real: [n, k], n examples projected onto k directions.
        fake: [n, k], as many samples on the same directions.

    Raises:
        DataError: for two sets of different shape, or empty ones.

    Reference: Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures", section 3.
    """
    if real.shape != fake.shape or not real.size:
        raise DataError(f"the sliced distance compares as many samples as examples, got {real.shape} and {fake.shape}")
    return float(np.abs(np.sort(real.astype(np.float64), 0) - np.sort(fake.astype(np.float64), 0)).mean())


def spread(real: np.ndarray, fake: np.ndarray) -> float:
    """`sqrt(sum var(fake) / sum var(real))` over directions: 1 where samples vary as the data do, 0 if all are equal.

    Args:
        real: [n, k] projections of examples.
        fake: [m, k] projections of samples.
    """
    return float(np.sqrt(fake.astype(np.float64).var(0).sum() / real.astype(np.float64).var(0).sum()))


def judgement(probabilities: np.ndarray) -> dict[str, float]:
    """What a classifier says of samples.

    Args:
        probabilities: [n, classes], p(y | x) of each sample; rows sum to 1.

    Returns:
        `classes`: number of classes that at least a tenth of a fair share of the samples, n / (10 classes), are
        assigned to, so that a stray sample covers nothing; `confidence`: mean largest probability; `inception_score`:
        `exp(mean KL(p(y | x) || p(y)))`, between 1 and the number of classes.

    Raises:
        DataError: without samples.

    Reference: Salimans et al. 2016, "Improved Techniques for Training GANs", section 4.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not p.size:
        raise DataError(f"expected the probabilities [n, classes] of at least one sample, got shape {p.shape}")
    n, classes = p.shape
    counts = np.bincount(p[~np.isnan(p).any(-1)].argmax(-1), minlength=classes)  # what is no number is of no class
    marginal = p.mean(0)
    logs = np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(marginal, 1e-300))[None]
    return {
        "classes": float((counts >= max(1, n / (10 * classes))).sum()),
        "confidence": float(p.max(-1).mean()),
        "inception_score": float(np.exp((p * logs).sum(-1).mean())),
        "samples": float(n),
    }


def directions(size: int, dtype: jnp.dtype) -> jax.Array:
    """Unit vectors [size, DIRECTIONS], uniform on the sphere, always the same."""
    axes = jax.random.normal(jax.random.key(0), (size, DIRECTIONS), dtype)
    return axes / jnp.linalg.norm(axes, axis=0, keepdims=True)


def compared(sample: Sampler, split: str) -> Eval:
    """As many samples as a split has images: `sliced_wasserstein`, in pixels along a direction, and `spread`.

    Args:
        sample: the sampler.
        split: of the data section; "test" is evaluated once, at the end.
    """

    def step(state, batch, key):
        real = batch["image"]
        fake = sample(state, key, real.shape[0])
        axes = directions(real[0].size, real.dtype)
        return {name: x.reshape(x.shape[0], -1) @ axes for name, x in (("real", real), ("fake", fake))}  # [b, k]

    def finalise(means, rows):
        pair = rows["real"], rows["fake"]
        return {"sliced_wasserstein": sliced_wasserstein(*pair), "spread": spread(*pair)}

    return Eval(step, finalise, split, final=split == "test")


class Judge(NamedTuple):
    """A frozen classifier.

    Attributes:
        probabilities: `images [b, h, w, c] in 0..1 -> [b, classes]`; images of another size are resized first.
        samples: how many samples it is shown.
        features: `images -> [b, d]`, a layer of it; None where none was asked for.
        name: of the layer and the weights, part of the names of distances between features.
    """

    probabilities: Callable[[jax.Array], jax.Array]
    samples: int
    features: Callable[[jax.Array], jax.Array] | None = None
    name: str = ""


def agreement(probabilities: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """How often a classifier sees in a sample the class that its generator was told.

    Args:
        probabilities: [n, classes].
        label: int [n], what was told.

    Returns:
        `agreement`: the share of all samples; `agreement_c` for each class c that was told.

    Raises:
        DataError: for classes that the classifier does not know.
    """
    if label.max() >= probabilities.shape[1]:
        raise DataError(f"the judge knows {probabilities.shape[1]} classes, and a generator was told {label.max()}")
    hits = (probabilities.argmax(-1) == label) & ~np.isnan(probabilities).any(-1)
    return {"agreement": float(hits.mean())} | {f"agreement_{c}": float(hits[label == c].mean()) for c in set(label)}


def judged(sample: Sampler, judge: Judge, batch_size: int, labels: int = 0) -> Eval:
    """What a classifier says of `judge.samples` samples: classes covered, mean confidence, inception score.

    Args:
        sample: the sampler, of a conditional generator with the label as fourth argument.
        judge: from `engine/from_run.py`.
        batch_size: of an evaluation; the samples of the last batch that are too many are left out.
        labels: classes that the generator is told, in turn, for `agreement`; 0 for none.
    """

    def step(state, batch, key):
        if not labels:
            return {"probabilities": judge.probabilities(sample(state, key, batch_size))}
        label = row_places(batch_size) % labels
        return {"probabilities": judge.probabilities(sample(state, key, batch_size, label)), "label": label}

    def finalise(means, rows):
        rows = {name: x[: judge.samples] for name, x in rows.items()}
        return judgement(rows["probabilities"]) | (agreement(**rows) if labels else {})

    return Eval(step, finalise, -(-judge.samples // batch_size))


def judged_images(judge: Judge, split: str) -> Eval:
    """The control row of `agreement`: of the images of a split with their own labels, once at the end."""

    def step(state, batch, key):
        return {"probabilities": judge.probabilities(batch["image"]), "label": batch["label"]}

    return Eval(step, lambda means, rows: agreement(**rows), split, final=True)


def distances(real: np.ndarray, fake: np.ndarray, judge: str) -> dict[str, float]:
    """How far samples are from images, as features of a judge. How many, and whose features, is part of the names.

    Args:
        real: features of images [n, d].
        fake: of as many samples [n, d].
        judge: its name.

    Returns:
        {"frechet_N_JUDGE", "kernel_N_JUDGE", "precision_N_JUDGE", "recall_N_JUDGE", "density_N_JUDGE",
        "coverage_N_JUDGE": ..., "frechet_halves_N_JUDGE": of one half of the images from the other, the least that can
        be hoped for of half as many samples}.

    Raises:
        DataError: for fewer than two samples more than the judge has features, of each half.
    """
    tag = f"{len(real)}_{judge}"
    of_real, of_fake, *halves = (feature_distances.moments(x) for x in (real, fake, real[::2], real[1::2]))
    values = {
        "frechet": feature_distances.frechet_distance(of_real, of_fake),
        "kernel": feature_distances.kernel_distance(real, fake),
        **feature_distances.neighbourhoods(real, fake),
        "frechet_halves": feature_distances.frechet_distance(*halves),
    }
    return {f"{name}_{tag}": value for name, value in values.items()}


def walked(noise: Callable[..., Any], generate: Callable[..., Any], judge: Judge, batch_size: int) -> Eval:
    """The perceptual path length of `judge.samples` pairs of latent vectors, once at the end: `path_length_N_JUDGE`.

    Distances are squared ones of the judge's features, so that lengths by two judges do not compare.

    Args:
        noise: `(key, n) -> latent vectors [n, d]` of a normal prior.
        generate: `(state, key, latent vectors) -> images`, of the same key with the same other noise.
        judge: with features.
        batch_size: pairs at a time.

    Reference: Karras et al. 2019, "A Style-Based Generator Architecture", section 4.1.
    """

    def step(state, batch, key):
        ends = [noise(jax.random.fold_in(key, i), batch_size) for i in (0, 1)]
        t = row_random(jax.random.uniform, jax.random.fold_in(key, 2), (batch_size,))
        squares = lambda a, b: jnp.square(judge.features(a) - judge.features(b)).sum(-1)  # noqa: E731
        made = partial(generate, state, jax.random.fold_in(key, 3))
        return {"length": latent_walks.path_length(made, squares, *ends, t)}

    def finalise(means, rows):
        lengths = rows["length"][: judge.samples]
        return {f"path_length_{len(lengths)}_{judge.name}": float(lengths.mean())}

    return Eval(step, finalise, -(-judge.samples // batch_size), final=True)


def featured(sample: Sampler, judge: Judge, split: str) -> Eval:
    """`distances` of as many samples as a split has images, once at the end.

    Args:
        sample: the sampler.
        judge: with features.
        split: of the data section.
    """

    def step(state, batch, key):
        real = batch["image"]
        return {"real": judge.features(real), "fake": judge.features(sample(state, key, len(real)))}

    return Eval(step, lambda means, rows: distances(rows["real"], rows["fake"], judge.name), split, final=True)
