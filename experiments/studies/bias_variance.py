"""Bias and variance of polynomials fitted to a noisy sine, by training again on many samples.

The run takes no steps. Low degrees are far from the sine on average (bias), high ones follow each sample's noise
(variance).
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, NotNegative, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.ops.textbook import bias_variance

READS = ("study",)


class Study(NamedTuple):
    """The arguments of `config.study`."""

    degrees: tuple[Counted, ...] = (0, 1, 2, 3, 5, 7, 9, 12)
    examples: Size = 25  # of each sample
    noise: NotNegative = 0.3  # standard deviation
    repeats: Size = 500


def target(x):
    """sin(pi x). Args: [n, 1]. Returns: [n]."""
    return np.sin(np.pi * x[:, 0])


def sample(study, rng):
    """A training sample on [-1, 1]: x [m, 1], y [m]."""
    cells = np.arange(study.examples)[:, None]  # one x in each: without gaps, beyond which polynomials run away
    x = 2 * (cells + rng.uniform(size=cells.shape)) / study.examples - 1
    return x, target(x) + study.noise * rng.normal(size=study.examples)


def polynomial(degree, x, y):
    """Least squares in Legendre polynomials up to a degree."""
    fitted = np.polynomial.Legendre.fit(x[:, 0], y, degree, domain=(-1, 1))
    return lambda new: fitted(new[:, 0])


def measure(study, seed):
    """({metric: number}, what `draw` shows)."""
    x = np.linspace(-1, 1, 101)[:, None]
    parts, fits, training = {}, {}, {}
    for degree in study.degrees:
        fits[degree], errors = bias_variance.retrain(
            partial(polynomial, degree), partial(sample, study), x, study.repeats, seed
        )
        parts[degree] = bias_variance.decompose(fits[degree], target(x))
        training[degree] = errors.mean()
    best = min(parts, key=lambda degree: parts[degree].error)
    metrics = {"best_degree": best, "best_error": parts[best].error}
    for degree, errors in parts.items():
        metrics |= {f"bias2_degree{degree}": errors.bias2, f"variance_degree{degree}": errors.variance}
    return metrics, (study, x, parts, fits, training)


def words(study, parts, training):
    """What is wrong with each degree, and what helps, from its training and validation errors."""
    lines = []
    for degree, errors in parts.items():
        noise = study.noise**2
        advice = bias_variance.diagnose(training[degree], errors.error + noise, goal=noise, tolerance=noise)
        cures = "; ".join(f"{name}: try {', '.join(remedies)}" for name, remedies in advice.items()) or "neither"
        seen = f"training {training[degree]:.3f}, validation {errors.error + noise:.3f}"
        lines.append(f"degree {degree}: {seen}; {cures}")
    return "\n".join(lines)


def draw(shown):
    """Twenty fits of a low, the best and a high degree; the two curves; the advice."""
    from cvdl_jax.analysis.figures.curves import panels

    study, x, parts, fits, training = shown
    best = min(parts, key=lambda degree: parts[degree].error)
    chosen = sorted({min(parts), best, max(parts)})
    titles = [(f"degree {degree}", "x", "y") for degree in chosen]
    figure, axes = panels([*titles, ("expected squared error", "degree", "error")])
    for axis, degree in zip(axes, chosen, strict=False):
        axis.plot(x, fits[degree][:20].T, color="tab:blue", alpha=0.3, linewidth=0.7)
        axis.plot(x, fits[degree].mean(0), color="tab:red", label="average")
        axis.plot(x, target(x), "k--", label="target")
        axis.set_ylim(-2.2, 2.2)
        axis.legend(fontsize=7)
    degrees = list(parts)
    for name in ("bias2", "variance", "error"):
        axes[-1].plot(degrees, [getattr(parts[degree], name) for degree in degrees], "o-", label=name)
    axes[-1].set_yscale("log")
    axes[-1].legend(fontsize=7)
    return {"bias_variance": figure, "advice": words(study, parts, training)}


def make(config, info) -> Task:
    """The task of this study."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, config.seed), draw)
