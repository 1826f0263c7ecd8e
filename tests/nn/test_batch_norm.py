"""Batch normalisation: PyTorch's numbers, shares of devices, evaluation by the batch, and what models can choose."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import input_of, make_model
from runs_for_tests import virtual_devices

from cvdl_jax.core import parallel
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.backbones import resnet
from cvdl_jax.nn.batch_norm import BatchNorm, batch_statistics
from cvdl_jax.nn.norms import normaliser

STORED = json.loads((Path(__file__).parents[1] / "stored" / "torch_norms.json").read_text())
X = np.array(STORED["x"], np.float32)  # three batches [b, h, w, c]
PARAMS = {"scale": np.array(STORED["scale"], np.float32), "bias": np.array(STORED["bias"], np.float32)}
FRESH = {"mean": np.zeros(4, np.float32), "var": np.ones(4, np.float32)}


@partial(jax.jit, static_argnums=(0, 3))
def apply(layer, stats, x, train):
    return layer.apply({"params": PARAMS, "batch_stats": stats}, x, train, mutable=["batch_stats"])


@pytest.mark.curriculum("G1", "G2")
def test_three_steps_and_an_evaluation_equal_torch():
    """`torch.nn.BatchNorm2d(4)` with the same scale and bias, stored by

        for b in x: y.append(bn(b))
        running_mean, running_var = bn.running_mean, bn.running_var; bn.eval(); bn(x[0])

    Its defaults are ours, epsilon 1e-5 and 0.1 as the weight of the new batch; its running variance is unbiased. The
    gradient goes through the statistics, and evaluation changes nothing.
    """
    layer, stats = BatchNorm(running_var="unbiased"), FRESH
    for x, expected in zip(X, STORED["batch_norm"], strict=True):
        y, new = apply(layer, stats, x, True)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        stats = new["batch_stats"]
    np.testing.assert_allclose(stats["mean"], STORED["running_mean"], atol=1e-5)
    np.testing.assert_allclose(stats["var"], STORED["running_var"], atol=1e-5)
    y, new = apply(layer, stats, X[0], False)
    np.testing.assert_allclose(y, STORED["batch_norm_eval"], atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], stats)


@pytest.mark.curriculum("G2")
def test_training_equals_flax_whose_momentum_is_one_minus_ours():
    theirs = nn.BatchNorm(momentum=0.7, epsilon=1e-3)
    y, new = apply(BatchNorm(momentum=0.3, epsilon=1e-3), FRESH, X[0], True)
    flax, kept = theirs.apply(
        {"params": PARAMS, "batch_stats": FRESH}, X[0], use_running_average=False, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(y, flax, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), new, kept)


@pytest.mark.curriculum("G5")
def test_scale_and_bias_can_undo_the_normalisation():
    mean, var = X[0].mean((0, 1, 2)), X[0].var((0, 1, 2))
    params = {"scale": np.sqrt(var + 1e-5), "bias": mean}
    y, _ = BatchNorm().apply({"params": params, "batch_stats": FRESH}, X[0], True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, X[0], atol=1e-5)


@pytest.mark.curriculum("G4")
def test_without_running_statistics_evaluation_uses_the_batch():
    """And padded rows, whatever they hold, do not count."""
    layer = BatchNorm(track_running_stats=False)
    assert layer.init(jax.random.key(0), X[0], False).keys() == {"params"}
    run = partial(layer.apply, {"params": PARAMS})
    trained = apply(BatchNorm(), FRESH, X[0], True)[0]
    np.testing.assert_allclose(run(X[0], True), trained, atol=1e-5)
    np.testing.assert_allclose(run(X[0], False), trained, atol=1e-5)
    with parallel.padded(jnp.array([1.0, 1.0, 1.0, 0.0])):
        y = run(np.concatenate([X[0], np.full_like(X[0][:1], 1e3)]), False)
        np.testing.assert_allclose(y[:3], trained, atol=1e-5)
        with pytest.raises(ConfigError, match="met 3 rows in an evaluation of batches of 4"):
            run(X[0], False)
    with batch_statistics():  # the same, asked of a layer that has running statistics
        np.testing.assert_allclose(apply.__wrapped__(BatchNorm(), FRESH, X[0], False)[0], trained, atol=1e-5)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_unsynchronised_devices_normalise_their_own_rows(mode):
    """Two devices of two rows: each half of the batch by itself; the running averages are those of the halves."""
    layer = BatchNorm(synchronised=False, running_var="unbiased")
    x = np.concatenate(X)[:4]

    def train(x):
        return layer.apply({"params": PARAMS, "batch_stats": FRESH}, x, True, mutable=["batch_stats"])

    if mode == "jit":
        with parallel.tracing_for(parallel.make_mesh(2 * jax.devices()[:1])):
            y, new = train(x)
            with pytest.raises(ConfigError, match="3 rows do not divide over 2 devices"):
                train(x[:3])
    else:
        y, new = jax.vmap(train, axis_name=parallel.PMAP_AXIS)(x.reshape(2, 2, 2, 2, 4))
        y, new = y.reshape(x.shape), jax.tree.map(lambda leaf: leaf[1], new)
    halves = x.reshape(2, 8, 4)
    mean, var = halves.mean(1), halves.var(1)
    expected = (halves - mean[:, None]) / np.sqrt(var[:, None] + 1e-5) * PARAMS["scale"] + PARAMS["bias"]
    np.testing.assert_allclose(y, expected.reshape(x.shape), atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * mean.mean(0), atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * var.mean(0) * 8 / 7, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "x", "words"),
    [
        ({"momentum": 1.5}, X[0], r"batch\(momentum=1.5\), the new batch's weight, must lie in \[0, 1\]"),
        ({"epsilon": 0.0}, X[0], r"batch\(epsilon=0.0\) must be positive"),
        ({"running_var": "sample"}, X[0], "must be 'biased' or 'unbiased'"),
        ({"running_var": "unbiased"}, X[0, :1, 0, 0], "needs two values a channel"),
        ({}, X[0, :1, 0, 0], r"a batch of shape \[1, 4\] has one, which would become 0; raise config.batch_size"),
        ({}, X[0, 0, 0, 0], r"takes a batch \[b, ..., c\]"),
    ],
)
def test_what_is_wrong_is_said(fields, x, words):
    with pytest.raises(ConfigError, match=words):
        BatchNorm(**fields).apply({"params": PARAMS, "batch_stats": FRESH}, x, True, mutable=["batch_stats"])


def variables(name, **fields):
    """Shapes of a model's variables, flat."""
    model = make_model(name, 3, "float32", **fields)
    shape = input_of(name)
    made = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((2, *shape)))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): s.shape for path, s in
            jax.tree_util.tree_leaves_with_path(made)}  # fmt: skip


