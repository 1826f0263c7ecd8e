"""Searches over architectures by hand-made scores; the cells and their training against written-out networks."""

import collections

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis import architecture_search as search
from cvdl_jax.analysis.cell_trainer import CellTrainer
from cvdl_jax.nn.search_cell import CELLS, Cell, CellNetwork, Edge, describe, shifted

RNG = np.random.default_rng(0)


def test_random_search_tries_different_architectures_and_the_first_of_equals_is_best():
    history = search.random_search(sum, (2, 3), 6, 0)
    assert sorted(child for child, _ in history) == [(i, j) for i in range(2) for j in range(3)]
    assert search.best(history) == (1, 2)
    assert search.best([((0,), 1.0), ((1,), 2.0), ((2,), 2.0)]) == (1,)
    firsts = collections.Counter(search.random_search(sum, (2, 3), 1, seed)[0][0] for seed in range(300))
    assert len(firsts) == 6 and min(firsts.values()) > 25
    with pytest.raises(ValueError, match="tries 1 to 6 architectures of this space, not 7"):
        search.random_search(sum, (2, 3), 7, 0)
    with pytest.raises(ValueError, match=r"the score of \(.*\) is not a number"):
        search.random_search(lambda cell: float("nan"), (2, 3), 1, 0)


@pytest.mark.curriculum("H54")
def test_evolution_mutates_one_place_of_a_living_parent_and_the_oldest_dies():
    """With a sample far larger than the population, the parent is the best of the last `population` children."""
    population, choices = 4, (3, 1, 5)
    value = {cell: float(v) for cell, v in zip(np.ndindex(choices), RNG.permutation(15), strict=True)}
    history = search.regularised_evolution(value.__getitem__, choices, 60, 0, population, 60)
    assert len(history) == 60 and all(value[child] == score for child, score in history)
    forgotten = 0
    for i in range(population, 60):
        living = history[i - population : i]
        parent, child = search.best(living), history[i][0]
        assert sum(a != b for a, b in zip(parent, child, strict=True)) == 1 and child[1] == 0
        forgotten += search.best(history[:i]) not in [cell for cell, _ in living]
    assert forgotten > 0  # the best of all has died: age counts, not merit
    changed = [child[0] != search.best(history[i : i + 4])[0] for i, (child, _) in enumerate(history[4:])]
    assert 0.2 < np.mean(changed) < 0.8


def test_evolution_is_better_than_random_search_where_places_add_up():
    choices, found = (5,) * 6, collections.defaultdict(list)
    for seed in range(20):
        found["random"].append(max(s for _, s in search.random_search(sum, choices, 60, seed)))
        found["evolution"].append(max(s for _, s in search.regularised_evolution(sum, choices, 60, seed, 10, 5)))
    assert np.mean(found["evolution"]) > np.mean(found["random"]) + 1
    for wrong in ({"population": 0}, {"population": 61}, {"sample": 0}, {"choices": (1, 1)}):
        arguments = {"choices": choices, "budget": 60, "seed": 0, "population": 10, "sample": 5, **wrong}
        with pytest.raises(ValueError, match="evolution needs 1 <= population"):
            search.regularised_evolution(sum, **arguments)


def standardised(x):
    return (x - x.mean((1, 2, 3), keepdims=True)) / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)


@pytest.mark.curriculum("H54")
def test_operations_of_an_edge_are_those_of_layers():
    x = jnp.asarray(RNG.normal(size=(2, 5, 4, 3)), jnp.float32)
    edge = Edge(3)
    variables = jax.jit(edge.init)(jax.random.key(0), x, 0)
    of = jax.jit(lambda k: edge.apply(variables, x, k))
    weights = {name: np.asarray(w) for name, w in variables["params"].items()}
    positive = np.maximum(x, 0)
    square = jax.lax.conv_general_dilated(
        positive, weights["conv3x3"].reshape(3, 3, 3, 3), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    average = nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)
    expected = [
        np.zeros_like(x),
        x,
        standardised(positive @ weights["conv1x1"]),
        standardised(np.asarray(square)),
        average,
    ]
    for k, value in enumerate(expected):
        np.testing.assert_allclose(of(k), value, atol=1e-5)
    np.testing.assert_array_equal(shifted(x)[:, 1:, 1:, 0], x[:, :-1, :-1])


def test_a_cell_adds_the_paths_to_its_last_node():
    x = jnp.asarray(RNG.normal(size=(1, 4, 4, 2)), jnp.float32)
    cell = Cell(2)
    variables = jax.jit(cell.init)(jax.random.key(0), x, np.zeros(3, int))
    of = jax.jit(lambda operations: cell.apply(variables, x, operations))
    for operations, times in (((1, 1, 1), 2), ((1, 0, 1), 1), ((0, 1, 1), 1), ((1, 1, 0), 1), ((0, 0, 1), 0)):
        np.testing.assert_allclose(of(np.asarray(operations)), times * x, atol=1e-6)
    assert len(CELLS) == len(set(CELLS)) == 125 and describe((1, 3, 0)) == "0-1 skip, 0-2 conv3x3, 1-2 none"


@pytest.mark.curriculum("H54")
def test_one_compiled_step_trains_every_cell_and_leaves_the_weights_of_others_alone():
    image, label = RNG.random((40, 6, 6, 1), np.float32), np.arange(40) % 4
    image += label[:, None, None, None]
    data = {"train": (jnp.asarray(image), jnp.asarray(label)), "validation": (jnp.asarray(image), jnp.asarray(label))}
    trainer = CellTrainer(data, 4, features=4, steps=20, batch_size=16, lr=1e-2)
    made = jax.jit(CellNetwork(4, 4).init)
    first = made(jax.random.split(jax.random.key(7))[0], image[:1], np.zeros(3, np.int32))["params"]
    trained = {cell: trainer.child(7, cell) for cell in ((2, 0, 3), (4, 1, 1))}
    shared = trainer.train(7, np.asarray([(2, 0, 3), (0, 3, 0)] * 10, np.int32))
    longer = trainer.child(7, (2, 0, 3), times=2)
    assert trainer._call._cache_size() == 1
    moved = {
        name: {f"{edge}/{op}" for edge in ("edge01", "edge02", "edge12") for op in ("conv1x1", "conv3x3")
               if not np.array_equal(first["cell0"][edge][op], params["cell0"][edge][op])}
        for name, params in {**trained, "shared": shared}.items()
    }  # fmt: skip
    assert moved == {
        (2, 0, 3): {"edge01/conv1x1", "edge12/conv3x3"}, (4, 1, 1): set(),
        "shared": {"edge01/conv1x1", "edge12/conv3x3", "edge02/conv3x3"},
    }  # fmt: skip
    losses = [trainer.judge(p, (2, 0, 3), "validation")[0] for p in (first, trained[2, 0, 3], longer)]
    assert losses[0] > losses[1] > losses[2]
