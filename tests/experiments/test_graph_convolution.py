"""The study of graph convolution: which nodes the loss sees, which the evaluation, and that edges help."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.graph import gcn
from experiments.studies import graph_convolution as study

CONFIG = "configs/studies/graph_convolution.py"


@pytest.fixture(scope="module")
def one():
    """A random graph and parameters of both methods."""
    data = study.example(study.Graphs("blocks", labelled=3, nodes=10), jax.random.key(1))
    model = gcn.build("gcn", num_classes=3, hidden=(4,))
    params = model.init(jax.random.key(0), data["x"][None], data["adjacency"][None], False)["params"]
    return data, model, {"gcn": params, "mlp": jax.tree.map(lambda p: p + 0.1, params)}


@pytest.mark.curriculum("X13")
def test_as_many_labelled_nodes_of_every_class(one):
    known = np.asarray(one[0]["labelled"])
    assert [known[np.asarray(one[0]["label"]) == c].sum() for c in range(3)] == [3, 3, 3]
    other = study.example(study.Graphs("blocks", labelled=3, nodes=10), jax.random.key(2))["labelled"]
    assert (known != np.asarray(other)).any()


@pytest.mark.curriculum("X13")
def test_the_loss_sees_labelled_nodes_and_the_evaluation_the_others(one):
    data, model, params = one
    run = jax.jit(partial(study.loss_of_seed, model))
    known, label = np.asarray(data["labelled"]) == 1, np.asarray(data["label"])
    want = 0.0
    for name, edges in (("gcn", data["adjacency"]), ("mlp", 0 * data["adjacency"])):
        logits = model.apply({"params": params[name]}, data["x"][None], edges[None], False)[0][0]
        want -= np.asarray(jax.nn.log_softmax(logits))[known, label[known]].mean()
    assert float(run(params, data)) == pytest.approx(want, rel=1e-5)
    hidden = jnp.where(data["labelled"] == 1, data["label"], 0)
    assert float(run(params, {**data, "label": hidden})) == float(run(params, data))
    batched = jax.tree.map(lambda x: x[None], (params, data))
    state = State(jnp.int32(0), batched[0], {}, {"data": batched[1]})
    outputs = study.evaluation_step(model, state, None, None)
    logits = model.apply({"params": params["gcn"]}, data["x"][None], data["adjacency"][None], False)[0][0]
    right = (np.asarray(logits).argmax(1) == label)[~known].sum()
    assert [float(x) for x in outputs["gcn/0"]] == [right, 21] and outputs.keys() == {"gcn/0", "mlp/0"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("config.study.nodes=5", "config.study.nodes has no effect on the karate club"),
        ("config.study.labelled=17", "labelled=17 leaves no node to test; a class has 17"),
        ("config.model.dropout=0.5", "dropout=0.5 has no effect in this experiment, whose networks learn"),
        ("config.model.name=mlp", "is of kind 'backbones', expected 'graph'"),
    ],
)
def test_mistakes(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{CONFIG}:smoke", [f"--{override}"]))


@pytest.mark.long
@pytest.mark.curriculum("X13")
def test_edges_tell_how_the_club_split(tmp_path):
    assert launch.main([f"--config={CONFIG}", f"--workdir={tmp_path / 'run'}", "--config.log.tensorboard=False"]) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["test/gcn"] > 0.8 and metrics["test/gcn_gain_low"] > 0.2 and 0.3 < metrics["test/mlp"] < 0.65
