"""Depth without a network, over `seeds` scenes or draws: two eyes, two places of one camera, light that is sent out.

"stereo/METHOD": the share of pixels that block matching in a drawn pair (`builders/depth_scenes.py`) finds to a pixel,
    of those that the right camera sees too; "stereo/METHOD_dark" where the right camera's contrast is 60 %;
    "stereo/agree_..." the share that the left-right check keeps, and how many of the kept ones are right;
"views/NOISE": degrees between the true direction of t and that of the eight-point algorithm, and "views/wrong_..." with
    30 % of wrong pairs, with and without RANSAC;
"flight/MHZ", "laser/METRES": the deviation of depths in millimetres; "flight/ambiguous": what 1.5 times the range of
    ambiguity is measured as, over the range; "gray/columns": the share of columns that the Gray code finds.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core.studies import measured
from cvdl_jax.core.task import Task
from cvdl_jax.data.builders import depth_scenes
from cvdl_jax.data.scenes import Words
from cvdl_jax.ops import active_depth, stereo, two_views

READS = ("study",)
METHODS = ("ssd", "sad", "census")
NOISES = (0.0, 0.25, 0.5, 1.0)  # pixels
STREAM = 143  # of the scenes


class Cues(NamedTuple):
    """The arguments of `config.study`."""

    seeds: Size = 10
    size: Size = 96  # of a view in pixels
    baseline: Positive = 0.25  # metres
    window: Size = 7
    disparities: Size = 16
    points: Size = 60  # that both cameras see
    samples: Size = 200  # of RANSAC


@partial(jax.jit, static_argnames=("study", "method"))
def matched(study, method, left, right):
    """(disparities of the left view, where both views agree): [h, w] each."""
    costs = stereo.matching_costs(left, right, study.disparities, study.window, method)
    disparity = stereo.disparities_of(costs)
    return disparity, stereo.consistent(disparity, stereo.disparities_of(stereo.right_costs(costs)))


def pair(study, index):
    """A drawn pair in 0..1 and the true disparities, 0 for the sky, with where the right camera sees the pixel too."""
    scene = depth_scenes.imagine(Words(STREAM, index))
    (left, depth), (right, other) = (depth_scenes.render(scene, study.size, x) for x in (0.0, study.baseline))
    scale = depth_scenes.FOCAL * study.size * study.baseline
    truth = np.where(depth <= depth_scenes.FARTHEST, scale / depth, 0)
    there = np.round(np.arange(study.size)[None] - truth).astype(int)
    back = np.take_along_axis(scale / other, np.clip(there, 0, None), 1)
    seen = (there >= 0) & (truth > 0) & (truth < study.disparities - 1) & (abs(back - truth) < 1)
    return (left / 255).astype(np.float32), (right / 255).astype(np.float32), truth, seen


def of_stereo(study):
    """The shares of right pixels, and the pictures of the first pair."""
    shares, shown = {}, {}
    for i in range(study.seeds):
        left, right, truth, seen = pair(study, i)
        for name, view in (("", right), ("_dark", 0.6 * right)):
            for method in METHODS:
                got, agree = (np.asarray(x) for x in matched(study, method, left, view))
                good = abs(got - truth) <= 1
                shares.setdefault(f"stereo/{method}{name}", []).append(good[seen].mean())
                if (name, method) == ("", "census"):
                    shares.setdefault("stereo/agree_kept", []).append(agree[truth > 0].mean())
                    shares.setdefault("stereo/agree_right", []).append(good[agree & (truth > 0)].mean())
                if i == 0 and not name:
                    shown[method] = np.where(agree, got, np.nan)
        shown = shown if i else {"left view": left, "disparity": np.where(truth > 0, truth, np.nan), **shown}
    return {name: float(np.mean(values)) for name, values in shares.items()}, shown


@partial(jax.jit, static_argnames="study")
def direction_errors(study, key):
    """Degrees between true and estimated direction of t: of NOISES, and of wrong pairs without and with RANSAC."""
    keys = jax.random.split(key, 5)
    k = jnp.asarray([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    points = jax.random.uniform(keys[0], (study.points, 3), minval=jnp.asarray([-2.0, -2, 4])[None],
                                maxval=jnp.asarray([2.0, 2, 8])[None])  # fmt: skip
    c, s = jnp.cos(0.15), jnp.sin(0.15)
    r = jnp.asarray([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    t = jnp.asarray([-0.9, 0.1, 0.4]) / jnp.linalg.norm(jnp.asarray([-0.9, 0.1, 0.4]))
    x1 = two_views.project(k @ jnp.eye(3, 4), points)
    x2 = two_views.project(k @ jnp.concatenate([r, t[:, None]], 1), points)
    noise = jax.random.normal(keys[1], (2, *x1.shape))

    def degrees(f, a, b, weights=None):
        y1, y2 = (two_views.homogeneous(x) @ jnp.linalg.inv(k).T for x in (a, b))
        got = two_views.relative_pose(two_views.essential(f, k, k), y1[:, :2], y2[:, :2], weights)[1]
        return jnp.degrees(jnp.arctan2(jnp.linalg.norm(jnp.cross(got, t)), got @ t))

    errors = [degrees(two_views.fundamental(a := x1 + n * noise[0], b := x2 + n * noise[1]), a, b) for n in NOISES]
    wrong, a = jnp.arange(study.points) < 3 * study.points // 10, x1 + 0.25 * noise[0]
    b = jnp.where(wrong[:, None], jax.random.uniform(keys[2], a.shape, maxval=480.0), x2 + 0.25 * noise[1])
    f, agree = two_views.ransac(keys[3], a, b, threshold=1.5, samples=study.samples)
    return jnp.stack([*errors, degrees(two_views.fundamental(a, b), a, b), degrees(f, a, b, agree * 1.0)])


def of_light(key, n=2000):
    """What active cameras measure at 3 m, or as their names say, with 1 % of noise or half a pixel of it."""
    keys, metrics = jax.random.split(key, 4), {}
    depth = jnp.full(n, 3.0)
    for i, mhz in enumerate((10, 40)):
        samples = active_depth.phase_samples(depth, mhz * 1e6) + 0.01 * jax.random.normal(keys[i], (n, 4))
        metrics[f"flight/{mhz}"] = 1000 * float(active_depth.depth_of_samples(samples, mhz * 1e6)[0].std())
    span = active_depth.ambiguity_range(40e6)
    far = active_depth.phase_samples(jnp.asarray(1.5 * span), 40e6)
    metrics["flight/ambiguous"] = float(active_depth.depth_of_samples(far, 40e6)[0]) / span
    for metres in (1, 2, 4):
        column = active_depth.laser_column(jnp.full(n, float(metres)), 1000.0, 0.1, 0.02)
        seen = column + 0.5 * jax.random.normal(keys[2], (n,))
        metrics[f"laser/{metres}"] = 1000 * float(active_depth.depth_of_laser(seen, 1000.0, 0.1, 0.02).std())
    lit, (one, other) = active_depth.gray_patterns(512, 9), 0.2 * jax.random.normal(keys[3], (2, 9, 512))
    right = active_depth.column_of_gray(lit + one, 1 - lit + other) == jnp.arange(512)
    return metrics | {"gray/columns": float(right.mean())}


def draw(shown):
    """The figure of the first pair: left view, true disparities, and what each method finds where both views agree."""
    from cvdl_jax.analysis.figures.images import new_figure

    figure, axes = new_figure(1, len(shown), inches=1.8)
    for axis, (name, picture) in zip(axes[0], shown.items(), strict=True):
        axis.set_title(name, fontsize=8)
        axis.imshow(picture, **({} if picture.ndim == 3 else {"vmin": 0, "vmax": np.nanmax(shown["disparity"])}))
    return {"stereo": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Cues, config.study, "config.study")

    def measure():
        (metrics, shown), keys = of_stereo(study), jax.random.split(jax.random.key(config.seed), study.seeds + 1)
        errors = np.stack([direction_errors(study, key) for key in keys[1:]]).mean(0)
        names = [*(f"views/{noise:g}" for noise in NOISES), "views/wrong_all", "views/wrong_ransac"]
        return {**metrics, **dict(zip(names, errors, strict=True)), **of_light(keys[0])}, shown

    return measured(config, measure, draw)