@pytest.mark.curriculum("G6", "G11", "G13")
@pytest.mark.parametrize("model", ["mlp_tiny", "lenet5_tiny", "resnet8_tiny"])
def test_models_choose_their_normalisation(model):
    """A layer's name is its own; norms without statistics store none; biases are where they have an effect."""
    default = variables(model)
    assert variables(model, placement="before") == default
    batch, group = variables(model, norm="batch"), variables(model, norm="group(groups=2)")
    assert {n for n in batch if n.startswith("batch_stats")} and not {n for n in group if n.startswith("batch_stats")}
    assert {n for n in batch if "norm" in n and n.startswith("params")} == {n for n in group if "norm" in n}
    after, none = variables(model, norm="batch", placement="after"), variables(model, norm="none")
    assert after.keys() - batch.keys() == {n for n in none if n.endswith("bias") and "head" not in n}
    assert variables(model, norm="layer").keys() == variables(model, norm="layer(epsilon=1e-5)").keys()
    if model == "resnet8_tiny":
        assert variables(model, conv="standardised") == default
        with pytest.raises(ConfigError, match=r"config\.model\.conv='standard' is not known; did you mean"):
            variables(model, conv="standard")


@partial(jax.jit, static_argnums=0)
def trained(model, x):
    made = model.init(jax.random.key(0), x[:1], False)
    return model.apply(made, x, True, mutable=["batch_stats"])


@pytest.mark.curriculum("G6")
def test_placement_is_the_order_of_norm_and_activation():
    """After: what the next layer sees has mean 0; before: it is not negative."""
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype(np.float32)
    for placement in ("before", "after"):
        model = make_model("mlp_tiny", 3, "float32", norm="batch", placement=placement)
        (_, out), _ = trained(model, x)
        first = np.asarray(out["stages"][0])
        assert (first.min() >= 0) == (placement == "before")
        assert (np.abs(first.mean(0)).max() < 1e-5) == (placement == "after")
        y, _ = trained(resnet.BasicBlock(1, 1, "A", resnet.Style(placement=placement)), x[:4])
        assert (np.asarray(y).min() >= 0) == (placement == "before")


def test_lenet_drops_units_before_its_dense_layers():
    model = make_model("lenet5_tiny", 3, "float32", dropout=0.5)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
    plain = make_model("lenet5_tiny", 3, "float32")

    @jax.jit
    def run(x):
        made = model.init(jax.random.key(0), x, False)
        dropped = model.apply(made, x, True, rngs={"dropout": jax.random.key(1)})
        return plain.apply(made, x, True), model.apply(made, x, False), dropped

    without, evaluated, dropped = run(x)
    np.testing.assert_allclose(evaluated[0], without[0], rtol=1e-6)
    assert not np.allclose(dropped[0], without[0])
    np.testing.assert_allclose(dropped[1]["stages"][1], evaluated[1]["stages"][1], rtol=1e-6)


