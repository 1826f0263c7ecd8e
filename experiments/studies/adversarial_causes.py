"""Why adversarial examples exist: what small changes add up to in a linear score, and where a classifier's borders are.

The run takes no steps. First, the response of a score w.x with normal weights to a change of at most eps in every
input: the worst change, eps |w|_1, grows as the dimension n, a change by random signs as its root. Then softmax
regression on images of growing size: eps of FGSM stays the same, and the robust accuracy falls. Then planes through
test images, along the direction in which the margin falls fastest and a random one: the border is near in the first.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import linearity, pgd, threat
from cvdl_jax.analysis.figures import images
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Count, Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError

READS = ("study",)


class Causes(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}
    eps: Positive = 0.1
    dimensions: tuple[Size, ...] = (16, 64, 256, 1024, 4096, 16384)
    sides: tuple[Size, ...] = (8, 16, 32)  # of the images that softmax regression sees
    planes: Count = 6  # test images with a cross-section
    reach: Positive = 2.0  # of a plane, in l2 distance
    points: Count = 61


def softmax_regression(x, y):
    """Logits of a linear model that is fitted to images x [n, h, w, c] and labels, with a small penalty."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=500).fit(x.reshape(len(x), -1), y)
    w, b = jnp.asarray(model.coef_.T, jnp.float32), jnp.asarray(model.intercept_, jnp.float32)
    if w.shape[1] == 1:  # of two classes there is one score, of the second
        w, b = (jnp.concatenate([jnp.zeros_like(a), a], -1) for a in (w, b))
    return lambda x: x.reshape(len(x), -1) @ w + b[None]


def resized(x, side):
    """Bytes [n, h, w, c] as float images [n, side, side, c] in 0..1."""
    return np.asarray(jax.image.resize(jnp.float32(x) / 255, (len(x), side, side, x.shape[3]), "bilinear")).clip(0, 1)


def border(s, line):
    """The distance from the middle of a line of classes to the nearest other class; the end of the line without one."""
    other = np.abs(s)[line != line[len(line) // 2]]
    return other.min() if len(other) else np.abs(s).max()


def measure(study, seed):
    """({metric: number}, (response, accuracies by side, planes))."""
    key, splits = jax.random.key(seed), recipe.whole_splits(study.data, "config.study.data", ("train", "test"))[1]
    response = linearity.response(study.dimensions, study.eps, jax.random.fold_in(key, 0))
    slopes = [np.polyfit(np.log(response.dimensions), np.log(y), 1)[0] for y in (response.worst, response.chance)]
    metrics, by_side = {"worst_exponent": slopes[0], "chance_exponent": slopes[1]}, []
    for side in study.sides:
        x, z = (resized(splits[name]["image"], side) for name in ("train", "test"))
        y = splits["test"]["label"]
        logits_fn = softmax_regression(x, splits["train"]["label"])
        right = [~np.asarray(threat.fooled(logits_fn(jnp.asarray(z)), y))]
        right.append(~np.asarray(threat.fooled(logits_fn(pgd.fgsm(logits_fn, z, y, eps=study.eps)), y)))
        by_side.append((side, right[0].mean(), (right[0] & right[1]).mean()))
        metrics |= {f"side_{side}/accuracy": by_side[-1][1], f"side_{side}/robust_accuracy": by_side[-1][2]}
    planes = []
    for i in np.flatnonzero(right[0])[: study.planes]:
        u = linearity.adversarial_direction(logits_fn, z[i], int(y[i]))
        v = jax.random.normal(jax.random.fold_in(key, i + 1), u.shape)
        planes.append((*linearity.cross_section(logits_fn, z[i], u, v, study.reach, study.points), int(y[i])))
    middle = study.points // 2
    metrics["border_along_gradient"] = np.mean([border(s, plane[middle]) for s, plane, _ in planes])
    metrics["border_along_noise"] = np.mean([border(s, plane[:, middle]) for s, plane, _ in planes])
    return metrics, (response, by_side, planes)


def draw(result):
    """The response by dimension, accuracies by size, and the planes."""
    response, by_side, planes = result
    growth, axes = images.new_figure(1, 2, 4.0, 0.8)
    for axis in axes[0]:
        axis.set_frame_on(True)
    axes[0, 0].loglog(response.dimensions, response.worst, "o-", label="worst change, eps |w|$_1$")
    axes[0, 0].loglog(response.dimensions, response.chance, "s-", label="random signs, eps |w|$_2$")
    axes[0, 0].set(xlabel="dimension", ylabel="change of w.x")
    sides, clean, robust = zip(*by_side, strict=True)
    axes[0, 1].plot(sides, clean, "o-", label="clean")
    axes[0, 1].plot(sides, robust, "s-", label="under FGSM of one eps")
    axes[0, 1].set(xlabel="side of the image", ylabel="accuracy", ylim=(0, 1), xticks=sides, yticks=(0, 0.5, 1))
    for axis in axes[0]:
        axis.legend(fontsize=8)
    cut, axes = images.new_figure(1, len(planes), 2.0)
    for axis, (s, plane, label) in zip(axes[0], planes, strict=True):
        colours = np.array(images.class_colours(10))[plane % 10]
        axis.imshow(colours, origin="lower", extent=(s[0], s[-1], s[0], s[-1]))
        axis.plot(0, 0, "k.")
        axis.set_title(f"class {label}", fontsize=8)
        axis.set_xlabel("along the gradient", fontsize=7)
        axis.set_ylabel("along noise", fontsize=7)
    return {"linear_response": growth, "cross_sections": cut}


def make(config, info) -> Task:
    """The task of a configuration."""
    study = configs.call(Causes, config.study, "config.study")
    if study.points % 2 == 0:
        raise ConfigError(f"config.study.points={study.points} must be odd, so that the image is in the middle")
    return studies.measured(config, lambda: measure(study, config.seed), draw)
