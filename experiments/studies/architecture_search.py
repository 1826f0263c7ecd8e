"""Architecture search in a space of 125 cells: random search, evolution, and shared weights, at one price.

Each search may train for `budget` times `steps` steps: random search and regularised evolution train so many children,
one-shot search trains one network of shared weights, a uniformly drawn cell a step, and ranks all cells by it. A
search chooses by the validation loss; its cell is trained anew for `final` times `steps` steps and tested once. All
repeats of the three share their seeds. The run itself takes no steps and has no parameters.
"""

import itertools
from collections.abc import Mapping
from functools import cache, partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.stats import kendalltau

from cvdl_jax.analysis import architecture_search as search
from cvdl_jax.analysis import seed_comparison
from cvdl_jax.analysis.cell_trainer import CellTrainer
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats import paired_tests
from cvdl_jax.nn.search_cell import CELLS, EDGES, OPERATIONS, describe

READS = ("study",)
CHOICES = (len(OPERATIONS),) * len(EDGES)
METHODS = ("random", "evolution", "one_shot")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    repeats: Size = 5
    budget: Size = 16  # children
    population: Size = 6  # of evolution,
    sample: Size = 3  # of which the best one is the parent
    steps: Size = 150  # of a child
    final: Size = 3  # times as many for the cell that is chosen
    batch_size: Size = 64
    features: Size = 8
    lr: Positive = 5e-3
    ranked: Size = 125  # cells of the whole space, trained to rank them; at least 2


def score_of(trainer, seed):
    """A function: cell -> minus the validation loss of its child of this seed, which is trained once."""
    return cache(lambda cell: -trainer.judge(trainer.child(seed, cell), cell, "validation")[0])


def searches(study, trainer, score, seed):
    """{method: what it tried, with its scores}; the last one's scores are those of shared weights, of all cells."""
    limits = {"population": study.population, "sample": study.sample}
    drawn = np.random.default_rng([seed, 2]).integers(len(OPERATIONS), size=(study.budget * study.steps, len(EDGES)))
    shared = trainer.train(seed, drawn.astype(np.int32))
    return {
        "random": search.random_search(score, CHOICES, study.budget, [seed, 0]),
        "evolution": search.regularised_evolution(score, CHOICES, study.budget, [seed, 1], **limits),
        "one_shot": [(cell, -trainer.judge(shared, cell, "validation")[0]) for cell in CELLS],
    }


def measure(study, config_seed):
    """Test accuracies of what the searches chose, gains over random search, and what the whole space says of them."""
    loaded, data = recipe.whole_splits(study.data, "config.study.data", ("train", "validation", "test"))
    arrays = {name: (to_unit(jnp.asarray(b["image"])), jnp.asarray(b["label"])) for name, b in data.items()}
    trainer = CellTrainer(arrays, loaded.num_classes, study.features, study.steps, study.batch_size, study.lr)
    accuracies, chosen, taus, ranks = {name: [] for name in METHODS}, [], [], {name: [] for name in METHODS}
    whole = {}
    for seed in range(config_seed, config_seed + study.repeats):
        score = score_of(trainer, seed)
        histories = searches(study, trainer, score, seed)
        shared = dict(histories["one_shot"])
        if not whole:  # the children of the first seed, whether a search has tried them or not
            whole, drawn = {cell: score(cell) for cell in CELLS[: study.ranked]}, shared
        taus.append(float(kendalltau([shared[cell] for cell in whole], list(whole.values())).statistic))
        for name, history in histories.items():
            cell = search.best(history)
            final = trainer.child(seed + 1000, cell, study.final)
            accuracies[name].append(trainer.judge(final, cell, "test")[1])
            ranks[name] += [sum(value > whole[cell] for value in whole.values()) + 1] if cell in whole else []
            chosen.append(f"seed {seed}, {name}: {describe(cell)}; test accuracy {accuracies[name][-1]:.4f}")
        print(*chosen[-len(METHODS) :], sep="\n", flush=True)
    metrics = {name: of[0] for name, of in accuracies.items()}
    if study.repeats > 1:
        metrics = seed_comparison.gains(accuracies, "random")
    for one, other in itertools.combinations(METHODS, 2):
        metrics[f"{one}_{other}_p"] = paired_tests.sign_flip(np.subtract(accuracies[one], accuracies[other]))
    metrics |= {f"{name}_rank": float(np.mean(of)) for name, of in ranks.items() if of}
    if np.isfinite(taus).all():  # it is not where all scores are equal
        metrics["one_shot_tau"] = float(np.mean(taus))
    metrics["budget_steps"] = study.budget * study.steps
    return metrics, (accuracies, drawn, whole, chosen)


def draw(measured):
    """Test accuracies and gains; scores by shared weights against those of children; the cells that were chosen."""
    from matplotlib.figure import Figure

    accuracies, shared, whole, chosen = measured
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    axis.loglog([-shared[cell] for cell in whole], [-value for value in whole.values()], ".")
    axis.set(xlabel="validation loss by shared weights", ylabel="validation loss of the child, both of the first seed")
    figures = {"one_shot_scores": figure, "chosen": "\n".join(chosen)}
    if len(accuracies["random"]) > 1:
        figures["searches"] = seed_comparison.draw(accuracies, "random", "test accuracy")
    return figures


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    if study.population > study.budget or study.budget > len(CELLS):
        raise ConfigError(
            f"config.study.budget={study.budget} must lie between config.study.population={study.population} and the "
            f"{len(CELLS)} cells of the space"
        )
    if study.repeats > paired_tests.EXACT_SEEDS:
        raise ConfigError(f"config.study.repeats={study.repeats} must be at most {paired_tests.EXACT_SEEDS}")
    if not 2 <= study.ranked <= len(CELLS):
        raise ConfigError(
            f"config.study.ranked={study.ranked} must lie between 2 and the {len(CELLS)} cells of the space"
        )
    return studies.measured(config, partial(measure, study, info.seed), draw)
