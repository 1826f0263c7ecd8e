"""Regularisers in whole runs: penalties from the command line, the four forms of early stopping, and their study."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models_for_tests import make_model

import launch
from configs.studies import regularisers as config_file
from cvdl_jax.analysis import seed_comparison, seed_copies
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.data import load
from cvdl_jax.engine import build, runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.backbones.mlp import MLP
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments.studies import regularisers

FLAGS = [
    "--config=configs/classify/mlp.py:smoke", "--config.model.hidden=(4,)", "--config.eval.every_steps=1",
    "--config.log.tensorboard=False",
]  # fmt: skip


def run(workdir, *flags):
    """The trained state, and the rows of the log."""
    assert launch.main([*FLAGS, *flags, f"--workdir={workdir}"]) == 0
    state = runs.load(workdir)[1]
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return state, rows


@pytest.mark.curriculum("F2", "F9")
def test_a_run_with_a_penalty_ends_after_its_preset_epochs(tmp_path):
    """0.05 epochs of 1,149 digits in batches of 16 are 3.6 steps, so 4; a threshold above all weights leaves zeros."""
    penalty = ["--config.optim.penalty.name=proximal_l1", "--config.optim.penalty.strength=10000.0"]
    state, rows = run(tmp_path / "run", *penalty, "--config.total_epochs=0.05")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    params = state.params
    assert all((params[layer]["kernel"] == 0).all() for layer in ("dense0", "head"))
    assert (params["head"]["bias"] != 0).any()


@pytest.mark.curriculum("F9")
def test_a_run_stops_at_patience_or_its_preset_length_whichever_comes_first(tmp_path):
    """No loss improves by 100, so that patience runs out at the second evaluation of a run of 4 steps."""
    stopping = ["--config.early_stopping.metric=validation/loss", "--config.early_stopping.patience=1"]
    _, rows = run(tmp_path / "run", *stopping, "--config.early_stopping.min_delta=100.0", "--config.total_epochs=0.05")
    assert [row["step"] for row in rows] == [1, 2]


@pytest.mark.curriculum("F10")
def test_switches_of_capacity_and_of_the_amount_of_data():
    def shapes(name, **fields):
        model = make_model(name, 10, "float32", **fields)
        x = jnp.zeros((1, 16, 16, 1))
        return jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))["params"]

    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    assert size(shapes("mlp_tiny", hidden=(8,))) < size(shapes("mlp_tiny", hidden=(16, 16)))
    narrow, wide = shapes("resnet8_tiny", widths=(2, 4, 8)), shapes("resnet8_tiny")
    assert size(narrow) < size(wide)
    dense = [leaf.shape for leaf in jax.tree.leaves(wide) if leaf.ndim == 2]
    assert dense == [(16, 10)]  # global average pooling leaves one linear layer, whatever the size of the image
    data = load.load("digits", train="train[:10%]", validation="validation")
    assert data.splits["train"].size == pytest.approx(114.9, abs=1)


@pytest.mark.curriculum("F10")
def test_the_page_of_switches_names_files_that_exist():
    page = (configs.ROOT / "docs" / "regularisation.md").read_text()
    places = set(re.findall(r"`((?:cvdl_jax|configs|ops)/[\w/]+(?:\.py|/))", page))
    assert len(places) > 10
    missing = [p for p in places if not ((configs.ROOT / p).exists() or (configs.ROOT / "cvdl_jax" / p).exists())]
    assert missing == []


# Copies and gains -------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("F9")
def test_early_stopping_of_every_copy_equals_a_loop():
    rng = np.random.default_rng(0)
    losses, patience = np.round(rng.uniform(size=(30, 6)) - 0.01 * np.arange(30)[:, None], 2), 3
    losses[4, 0] = np.nan
    kept = seed_copies.start_stopping({"w": jnp.full((6, 2), -1.0)}, patience)
    look = jax.jit(partial(seed_copies.stop_early, patience=patience))
    for t, loss in enumerate(losses):
        kept = look(kept, {"w": jnp.full((6, 2), float(t))}, jnp.float32(loss))
    for copy in range(6):
        best, at, since = np.inf, -1, 0
        for t, value in enumerate(losses[:, copy]):
            best, at, since = (value, t, 0) if value < best else (best, at, since + 1)
            if since >= patience:
                break
        np.testing.assert_array_equal(kept["params"]["w"][copy], [at, at])
        assert bool(kept["stopped"][copy]) == (since >= patience)


def test_gains_are_paired_differences_with_their_intervals():
    values = {"none": [0.5, 0.6, 0.4], "better": [0.52, 0.63, 0.42]}
    found = seed_comparison.gains(values, "none")
    assert found["better_gain"] == pytest.approx(0.07 / 3)
    half = 4.302653 * np.std([0.02, 0.03, 0.02], ddof=1) / np.sqrt(3)  # Student's t of two degrees of freedom
    assert found["better_gain_low"] == pytest.approx(0.07 / 3 - half, rel=1e-5)
    assert found["none_high"] - found["none"] == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)
    assert "none_gain" not in found
    few = seed_comparison.gains({"none": [0.81, 0.99], "better": [0.9, 0.98]}, "none")  # [-0.24, 2.04]
    assert few["none"] == pytest.approx(0.9) and not few.keys() & {"none_low", "none_high"}
    assert len(seed_comparison.draw({"none": [0.81, 0.99], "better": [0.9, 0.98]}, "none", "accuracy").axes) == 2
    by_method = seed_comparison.by_method({"a/0": jnp.ones(()), "b/0": 2, "a/1": 3})
    assert by_method == {"a": [1.0, 3.0], "b": [2.0]}
    assert len(seed_comparison.draw(values, "none", "accuracy").axes) == 2


# The study --------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("F1", "F4")
def test_each_seed_descends_its_own_loss():
    """The gradient with respect to one copy is that of its mean loss on its own batch, as if it were alone."""
    model, keys = MLP(3, hidden=(4,)), jax.random.split(jax.random.key(0), 3)
    image = jax.random.randint(keys[0], (2, 5, 2, 2, 1), 0, 255).astype(jnp.uint8)
    label = jnp.arange(10).reshape(2, 5) % 3
    params = seed_copies.initialise(model, keys[1], jnp.zeros((1, 2, 2, 1)), 2)
    net = regularisers.Network(model, None, None, softmax_cross_entropy)

    @jax.jit
    def both(params):
        def stacked(params):
            state = State(jnp.int32(0), {"none": params})
            total, weight = regularisers.training_loss(net, "none", state, {"image": image, "label": label}, keys[2])[
                1
            ]["loss"]
            return total / weight

        def alone(p, image, label):
            return softmax_cross_entropy(model.apply({"params": p}, image / 255.0, False)[0], label).mean()

        return jax.grad(stacked)(params), jax.vmap(jax.grad(alone))(params, image.astype(jnp.float32), label)

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), *both(params))


def test_batches_come_from_each_seeds_own_examples_with_its_labels():
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 255, (50, 2, 2, 1)).astype(np.uint8), np.arange(50) % 10
    rows = jnp.asarray(np.stack([rng.permutation(50)[:8] for _ in range(3)]))
    labels = jnp.asarray(label[np.asarray(rows)]).at[0].set(9)  # all those of the first seed are wrong
    data = {"train": {"image": jnp.asarray(image), "label": jnp.asarray(label)}}
    state = State(jnp.int32(0), {}, {}, {"data": data, "rows": rows, "labels": labels})
    _, batch, _ = regularisers.draw(100, state, {}, jax.random.key(0))
    assert batch["image"].shape == (3, 100, 2, 2, 1) and (batch["label"][0] == 9).all()
    for seed in (1, 2):
        drawn = {
            (a.tobytes(), int(b)) for a, b in zip(np.asarray(batch["image"][seed]), batch["label"][seed], strict=True)
        }
        assert drawn == {(image[i].tobytes(), int(label[i])) for i in np.asarray(rows[seed])}


def small(**study):
    """The study of a few methods, its task, and its first state."""
    config = config_file.get_config("smoke")
    config.total_steps = study.pop("steps", 2)
    config.study.update(study)
    return build.build(config)


@pytest.mark.curriculum("F10")
def test_methods_begin_alike_and_a_share_of_labels_is_wrong():
    task = small(examples=1000, seeds=3, wrong=0.4).task
    made = jax.jit(task.init)(jax.random.key(0), {})
    for name in ("dropout", "l1"):
        jax.tree.map(np.testing.assert_array_equal, made["params"]["none"], made["params"][name])
    extra = made["extra"]
    assert all(len(np.unique(rows)) == 1000 for rows in np.asarray(extra["rows"]))
    right = extra["data"]["train"]["label"][extra["rows"]]
    assert float((extra["labels"] != right).mean()) == pytest.approx(0.4 * 0.9, abs=0.04)  # a tenth hits by chance


@pytest.mark.long
@pytest.mark.curriculum("F1", "F4", "F10")
def test_regularisers_help_where_a_fifth_of_the_labels_is_wrong():
    from cvdl_jax.core.task import create_state, step_function

    methods = {name: config_file.METHODS[name] for name in ("none", "dropout", "l2", "l1")}
    task = small(methods=methods, examples=200, seeds=4, wrong=0.2, look_every=20, steps=800).task
    state = create_state(task, jax.random.key(0), {})
    step = jax.jit(step_function(task, 0), donate_argnums=0)
    for _ in range(800):
        state, _ = step(state, {})
    found = seed_comparison.gains(
        seed_comparison.by_method(
            {n: s for n, (s, _) in jax.jit(task.evals["test"].step)(state, {}, jax.random.key(1)).items()}
        ),
        "none",
    )
    assert all(found[f"{name}_gain"] > 0 for name in ("dropout", "l2", "early_stopping"))
    kernels = [layer["kernel"] for layer in state.params["l1"].values()]
    zeros = float(jnp.mean(jnp.concatenate([k.ravel() for k in kernels]) == 0))
    assert zeros > 0.3
    assert optax.tree.norm(state.params["l2"]) < optax.tree.norm(state.params["none"])


def test_a_study_without_its_baseline_is_refused():
    config = config_file.get_config("smoke")
    config.study.methods = {"dropout": {}}
    with pytest.raises(ConfigError, match=r"config\.study\.methods lacks 'none'"):
        build.build(config)