@pytest.mark.curriculum("G6", "G11")
@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        ("mlp_tiny", {"norm": "bach"}, r"config\.model\.norm='bach' is not known; did you mean 'batch'\?"),
        ("mlp_tiny", {"norm": "group(groups=3)"}, r"config\.model\.norm: group: groups=3 must divide the 16 channels"),
        ("mlp_tiny", {"norm": "group(size=3)"}, r"config\.model\.norm: group\.size is not an argument of group"),
        (
            "mlp_tiny",
            {"norm": "group(groups=16)"},
            r"group\(groups=16\) .* one value in a group.* such as 8",
        ),
        ("mlp_tiny", {"norm": "instance"}, "needs several places to average over"),
        ("mlp_tiny", {"norm": "batch | layer"}, "must be one normalisation"),
        ("mlp_tiny", {"norm": "layer(epsilon=0)"}, r"layer\(epsilon=0.0\) must be positive"),
        ("mlp_tiny", {"placement": "behind"}, r"config\.model\.placement='behind' must be 'before' or 'after'"),
        ("resnet8_tiny", {"norm": "batch(momentum=2)"}, r"batch\(momentum=2.0\), the new batch's weight"),
    ],
)
def test_a_wrong_choice_is_refused(model, fields, words):
    with pytest.raises(ConfigError, match=words):
        variables(model, **fields)


def named(text, x):
    """The result of the layer of a name, with scale 1 and bias 0 as it begins."""
    _, norm = normaliser(text, jnp.float32)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return norm(x, False, "norm")

    return Model().init_with_output(jax.random.key(0), x)[0]


@pytest.mark.curriculum("G9", "G10", "G11")
@pytest.mark.parametrize(
    ("text", "axes", "groups", "epsilon"),
    [
        ("layer", (1, 2, 3), 1, 1e-6),
        ("layer(epsilon=0.5)", (1, 2, 3), 1, 0.5),
        ("instance", (1, 2), 4, 1e-5),
        ("instance(epsilon=0.5)", (1, 2), 4, 0.5),
        ("group(groups=2)", (1, 2, 3), 2, 1e-5),
    ],
)
def test_layers_by_name_are_the_means_over_their_axes(text, axes, groups, epsilon):
    """On images of four channels; small values, where epsilon counts."""
    x = 0.01 * X[0].astype(np.float64) + 0.1
    parts = x.reshape(*x.shape[:3], groups, -1)
    axes = (1, 2, 4)
    mean, var = parts.mean(axes, keepdims=True), parts.var(axes, keepdims=True)
    expected = ((parts - mean) / np.sqrt(var + epsilon)).reshape(x.shape)
    np.testing.assert_allclose(named(text, x.astype(np.float32)), expected, atol=2e-3)


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_the_rms_layer_divides_each_place_by_its_own_root_mean_square(epsilon):
    expected = X[0] / np.sqrt((X[0] ** 2).mean(-1, keepdims=True) + epsilon)
    np.testing.assert_allclose(named(f"rms(epsilon={epsilon})", X[0]), expected, atol=1e-5)


@pytest.mark.curriculum("G13")
def test_a_standardised_resnet_does_not_see_the_scale_and_mean_of_its_kernels():
    """Its logits stay when every kernel is multiplied by 3 and shifted; a plain one's change."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32))
    for conv in ("standardised", "plain"):
        model = make_model("resnet8_tiny", 3, "float32", conv=conv, norm="group(groups=2)")
        made = jax.jit(model.init, static_argnums=2)(jax.random.key(0), x, False)
        apply = jax.jit(model.apply, static_argnums=2)
        moved = jax.tree_util.tree_map_with_path(
            lambda path, k: 3 * k + 1 if k.ndim == 4 and "shortcut" not in str(path) else k, made
        )
        before, after = (np.asarray(apply(v, x, False)[0]) for v in (made, moved))
        assert np.allclose(before, after, atol=1e-3) == (conv == "standardised")


def test_names_carry_arguments():
    kind, norm = normaliser("group(4, epsilon=0.5)", jnp.float32)
    assert kind == "group"

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return norm(x, False, "norm")

    y = Model().apply({"params": {"norm": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}}, X[0])
    x = X[0]  # four groups of one channel
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 0.5)
    np.testing.assert_allclose(y, expected, atol=1e-5)


LAYOUTS = """
import sys
import jax, numpy as np
sys.path.insert(0, sys.argv[1])
import layouts_child
from layouts_child import flat, train
norm = "--config.model.norm=batch(synchronised=False, running_var='unbiased')"
layouts_child.CASES["local"] = ["configs/classify/mlp.py", "--config.model.hidden=(16,)", norm]
one, jit, pmap, fsdp = (flat(train("local", layout)[1]) for layout in ("one", "jit", "pmap", "fsdp4"))
for other in (pmap, fsdp):
    for name, x in jit.items():
        assert np.abs(x - other[name]).max() <= 1e-9 * max(np.abs(x).max(), 1e-30), name
assert any(np.abs(x - one[name]).max() > 1e-3 for name, x in jit.items())
"""


@pytest.mark.long
def test_layouts_of_eight_devices_agree_without_synchronisation(clean_environment):
    """Over the whole State after 20 steps in float64; one device, which sees all rows, computes something else."""
    command = [sys.executable, "-c", LAYOUTS, str(Path(__file__).parents[1])]
    done = subprocess.run(
        command, env=clean_environment | virtual_devices(8), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
