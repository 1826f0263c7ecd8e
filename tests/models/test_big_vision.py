"""Vision Transformers by the names of vit_jax and big_vision: a whole forward pass in NumPy, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model
from scipy.special import erf
from test_models import quick_jit

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import pretrained

D, HEADS, DEPTH, PATCHES, CLASSES = 16, 2, 2, 16, 3
SECTION = {"name": "vit_patch4_16_tiny"}
IMAGE = np.random.default_rng(5).normal(size=(2, 16, 16, 3)).astype(np.float32)


def weights(style):
    """Random weights: "vit_jax" has a class token with a position, "tok" one without, "gap" and "sincos" none."""
    rng = np.random.default_rng(3)
    draw = lambda *shape: 0.5 * rng.normal(size=shape).astype(np.float32)  # noqa: E731
    old = style == "vit_jax"
    attention, norm, mlp = ("_1", "LayerNorm_2", "MlpBlock_3") if old else ("_0", "LayerNorm_1", "MlpBlock_0")
    w = {"embedding/kernel": draw(4, 4, 3, D), "embedding/bias": draw(D), "head/bias": draw(CLASSES)}
    w |= {"head/kernel": draw(D, CLASSES), "Transformer/encoder_norm/scale": draw(D) + 1}
    w["Transformer/encoder_norm/bias"] = draw(D)
    if style in ("vit_jax", "tok"):
        w["cls"] = draw(1, 1, D)
    if style != "sincos":
        name = "Transformer/posembed_input/pos_embedding" if old else "pos_embedding"
        w[name] = draw(1, PATCHES + old, D)
    for i in range(DEPTH):
        block, h = f"Transformer/encoderblock_{i}", D // HEADS
        for layer in ("LayerNorm_0", norm):
            w |= {f"{block}/{layer}/scale": draw(D) + 1, f"{block}/{layer}/bias": draw(D)}
        for layer in ("query", "key", "value"):
            w[f"{block}/MultiHeadDotProductAttention{attention}/{layer}/kernel"] = draw(D, HEADS, h)
            w[f"{block}/MultiHeadDotProductAttention{attention}/{layer}/bias"] = draw(HEADS, h)
        w[f"{block}/MultiHeadDotProductAttention{attention}/out/kernel"] = draw(HEADS, h, D)
        w[f"{block}/MultiHeadDotProductAttention{attention}/out/bias"] = draw(D)
        for j, (n, m) in enumerate(((D, 4 * D), (4 * D, D))):
            w |= {f"{block}/{mlp}/Dense_{j}/kernel": draw(n, m), f"{block}/{mlp}/Dense_{j}/bias": draw(m)}
    return w


def norm(x, w, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * w[f"{name}/scale"] + w[f"{name}/bias"]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def scores(w, style):
    """As the JAX code of the weights computes, with exact GELU: one head after the other."""
    w = {name: x.astype(np.float64) for name, x in w.items()}
    patches = IMAGE.reshape(2, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, PATCHES, 48)
    x = patches @ w["embedding/kernel"].reshape(48, D) + w["embedding/bias"]
    cls = np.broadcast_to(w["cls"], (2, 1, D)) if "cls" in w else None
    if style == "vit_jax":
        x = np.concatenate([cls, x], 1) + w["Transformer/posembed_input/pos_embedding"]
    elif style == "tok":
        x = np.concatenate([cls, x + w["pos_embedding"]], 1)
    elif style == "gap":
        x = x + w["pos_embedding"]
    old = style == "vit_jax"
    attention, second, mlp = ("_1", "LayerNorm_2", "MlpBlock_3") if old else ("_0", "LayerNorm_1", "MlpBlock_0")
    for i in range(DEPTH):
        block = f"Transformer/encoderblock_{i}"
        y, out = norm(x, w, f"{block}/LayerNorm_0"), 0
        at = f"{block}/MultiHeadDotProductAttention{attention}"
        for h in range(HEADS):
            q, k, v = (y @ w[f"{at}/{n}/kernel"][:, h] + w[f"{at}/{n}/bias"][h] for n in ("query", "key", "value"))
            out = out + softmax(q @ k.transpose(0, 2, 1) / np.sqrt(D // HEADS)) @ v @ w[f"{at}/out/kernel"][h]
        x = x + out + w[f"{at}/out/bias"]
        y = norm(x, w, f"{block}/{second}") @ w[f"{block}/{mlp}/Dense_0/kernel"] + w[f"{block}/{mlp}/Dense_0/bias"]
        y = y * (1 + erf(y / np.sqrt(2))) / 2
        x = x + y @ w[f"{block}/{mlp}/Dense_1/kernel"] + w[f"{block}/{mlp}/Dense_1/bias"]
    x = norm(x, w, "Transformer/encoder_norm")
    return (x[:, 0] if "cls" in w else x.mean(1)) @ w["head/kernel"] + w["head/bias"]


def nested(arrays):
    tree = {}
    for name, x in arrays.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = jnp.asarray(x)
    return tree


@pytest.mark.curriculum("I7", "J19")
@pytest.mark.parametrize("style", ["vit_jax", "tok", "gap"])
def test_scores_are_those_of_the_code_that_made_the_weights(style):
    w, fields = weights(style), {"pool": "mean"} if style == "gap" else {}
    prefix = "params/" if style == "tok" else ""
    found = pretrained.imported({prefix + name: x for name, x in w.items()}, {**SECTION, **fields})
    assert found.unknown == ()
    model = make_model(SECTION["name"], CLASSES, "float32", **fields)
    tree = nested(found.arrays)
    shapes = jax.eval_shape(lambda k: model.init(k, IMAGE, False), jax.random.key(0))
    assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, dict(shapes))
    logits = quick_jit(lambda v: model.apply(v, IMAGE, False)[0])(tree)
    expected = scores(w, style)
    np.testing.assert_allclose(logits, expected, atol=2e-4 * expected.std())
    assert expected.std() > 0.3


def test_positions_of_models_whose_class_token_has_none():
    """vit_jax's class token and its position are one token to DINOv2's form."""
    w = weights("vit_jax")
    place = w["Transformer/posembed_input/pos_embedding"]
    found = pretrained.imported(w, {**SECTION, "all_positions": False}).arrays
    np.testing.assert_array_equal(found["params/positions"], place[:, 1:])
    np.testing.assert_array_equal(found["params/class_token"], w["cls"] + place[:, :1])


def test_a_layer_before_the_head_leaves_the_head_out():
    w = {**weights("vit_jax"), "pre_logits/kernel": np.zeros((D, D)), "opt/0/mu/head/kernel": np.zeros(3)}
    found = pretrained.imported(w, SECTION)
    assert set(found.unknown) == {"pre_logits/kernel", "head/kernel", "head/bias"}
    assert not any("head" in name for name in found.arrays)


@pytest.mark.parametrize(
    ("style", "fields", "error", "words"),
    [
        ("gap", {}, ConfigError, "pool='token', and the weights have the mean of the patches; set --config.model.pool"),
        ("tok", {"pool": "mean"}, ConfigError, "pool='mean', and the weights have a class token; set --config.model"),
        (
            "sincos",
            {"pool": "mean"},
            ConfigError,
            r"have fixed positions; set --config\.model\.sincos=True",
        ),
        ("gap", {"pool": "mean", "sincos": True}, ConfigError, r"learned positions; set --config\.model\.sincos=False"),
        ("tok", {"heads": 4}, ConfigError, r"heads=4, and the weights have 2; set --config\.model\.heads=2"),
        ("tok", {"name": "resnet18"}, ConfigError, "name='resnet18': the file has the weights of a Vision Transformer"),
    ],
)
def test_settings_that_contradict_the_weights_are_refused(style, fields, error, words):
    with pytest.raises(error, match=words):
        pretrained.imported(weights(style), {**SECTION, **fields})


def test_attention_pooling_and_blocks_that_are_not_whole_are_refused():
    w = weights("gap")
    with pytest.raises(DataError, match="'MAPHead_0/probe': these weights pool the patches by attention"):
        pretrained.imported({**w, "MAPHead_0/probe": np.zeros((1, 1, D))}, {**SECTION, "pool": "mean"})
    del w["Transformer/encoderblock_1/MultiHeadDotProductAttention_0/key/bias"]
    with pytest.raises(DataError, match="encoderblock_1 has no key/bias; the file is not whole"):
        pretrained.imported(w, {**SECTION, "pool": "mean"})


def test_fixed_positions_need_no_array():
    found = pretrained.imported(weights("sincos"), {**SECTION, "pool": "mean", "sincos": True})
    assert found.unknown == () and not any("position" in name for name in found.arrays)
