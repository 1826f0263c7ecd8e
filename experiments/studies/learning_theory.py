"""Can a sample say anything of the rest? Finite hypothesis sets, shattering, and the VC inequality on many samples.

The run takes no steps and makes three measurements: half-planes chosen on small samples, with E_in, E_out and
Hoeffding's bound; growth functions and VC dimensions by brute force; the largest |E_out - E_in| of positive rays
against the bound of Vapnik and Chervonenkis.
"""

from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Inside, Probability, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.ops.textbook import bounds, risk, vc

READS = ("study",)


class Theory(NamedTuple):
    """The arguments of `config.study`."""

    sample: Size = 50  # examples from which a hypothesis is chosen
    hypotheses: Size = 100
    population: Size = 20000  # stands for everything
    points: Size = 7  # the growth function is measured up to so many
    resamples: Size = 1000
    examples: Size = 2000  # of each resample for the VC inequality
    noise: Probability = 0.1  # probability of a flipped label there
    delta: Inside = 0.05


def half_plane(w, b):
    """The function sign(w x + b) of x [n, 2], +-1 [n]."""
    return lambda x: np.where(x @ w + b > 0, 1, -1)


def learning_problem(study, rng):
    """Learned on one sample, the worst gap of every resample, and Hoeffding's bound on it."""
    weights = rng.normal(size=(study.hypotheses, 3))
    hypotheses = [half_plane(w[:2], w[2]) for w in weights]
    target, population = half_plane(np.array([1.0, 0.5]), 0.2), rng.normal(size=(study.population, 2))
    wrong = np.stack([h(population) != target(population) for h in hypotheses])  # [k, m]
    e_out = wrong.mean(1)
    draws = rng.integers(study.population, size=(study.resamples, study.sample))
    e_in = np.stack([wrong[:, rows].mean(1) for rows in draws])  # [resamples, k]
    gaps = e_out[e_in.argmin(1)] - e_in.min(1)
    learned = risk.learn(hypotheses, target, population[draws[0]], population)
    return learned, gaps, np.abs(e_in - e_out[None]).max(1)


def ray_deviations(x, wrong_above, wrong_below, e_out):
    """The largest |E_in - E_out| over all rays `sign(x - a)`, exactly: E_in changes at the examples only.

    Args:
        x: sorted, [r, n], of r samples.
        wrong_above: bool [r, n], where the label is -1, so that a ray that holds x is wrong.
        wrong_below: bool [r, n], where it is 1.
        e_out: function of a, [...] -> [...], monotone between kinks at which it is evaluated too.
    """
    r, n = x.shape
    zeros = np.zeros((r, 1))
    below = np.concatenate([zeros, np.cumsum(wrong_below, 1)], 1)  # x_i <= a, labelled 1
    above = wrong_above.sum(1, keepdims=True) - np.concatenate([zeros, np.cumsum(wrong_above, 1)], 1)
    e_in = (below + above) / n  # [r, n + 1], for a between neighbours
    edges = np.concatenate([zeros, x, zeros + 1], 1)  # [r, n + 2]
    ends = np.stack([e_out(edges[:, :-1]), e_out(edges[:, 1:])])
    return np.abs(e_in[None] - ends).max((0, 2))


def vc_inequality(study, rng):
    """Deviations [resamples] of rays on [0, 1], whose target begins at 1/2 and whose labels are flipped at times."""
    deviations = []
    for _ in range(study.resamples):
        x = np.sort(rng.uniform(size=(1, study.examples)), 1)
        label = (x > 0.5) ^ (rng.uniform(size=x.shape) < study.noise)
        e_out = lambda a: study.noise + (1 - 2 * study.noise) * np.abs(a - 0.5)  # noqa: E731
        deviations.append(ray_deviations(x, ~label, label, e_out)[0])
    return np.asarray(deviations)


SETS = {"linear_1d": (1, vc.linear), "linear_2d": (2, vc.linear), "linear_3d": (3, vc.linear), "rays": (1, vc.rays)}
SETS |= {"linear_2d_no_bias": (2, vc.linear_through_origin), "intervals": (1, vc.boxes), "boxes_2d": (2, vc.boxes)}


def measure(study, seed):
    """({metric: number}, what `draw` shows)."""
    rng = np.random.default_rng(seed)
    learned, gaps, worst = learning_problem(study, rng)
    dimensions = {name: vc.vc_dimension(d, realises, most=6, seed=seed) for name, (d, realises) in SETS.items()}
    points = range(1, study.points + 1)
    grown = {"half-planes": [vc.growth(n, 2, vc.linear, tries=2) for n in points]}
    grown["rays"] = [vc.growth(n, 1, vc.rays, tries=1) for n in points]
    deviations = vc_inequality(study, rng)
    growth_2n = bounds.sauer(2 * study.examples, 1)
    allowed = bounds.vc_epsilon(study.examples, study.delta, growth_2n)
    grid = np.linspace(0.005, 0.3, 60)
    share = (deviations[:, None] > grid[None]).mean(0)
    bound = np.asarray([bounds.vc_bound(study.examples, e, growth_2n) for e in grid])
    metrics = {
        "e_in": learned.e_in[learned.final],
        "e_out": learned.e_out[learned.final],
        "mean_gap_of_the_chosen": gaps.mean(),
        "mean_worst_gap": worst.mean(),
        "hoeffding_epsilon": np.sqrt(np.log(2 * study.hypotheses / study.delta) / (2 * study.sample)),
        **{f"vc_dimension_{name}": d for name, d in dimensions.items()},
        "vc_epsilon": allowed,
        "largest_deviation": deviations.max(),
        "share_above_vc_epsilon": (deviations > allowed).mean(),
        "grid_points_above_the_bound": (share > bound).sum(),
        "sample_size_for_0.1_0.1_d3": bounds.sample_size(0.1, 0.1, 3),
    }
    return metrics, (learned, points, grown, grid, share, bound)


def draw(shown):
    """E_in against E_out, growth functions, and the inequality."""
    from cvdl_jax.analysis.figures.curves import panels

    learned, points, grown, grid, share, bound = shown
    figure, axes = panels(
        [
            ("100 half-planes, one sample", "E_in", "E_out"),
            ("growth functions", "points", "dichotomies"),
            ("positive rays, 1,000 samples", "epsilon", "P[sup |E_in - E_out| > epsilon]"),
        ]
    )
    axes[0].plot([0, 1], [0, 1], "k:", linewidth=0.8)
    axes[0].scatter(learned.e_in, learned.e_out, s=8)
    axes[0].scatter(learned.e_in[learned.final], learned.e_out[learned.final], marker="*", s=90, label="chosen")
    axes[1].plot(points, [2**n for n in points], "k:", label="2^n")
    for name, d in (("half-planes", 3), ("rays", 1)):
        (line,) = axes[1].plot(points, grown[name], "o", label=name)
        axes[1].plot(points, [bounds.sauer(n, d) for n in points], color=line.get_color(), label=f"Sauer, d = {d}")
    axes[2].plot(grid, share, label="measured")
    axes[2].plot(grid, np.minimum(bound, 1), label="VC bound")
    for axis in axes:
        axis.legend(fontsize=7)
    return {"learning_theory": figure}


def make(config, info) -> Task:
    """The task of this study."""
    study = configs.call(Theory, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, config.seed), draw)
