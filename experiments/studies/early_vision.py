"""What was found in images before networks learned to: edges, points that match, cuts, and the shape of regions.

Images are drawn, so that the truth is known: Canny's edges are compared with the borders of drawn shapes, matches of
SIFT with the rotation between two images, normalised cuts with the areas of an image, and the orientation and area of
regions with those of ellipses.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.face_scenes import clutter
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import clusters
from cvdl_jax.ops.classical import canny, normalised_cuts, region_shape, sift
from cvdl_jax.ops.classical.smoothing import gaussian
from cvdl_jax.ops.images.watershed import components

READS = ("study",)
SPECK = 12  # pixels; what has fewer is no region
LABELLED = jax.jit(components, static_argnums=(1, 2))


class EarlyVision(NamedTuple):
    """The arguments of `config.study`."""

    part: Literal["edges", "sift", "cuts", "regions"] = "edges"
    images: Size = 10
    noise: NotNegative = 0.05  # standard deviation


def ellipse(rng, size):
    """A mask, and its area, and the angle of its long axis from the rows' axis."""
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    long, short, angle = size * rng.uniform(0.3, 0.42), size * rng.uniform(0.12, 0.24), rng.uniform(0, np.pi)
    u, v = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    return (u / long) ** 2 + (v / short) ** 2 < 1, np.pi * long * short, angle


def edges(noise, rng):
    """Precision and recall of Canny's edges within 1.5 pixels of the true border."""
    mask, _, _ = ellipse(rng, 64)
    image = np.where(mask, 0.75, 0.25) + rng.normal(0, noise, mask.shape)
    seen = canny.canny(image)
    p = np.pad(mask, 1, "edge")
    border = mask & ~(p[2:, 1:-1] & p[:-2, 1:-1] & p[1:-1, 2:] & p[1:-1, :-2])
    away = np.linalg.norm(np.argwhere(seen)[:, None] - np.argwhere(border)[None], axis=2)
    near = away <= 1.5
    values = {"precision": near.any(1).mean() if seen.any() else 0.0, "recall": near.any(0).mean()}
    return values, (image, seen)


def matches(noise, rng):
    """The share of matches that are right within 2 pixels, after a rotation about the middle."""
    from PIL import Image

    size, degrees = 96, float(rng.uniform(10, 80))
    image = gaussian(clutter(rng, size, 16), 0.7)
    picture = Image.fromarray(image.astype(np.float32))
    turned = np.asarray(picture.rotate(degrees, Image.Resampling.BICUBIC), np.float64)
    pair = [sift.detect(x + rng.normal(0, noise, x.shape)) for x in (image, turned)]
    linked = sift.match(pair[0].descriptor, pair[1].descriptor)
    a, b = pair[0].place[linked[:, 0]] - (size - 1) / 2, pair[1].place[linked[:, 1]] - (size - 1) / 2
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    right = np.linalg.norm(np.stack([c * a[:, 0] - s * a[:, 1], s * a[:, 0] + c * a[:, 1]], 1) - b, axis=1) < 2
    values = {"right": right.mean() if len(right) else 0.0, "matches": len(linked), "points": len(pair[0].scale)}
    return values, (
        np.concatenate([image, turned], 1),
        right,
        a + (size - 1) / 2,
        b + [(size - 1) / 2, 1.5 * size - 0.5],
    )


def cuts(noise, rng):
    """The adjusted Rand index of segments and the three areas of an image."""
    size = 20
    truth = np.zeros((size, size), int)
    truth[:, rng.integers(6, 14) :] = 1
    truth[rng.integers(6, 14) :][:, truth[0] == 0] = 2
    image = np.asarray([0.15, 0.85, 0.5])[truth] + rng.normal(0, noise, truth.shape)
    label = normalised_cuts.segment(normalised_cuts.affinity(image[..., None], 0.2)).reshape(size, size)
    values = {"rand": clusters.adjusted_rand(truth.ravel(), label.ravel()), "segments": label.max() + 1}
    return values, (image, label)


def regions(noise, rng):
    """How far the largest region above Otsu's threshold differs from its ellipse, in degrees and in shares of area."""
    mask, area, angle = ellipse(rng, 48)
    image = gaussian(np.where(mask, 0.75, 0.25) + rng.normal(0, noise, mask.shape), 0.7)
    numbers = np.asarray(LABELLED(image > region_shape.otsu(image), image.size // SPECK, SPECK)[0])
    if not numbers.any():
        raise ConfigError(f"config.study.noise={noise} leaves no region of {SPECK} pixels; use less")
    shape = region_shape.describe(numbers == np.bincount(numbers[numbers > 0]).argmax())
    turn = (shape.orientation - angle + np.pi / 2) % np.pi - np.pi / 2
    values = {"degrees": abs(np.degrees(turn)), "area": abs(shape.area / area - 1), "regions": numbers.max()}
    return values, (image, numbers > 0)


PARTS = {"edges": edges, "sift": matches, "cuts": cuts, "regions": regions}


def measure(study, seed):
    """Means over images, and what `draw` shows."""
    rngs = [np.random.default_rng([seed, i]) for i in range(study.images)]
    results = [PARTS[study.part](study.noise, rng) for rng in rngs]
    means = {name: np.mean([values[name] for values, _ in results]) for name in results[0][0]}
    return means, [shown for _, shown in results[:4]]


def draw(part, shown):
    """Some images above what was found in them; matches as lines, right ones in green."""
    from cvdl_jax.analysis.figures import images

    figure, axes = images.new_figure(2, len(shown), 2.6)
    for column, (image, other, *ends) in enumerate(shown):
        axes[0, column].imshow(image, cmap="gray")
        axes[1, column].imshow(image if ends else other, cmap="gray" if part != "cuts" else "viridis")
        for good, (y, x), (v, u) in zip(other, *ends, strict=True) if ends else ():
            axes[1, column].plot([x, u], [y, v], color="lime" if good else "red", linewidth=0.5)
    return {part: figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(EarlyVision, config.study, "config.study")
    return studies.measured(config, partial(measure, study, info.seed), partial(draw, study.part))
