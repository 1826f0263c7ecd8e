"""Fine-tuning: what each scheme trains and at which rate, what it takes from the source, and that it needs one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from configs import datasets
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.engine import preflight, recipe, runs
from cvdl_jax.errors import CheckpointError
from cvdl_jax.models import registry
from cvdl_jax.workdir.checkpoint import read_step

FILE = "configs/regimes/fine_tune.py"
LAYERS = ("conv0", "conv1", "dense0", "dense1", "head")


def load(arg, *overrides):
    return configs.load(f"{FILE}:{arg}", overrides)


@pytest.fixture(scope="module")
def shapes():
    """The parameters of the network of a run."""
    model = registry.create(load("scheme=all").model, "config.model", num_classes=10)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), False))["params"]


def movements(scheme, shapes, steps):
    """{layer: how far its bias went in each step} at the rate 1 and gradients of 1."""
    plain = [
        "config.optim.name=sgd",
        "config.optim.lr=1.0",
        "config.optim.schedule={}",
        "config.optim.weight_decay=0.0",
    ]
    info = Info(10, (), {}, {}, 1, steps, 1.0, 0, ())
    optimizer = recipe.optimizer(load(f"scheme={scheme}", *plain).optim, info)
    state, moved = optimizer.init(shapes), []
    update = jax.jit(optimizer.update)
    for _ in range(steps):
        updates, state = update(jax.tree.map(lambda x: jnp.ones(x.shape), shapes), state, shapes)
        moved.append([-float(updates[layer]["bias"][0]) for layer in LAYERS])
    return np.asarray(moved)  # [steps, layers]


@pytest.mark.curriculum("I2")
def test_layers_of_the_source_learn_at_a_tenth_of_the_rate_or_wait(shapes):
    shapes = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    expected = {
        "scratch": [[1, 1, 1, 1, 1]] * 4, "head": [[0, 0, 0, 0, 1]] * 4, "few": [[0, 0, 0.1, 0.1, 1]] * 4,
        "all": [[0.1, 0.1, 0.1, 0.1, 1]] * 4,
        "gradual": [[0, 0, 0, 0, 1], [0, 0, 0.1, 0.1, 1], *[[0.1, 0.1, 0.1, 0.1, 1]] * 2],
    }  # fmt: skip
    for scheme, shares in expected.items():
        np.testing.assert_allclose(movements(scheme, shapes, 4), shares, rtol=1e-6, err_msg=scheme)


@pytest.mark.curriculum("I2")
def test_a_scheme_takes_all_but_the_head_and_sees_what_the_source_saw():
    source, target = load("scheme=source"), load("scheme=gradual")
    assert target.init_from == "runs/mnist_source" and target.init.exclude == "head/.*" and not source.init_from
    assert source.normalise == target.normalise == configs.from_plain({"x": datasets.MNIST}).x
    assert source.data.image_size == target.data.image_size == (32, 32)
    assert (source.data.name, target.data.name, target.data.first) == ("mnist", "digits", 100)
    assert not load("scheme=scratch").init_from
    halves = [load(f"pair=cifar10_halves,scheme={scheme},examples=0") for scheme in ("source", "all")]
    assert not set(halves[0].data.only) & set(halves[1].data.only) and len(halves[1].data.only) == 5
    assert halves[1].init_from == "runs/cifar10_0_to_4" and "first" not in halves[1].data


@pytest.mark.curriculum("I2")
def test_without_its_source_a_scheme_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.init_from='runs/mnist_source'"):
        preflight.check(load("scheme=all"), ("validation",), False)


@pytest.mark.long
@pytest.mark.curriculum("I2")
def test_a_frozen_backbone_stays_that_of_the_source_and_the_head_is_new(tmp_path, capsys):
    small = ["--config.model.name=lenet5_tiny", "--config.data.image_size=(16,16)", "--config.log.tensorboard=False"]
    source, target = tmp_path / "source", tmp_path / "target"
    assert launch.main([f"--config={FILE}:smoke", f"--workdir={source}", *small]) == 0
    taken = [f"--config.init_from={source}", "--config.init.exclude=head/.*", "--config.seed=1"]
    assert launch.main([f"--config={FILE}:scheme=head,smoke", f"--workdir={target}", *small, *taken]) == 0
    assert "2 left as initialised: params/head/bias (10,), params/head/kernel (8, 10)" in capsys.readouterr().out
    best = runs.checkpoint_path(source)
    old, new = (read_step(path)["state"]["params"] for path in (best, target / "checkpoints" / "2"))
    for layer in LAYERS[:-1]:
        jax.tree.map(np.testing.assert_array_equal, old[layer], new[layer])
    assert np.abs(old["head"]["kernel"] - new["head"]["kernel"]).min() > 1e-4
    assert json.loads((target / "results.json").read_text())["metrics"]["test/accuracy"] <= 1
