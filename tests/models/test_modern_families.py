"""MobileNets, EfficientNet, ConvNeXt, Swin, MLP-Mixer and the forms of ViT: what is particular to each."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import input_of, make_model
from test_models import quick_jit

from cvdl_jax.core import counting
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.backbones import efficientnet, swin
from cvdl_jax.ops.positions import sincos

VARIANTS = registry.variants()
KEY = jax.random.key(0)


def shapes(name, side=None, classes=10, **fields):
    """((logits, out), variables) as shapes."""
    image = input_of(name) if side is None else (side, side, 3)
    model = make_model(name, classes, "float32", **fields)
    return jax.eval_shape(partial(model.init_with_output, train=False), KEY, jnp.zeros((1, *image)))


def sides(out):
    return [stage.shape[1:] for stage in out["stages"]]


@pytest.mark.curriculum("H51")
def test_mobilenet_v1_is_table_1_with_the_last_stride_1():
    """OR41, ER63: 7x7 in and out at the end; 4,209,088 weights without norms and bias."""
    (_, out), variables = shapes("mobilenet_v1", classes=1000)
    assert sides(out) == [(112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 1024)]
    kernels = [p for p in jax.tree.leaves(variables["params"]) if p.ndim > 1]
    assert counting.parameters(kernels) == 4_209_088
    full = [p for p in jax.tree.leaves(shapes("mobilenet_v1_full", classes=1000)[1]["params"]) if p.ndim > 1]
    assert counting.parameters(full) == 29_281_120
    assert VARIANTS["mobilenet_v1"].row["macs"] == 568_740_352
    assert VARIANTS["mobilenet_v1_full"].row["macs"] == 4_867_293_184


@pytest.mark.curriculum("H51")
def test_mobilenet_v1_multipliers_shrink_it_as_the_paper_says():
    """Tables 6 and 7, in millions: 569, 325, 149 and 41 multiply-adds by width, 418, 290 and 186 by resolution."""
    rows = [VARIANTS[name].row for name in ("mobilenet_v1", "mobilenet_v1_075", "mobilenet_v1_050", "mobilenet_v1_025")]
    assert [round(row["macs"] / 1e6) for row in rows] == [569, 325, 149, 41]
    assert [round(row["params"] / 1e6, 1) for row in rows] == [4.2, 2.6, 1.3, 0.5]
    model = make_model("mobilenet_v1", 1000)
    variables = shapes("mobilenet_v1", classes=1000)[1]
    macs = [
        counting.macs(partial(model.apply, train=False), variables, jax.ShapeDtypeStruct((1, side, side, 3), "float32"))
        for side in (192, 160, 128)
    ]
    assert [count // 10**6 for count in macs] == [418, 290, 186]


@pytest.mark.curriculum("H12", "H13", "H14")
def test_a_separable_block_equals_numpy_loops():
    """Channel c of the depthwise convolution sees channel c alone; the pointwise one is a product for each pixel."""
    from cvdl_jax.models.backbones.mobilenet_v1 import Block
    from cvdl_jax.nn.inverted_residual import Style

    x = np.random.default_rng(0).normal(size=(1, 5, 6, 3)).astype(np.float32)
    block = Block(4, 2, "separable", "relu", Style("none"))
    params = jax.tree.map(lambda p: p + 0.1, quick_jit(partial(block.init, train=False))(KEY, x)["params"])
    depth, point = (jax.tree.map(np.asarray, params[name]) for name in ("depthwise", "pointwise"))
    padded, got = (
        np.pad(x[0], ((1, 1), (1, 1), (0, 0))),
        quick_jit(partial(block.apply, train=False))({"params": params}, x),
    )
    for i in range(3):
        for j in range(3):
            patch = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]  # [3, 3, c]
            mid = np.maximum((patch * depth["kernel"][:, :, 0]).sum((0, 1)) + depth["bias"], 0)
            expected = np.maximum(mid @ point["kernel"][0, 0] + point["bias"], 0)
            np.testing.assert_allclose(got[0, i, j], expected, atol=1e-5)


@pytest.mark.curriculum("H52")
def test_mbconv_is_expand_depthwise_squeeze_project_and_sum():
    """Against the formulas in NumPy, without norms: the gate of a channel from the mean of all, no last activation."""
    from cvdl_jax.nn.inverted_residual import InvertedResidual, Style

    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    block = InvertedResidual(3, 6, 1, 1, squeezed=2, act="silu", squeeze_act="relu", style=Style("none"))
    params = jax.tree.map(lambda p: p + 0.2, quick_jit(partial(block.init, train=False))(KEY, x)["params"])
    p = jax.tree.map(np.asarray, params)
    silu, sigmoid = (lambda z: z / (1 + np.exp(-z))), (lambda z: 1 / (1 + np.exp(-z)))
    dense = lambda z, layer: z @ layer["kernel"].reshape(z.shape[-1], -1) + layer["bias"]  # noqa: E731
    y = silu(dense(x, p["expand"]))
    y = silu(y * p["depthwise"]["kernel"][0, 0, 0] + p["depthwise"]["bias"])
    gate = np.maximum(dense(y.mean((1, 2)), p["squeeze_excite"]["excitation"]["reduce"]), 0)
    y = y * sigmoid(dense(gate, p["squeeze_excite"]["excitation"]["expand"]))[:, None, None]
    np.testing.assert_allclose(
        quick_jit(partial(block.apply, train=False))({"params": params}, x), x + dense(y, p["project"]), atol=1e-5
    )
    strided = InvertedResidual(3, 3, 3, 2, style=Style())  # no sum, and no expansion of as many channels
    variables = jax.eval_shape(partial(strided.init, train=False), KEY, x)
    assert set(variables["params"]) == {"depthwise", "depthwise_norm", "project", "project_norm"}


def test_groups_that_do_not_divide_are_refused():
    import flax.linen as nn

    from cvdl_jax.nn.inverted_residual import Style

    class Grouped(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Style().layer(x, False, "conv", 4, groups=2)

    with pytest.raises(ConfigError, match="conv: 2 groups must divide the 3 channels of the input and the 4 of"):
        jax.eval_shape(Grouped().init, KEY, jnp.zeros((1, 4, 4, 3)))


@pytest.mark.curriculum("H53", "H52")
def test_efficientnet_b0_is_table_1():
    """OR42: layers 1, 2, 2, 3, 3, 4, 1 with kernels 3, 3, 5, 3, 5, 5, 3, and a quarter of the inputs in SE."""
    (_, out), variables = shapes("efficientnet_b0", classes=1000)
    assert sides(out) == [(112, 112, 16), (56, 56, 24), (28, 28, 40), (14, 14, 112), (7, 7, 320)]
    assert out["pre_logits"].shape == (1, 1280)
    params = variables["params"]
    blocks = [params[f"block{i}"] for i in range(16)]
    outputs = [block["project"]["kernel"].shape[-1] for block in blocks]
    assert outputs == [16, 24, 24, 40, 40, *3 * [80], *3 * [112], *4 * [192], 320]
    assert [block["depthwise"]["kernel"].shape[0] for block in blocks] == [3, 3, 3, 5, 5, *3 * [3], *7 * [5], 3]
    inputs = [32, *outputs[:-1]]
    assert [b["squeeze_excite"]["excitation"]["reduce"]["kernel"].shape[-1] for b in blocks] == [n // 4 for n in inputs]
    assert [b["depthwise"]["kernel"].shape[-1] for b in blocks] == [32, *(6 * n for n in inputs[1:])]
    assert round(VARIANTS["efficientnet_b0"].row["macs"] / 1e6, 1) == 385.8


def test_stochastic_depth_rises_over_the_blocks():
    rates = [b["drop_path"] for b in efficientnet._blocks(efficientnet.STAGES, 32, 1.0, 1.0, 0.2, "silu")]
    np.testing.assert_allclose(rates, 0.2 * np.arange(16) / 16)


DROPS = {"dropout": 0.1, "attention_dropout": 0.2, "drop_path": 0.3}


@pytest.mark.parametrize(
    ("name", "fields", "kinds"),
    [
        ("mobilenet_v1_tiny", {}, {"Dropout"}),
        ("mobilenet_v2_tiny", {"stages": ((1, 8, 2, 1),)}, {"Dropout", "DropPath"}),
        ("mobilenet_v3_tiny", {}, {"Dropout", "DropPath"}),
        ("efficientnet_tiny", {"stages": ((1, 3, 1, 8, 2),)}, {"Dropout", "DropPath"}),
        ("convnext_8_16_tiny", {}, {"DropPath"}),
        ("swin_8_16_tiny", {}, {"Dropout", "DropPath", "attention"}),
        ("mixer_4_16_tiny", {}, {"Dropout", "DropPath"}),
    ],
)
def test_every_rate_reaches_its_layers(name, fields, kinds):
    """In training; the rate of stochastic depth is whole in the last block, but in EfficientNet, and 0 in the first."""
    import flax.linen as nn

    rates = {field: rate for field, rate in DROPS.items() if field in type(make_model(name, 3)).__dataclass_fields__}
    model, seen = make_model(name, 3, "float32", **rates, **fields), []

    def note(call, args, kwargs, context):
        if getattr(context.module, "rate", 0):
            assert args[1] is True
            seen.append((type(context.module).__name__, context.module.rate))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(partial(model.init, train=True), KEY, jnp.zeros((2, 16, 16, 3)))
    assert {kind for kind, _ in seen} == kinds - {"attention"}
    assert {rate for kind, rate in seen if kind == "Dropout"} == {0.1, 0.2} - (
        {0.2} if "attention" not in kinds else set()
    ) - ({0.1} if "Dropout" not in kinds else set())
    paths = [rate for kind, rate in seen if kind == "DropPath"]
    assert not paths or max(paths) == pytest.approx(0.15 if name == "efficientnet_tiny" else 0.3)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0",
                                  "convnext_tiny", "swin_t"])  # fmt: skip
def test_any_image_of_at_least_the_stride_is_taken(name):
    (logits, out), _ = shapes(name, 45)
    assert logits.shape == (1, 10) and len(out["stages"]) in (4, 5)
    with pytest.raises(
        ConfigError, match=r"takes images of at least 32x32 pixels, got 31x31; set config.data.image_size"
    ):
        shapes(name, 31)


@pytest.mark.parametrize(("name", "fields", "message"), [
    ("mobilenet_v1_tiny", {"strides": (1,)}, "need one entry per block"),
    ("mobilenet_v2_tiny", {"stages": ()}, "needs at least one"),
    ("mobilenet_v3_tiny", {"blocks": ((2, 8, 8, False, "relu", 1),)}, "odd kernels"),
    ("efficientnet_tiny", {"stages": ((1, 2, 1, 8, 1),)}, "odd kernels"),
    ("convnext_8_16_tiny", {"depths": (1,)}, "need one entry per stage"),
    ("swin_8_16_tiny", {"heads": (2,)}, "need one entry per stage"),
    ("swin_8_16_tiny", {"heads": (3, 3)}, "heads=3 must divide the width 8"),
    ("mixer_4_16_tiny", {"image_size": 20}, "mlp_mixer has weights for images of 20x20 pixels, got 16x16"),
    ("mixer_4_16_tiny", {"patch_size": 3}, r"patch_size=3 does not divide the image, 16x16; use one of \[1, 2, 4"),
    ("vit_patch4_16_tiny", {"registers": -1}, "registers=-1 must be 0 or more"),
])  # fmt: skip
def test_a_wrong_field_is_one_sentence(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        shapes(name, **fields)


def test_convnext_block_equals_numpy():
    """Layer scale multiplies the branch alone; the norm stands behind the depthwise convolution."""
    from scipy import special

    from cvdl_jax.models.backbones.convnext import Block

    x = np.random.default_rng(1).normal(size=(1, 1, 1, 4)).astype(np.float32)  # one pixel: the kernel's centre alone
    block = Block(0.5, 0.0)
    params = jax.tree.map(lambda p: p + 0.1, quick_jit(partial(block.init, train=False))(KEY, x)["params"])
    p = jax.tree.map(np.asarray, params)
    y = x * p["depthwise"]["kernel"][3, 3, 0] + p["depthwise"]["bias"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6) * p["norm"]["scale"] + 0.1
    y = y @ p["dense0"]["kernel"] + p["dense0"]["bias"]
    y = (y * special.ndtr(y)) @ p["dense1"]["kernel"] + p["dense1"]["bias"]
    np.testing.assert_allclose(
        quick_jit(partial(block.apply, train=False))({"params": params}, x), x + 0.6 * y, atol=1e-5
    )


def test_mixer_mixes_places_and_then_channels():
    """The first perceptron sees one channel of all places: what it does to a channel ignores the others."""
    from cvdl_jax.models.backbones.mlp_mixer import Perceptron

    x = np.random.default_rng(0).normal(size=(1, 6, 4)).astype(np.float32)  # [b, n, d]
    model = make_model("mixer_4_16_tiny", 3)
    variables = jax.eval_shape(partial(model.init, train=False), KEY, jnp.zeros((1, 16, 16, 3)))["params"]["block0"]
    assert variables["tokens"]["dense0"]["kernel"].shape == (16, 8)  # places to D_S
    assert variables["channels"]["dense0"]["kernel"].shape == (16, 32)  # channels to D_C
    layer = Perceptron(5, 0.0)
    params = layer.init(KEY, x.swapaxes(1, 2), False)
    other = x.copy()
    other[..., 1:] += 1
    mixed, again = (layer.apply(params, z.swapaxes(1, 2), False) for z in (x, other))
    np.testing.assert_array_equal(mixed[:, 0], again[:, 0])


@pytest.mark.curriculum("J22")
def test_swin_bias_is_a_number_for_each_offset():
    """Of a 2x2 window: nine offsets, the middle one for a pixel and itself; opposite offsets are different numbers."""
    index = swin.offsets(2)
    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert swin.offsets(7).shape == (49, 49) and swin.offsets(7).max() == 168


@pytest.mark.curriculum("J22")
def test_swin_shifted_windows_attend_to_neighbours_only():
    """Against attention over the whole map, with everything but the pixels of one shifted window masked by hand."""
    from scipy import special

    window, shift, side, c = 4, 2, 8, 4
    x = np.random.default_rng(0).normal(size=(2, side, side, c)).astype(np.float32)
    layer = swin.WindowAttention(2, window, shift, 0.0)
    params = jax.tree.map(lambda p: 30 * p, quick_jit(partial(layer.init, train=False))(KEY, x)["params"])
    p = jax.tree.map(np.asarray, params)
    rows, columns = (place.ravel() for place in np.indices((side, side)))
    home = lambda place: (place - shift) // window  # noqa: E731  # -1, 0, 1: no window goes over the edge
    same = (home(rows)[:, None] == home(rows)) & (home(columns)[:, None] == home(columns))
    row = (rows[:, None] - rows + window - 1) * (2 * window - 1) + columns[:, None] - columns + window - 1
    tokens = x.reshape(2, -1, c)
    qkv = (tokens @ p["attention"]["qkv"]["kernel"] + p["attention"]["qkv"]["bias"]).reshape(2, -1, 3, 2, c // 2)
    heads = []
    for h in range(2):
        q, k, v = (qkv[:, :, i, h] for i in range(3))
        scores = q @ k.swapaxes(1, 2) / np.sqrt(c // 2)
        bias = p["relative_bias"][np.where(same, row, 0), h]
        heads.append(special.softmax(np.where(same, scores + bias, -np.inf), -1) @ v)
    expected = np.concatenate(heads, -1) @ p["attention"]["proj"]["kernel"] + p["attention"]["proj"]["bias"]
    got = quick_jit(partial(layer.apply, train=False))({"params": params}, x)
    np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=1e-3)


def test_swin_pads_maps_and_does_not_shift_a_single_window():
    x = np.random.default_rng(0).normal(size=(1, 3, 5, 4)).astype(np.float32)
    layer = swin.WindowAttention(2, 5, 2, 0.0)
    variables = quick_jit(partial(layer.init, train=False))(KEY, x)
    padded = np.pad(x, ((0, 0), (0, 2), (0, 0), (0, 0)))
    unshifted = layer.clone(shift=0).apply(variables, padded, False)[:, :3]
    np.testing.assert_allclose(layer.apply(variables, x, False), unshifted, atol=1e-6)
    assert swin.shift_mask(8, 4, 4, (2, 0)).min() == swin.NEVER and not swin.shift_mask(8, 4, 4, (2, 0))[0].any()


@pytest.mark.curriculum("J22")
def test_swin_merges_four_neighbours():
    x = np.arange(2 * 3 * 2, dtype=np.float32).reshape(1, 2, 3, 2)
    layer = swin.PatchMerging()
    params = layer.init(KEY, x)["params"]
    assert params["reduction"]["kernel"].shape == (8, 4) and "bias" not in params["reduction"]
    last = np.concatenate([x[0, 0, 2], x[0, 1, 2], np.zeros(4)])  # beyond the edge: zeros
    z = (last - last.mean()) / np.sqrt(last.var() + 1e-5)
    np.testing.assert_allclose(
        layer.apply({"params": params}, x)[0, 0, 1], z @ params["reduction"]["kernel"], atol=1e-5
    )


@pytest.mark.curriculum("J19")
def test_vit_sees_197_tokens_and_its_forms_a_few_more():
    """OR77: 14 x 14 patches and the class token; distillation token, registers; positions of patches alone."""
    (_, out), variables = shapes("vit_base_patch16_224")
    assert out["tokens"].shape == (1, 197, 768) and variables["params"]["positions"].shape == (1, 197, 768)
    (_, out), variables = shapes("deit_tiny_distilled_patch16_224")
    assert out["tokens"].shape == (1, 198, 192) and variables["params"]["positions"].shape == (1, 198, 192)
    (_, out), variables = shapes("vit_small_patch14_reg4_dinov2")
    assert out["tokens"].shape == (1, 1 + 4 + 37 * 37, 384)
    assert variables["params"]["positions"].shape == (1, 37 * 37, 384)


def test_distilled_scores_are_the_mean_of_two_heads_and_registers_have_no_place():
    fields = {"distilled": True, "registers": 2, "all_positions": False, "layer_scale": 0.1, "depth": 1}
    model = make_model("vit_patch4_16_tiny", 3, **fields)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(KEY, x)
    params = variables["params"]
    assert set(params) == {
        "block0", "class_token", "distillation_token", "head", "head_distillation", "norm", "patch_embed", "positions",
        "registers",
    }  # fmt: skip
    params = {**params, "registers": params["registers"] + np.array([[[1.0], [2.0]]])}
    params = jax.tree.map(np.asarray, params)
    logits, out = jax.tree.map(np.asarray, quick_jit(partial(model.apply, train=False))({"params": params}, x))
    dense = lambda z, layer: np.asarray(z) @ layer["kernel"] + np.asarray(layer["bias"])  # noqa: E731
    first, second = dense(out["tokens"][:, 0], params["head"]), dense(out["tokens"][:, 1], params["head_distillation"])
    np.testing.assert_allclose(logits, (first + second) / 2, atol=1e-5)
    np.testing.assert_allclose(out["heads"], (first, second), atol=1e-5)
    np.testing.assert_allclose(out["pre_logits"], out["tokens"][:, :2].mean(1), atol=1e-5)
    swapped = {**params, "registers": params["registers"][:, ::-1]}
    again, other = quick_jit(partial(model.apply, train=False))({"params": swapped}, x)
    np.testing.assert_allclose(again, logits, atol=1e-5)  # a token without a place has no order ...
    np.testing.assert_allclose(other["tokens"][:, 2:4], out["tokens"][:, 3:1:-1], atol=1e-5)  # ... and stands here
    features, out = make_model("vit_patch4_16_tiny", 0, **fields).apply({"params": params}, x, False)
    np.testing.assert_allclose(features, out["pre_logits"], atol=1e-6)


def test_vit_reads_the_mean_of_patches_that_stand_where_sines_say():
    """No class token, no learned positions; the score is the head of the mean; positions break the symmetry."""
    fields = {"pool": "mean", "sincos": True, "depth": 1}
    model = make_model("vit_patch4_16_tiny", 3, **fields)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    params = quick_jit(partial(model.init, train=False))(KEY, x)["params"]
    assert set(params) == {"block0", "head", "norm", "patch_embed"}
    apply = quick_jit(partial(model.apply, train=False, capture_intermediates=True))
    (logits, out), seen = apply({"params": params}, x)
    mean = np.asarray(out["tokens"]).mean(1)
    np.testing.assert_allclose(out["pre_logits"], mean, atol=1e-5)
    np.testing.assert_allclose(
        logits, mean @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])[None], atol=1e-5
    )
    patches = np.asarray(seen["intermediates"]["patch_embed"]["__call__"][0]).reshape(2, 16, 16)
    first = seen["intermediates"]["block0"]["norm0"]["__call__"][0]  # of patches plus positions
    z = patches + np.asarray(sincos((4, 4), 16))[None]
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(first, z, atol=2e-3)
    for more in ({"registers": 1}, {"distilled": True}):
        with pytest.raises(ConfigError, match="pool='mean' is of all tokens, and distilled or registers add some"):
            jax.eval_shape(partial(make_model("vit_patch4_16_tiny", 3, **fields, **more).init, train=False), KEY, x)


NAMED = (  # of each scheme of names one
    "mobilenetv1_100", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_b1", "convnext_tiny",
    "swin_t", "mixer_s16_224", "vit_b_32", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_the_names_of_other_libraries_cover_every_array(name):
    variables = shapes(name, classes=1000)[1]
    paths = {"/".join(key.key for key in path): p for path, p in jax.tree_util.tree_leaves_with_path(variables)}
    names = VARIANTS[name].family().torch_names(name)
    assert names.keys() == paths.keys()
    assert len({torch for torch, _ in names.values()}) == len(names)
    axes = {"conv": 4, "dense": 2, "pixel": 2, "factors": 1}
    assert {path: axes[how] for path, (_, how) in names.items() if how} == {
        path: paths[path].ndim for path, (_, how) in names.items() if how
    }
