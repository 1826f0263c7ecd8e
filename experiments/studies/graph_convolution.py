"""Classes of nodes from few labels: a graph convolutional network, and the same network without the edges.

Every seed has its own labelled nodes and initial values, and, of random graphs, its own graph and features; both
methods of a seed have the same. `params`: {"gcn", "mlp"}, leaves [seeds, ...]; `extra`: {"data": {"x" [seeds, n, d],
"adjacency" [seeds, n, n], "label" int [seeds, n], "labelled" float [seeds, n]}}. The loss sees labelled nodes alone,
the evaluation the others. Nodes of the karate club have no features but their number (a one-hot row).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.analysis import seed_comparison
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Probability, Size
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.data import graphs
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "optim", "grad", "study", "compute_dtype")
METHODS = ("mlp", "gcn")


class Graphs(NamedTuple):
    """The arguments of `config.study`; those behind `labelled` are of random graphs ("blocks") alone."""

    kind: Literal["karate", "blocks"] = "karate"
    seeds: Size = 20
    labelled: Size = 1  # nodes of each class
    nodes: Size = 40  # of each of three classes
    features: Size = 10
    distance: Positive = 0.5  # of the classes' means from 0, in standard deviations
    inside: Probability = 0.2
    between: Probability = 0.02


def example(study, key):
    """The graph of one seed: its features, edges and classes, and which classes are known."""
    keys = jax.random.split(key, 4)
    if study.kind == "karate":
        adjacency, label = (jnp.asarray(x) for x in graphs.karate_club())
        x = jnp.eye(len(label))
    else:
        label = jnp.repeat(jnp.arange(3), study.nodes)
        adjacency = graphs.block_model(keys[0], label, study.inside, study.between)
        means = jax.random.normal(keys[1], (3, study.features))
        means = study.distance * means / jnp.linalg.norm(means, axis=1, keepdims=True)
        x = means[label] + jax.random.normal(keys[2], (len(label), study.features))
    lot = jax.random.uniform(keys[3], label.shape)
    before = (label[:, None] == label[None]) & (lot[None] < lot[:, None])  # of the same class, drawn earlier
    return {"x": x, "adjacency": adjacency, "label": label, "labelled": (before.sum(1) < study.labelled) * 1.0}


def logits_of(model, method, params, data):
    """Logits of the nodes of one graph, [n, c]."""
    edges = data["adjacency"] * (method == "gcn")
    return model.apply({"params": params}, data["x"][None], edges[None], False)[0][0]


def loss_of_seed(model, params, data):
    """The sum over methods of the mean cross-entropy of the labelled nodes."""
    losses = [softmax_cross_entropy(logits_of(model, name, params[name], data), data["label"]) for name in METHODS]
    return (sum(losses) * data["labelled"]).sum() / data["labelled"].sum()


def training_loss(model, state, batch, key):
    """Summed over seeds, each of which has parameters of its own."""
    losses = jax.vmap(partial(loss_of_seed, model))(state.params, state.extra["data"])
    return state, {"loss": (losses.sum(), jnp.ones(()))}


def evaluation_step(model, state, batch, key):
    """{"method/seed": (right nodes, nodes)} of the nodes without a label."""

    def of_seed(params, data):
        other = 1 - data["labelled"]
        hits = {name: logits_of(model, name, params[name], data).argmax(1) == data["label"] for name in METHODS}
        return {name: ((hit * other).sum(), other.sum()) for name, hit in hits.items()}

    values = jax.vmap(of_seed)(state.params, state.extra["data"])
    return {f"{name}/{i}": (right[i], n[i]) for name, (right, n) in values.items() for i in range(len(n))}


def finalise(means, rows):
    """Accuracies with intervals over seeds, and the gain by the edges in pairs."""
    return seed_comparison.gains(seed_comparison.by_method(means), "mlp")


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Graphs, config.study, "config.study")
    unread = set(config.study) - {"kind", "seeds", "labelled"}
    if study.kind == "karate" and unread:
        raise ConfigError(f"config.study.{min(unread)} has no effect on the karate club; leave it out")
    members = 17 if study.kind == "karate" else study.nodes
    if study.labelled >= members:
        raise ConfigError(f"config.study.labelled={study.labelled} leaves no node to test; a class has {members}")
    more = {"num_classes": 2 if study.kind == "karate" else 3, "dtype": config.compute_dtype}
    model = recipe.without_dropout(registry.create(config.model, "config.model", kinds=("graph",), **more))

    def init(key: jax.Array, batch: dict) -> dict:
        data = jax.vmap(partial(example, study))(jax.random.split(jax.random.fold_in(key, 0), study.seeds))

        def start(key, x, adjacency):
            return model.init(key, x[None], adjacency[None], False)["params"]

        keys = jax.random.split(jax.random.fold_in(key, 1), study.seeds)
        params = jax.vmap(start)(keys, data["x"], data["adjacency"])
        return {"params": {name: jax.tree.map(jnp.copy, params) for name in METHODS}, "extra": {"data": data}}

    evals = recipe.evaluations(lambda split: Eval(partial(evaluation_step, model), finalise, data=1))
    return Task(init=init, train=recipe.descend(config, info, partial(training_loss, model)), evals=evals)
