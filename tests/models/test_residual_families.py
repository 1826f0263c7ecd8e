"""Residual networks of every family: worked counts, strides, the forms of ResNeXt, attention to channels and places."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model
from test_models import quick_jit

from cvdl_jax.core import counting
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.backbones import resnet_imagenet
from cvdl_jax.models.backbones.resnet_imagenet import Basic, Bottleneck
from cvdl_jax.nn.residual import Style
from cvdl_jax.nn.squeeze_excite import BlockAttention, SqueezeExcite


def made(module, *args):
    return quick_jit(lambda *args: module.init(jax.random.key(0), *args, False))(*args)


def sizes(name, side=224, **fields):
    """(parameters, multiply-accumulates) with 1000 classes."""
    model = make_model(name, 1000, **fields)
    x = jnp.zeros((1, side, side, 3))
    init = partial(model.init_with_output, train=False)
    jaxpr, (_, variables) = jax.make_jaxpr(init, return_shape=True)(jax.random.key(0), x)
    return counting.parameters(variables["params"]), counting.jaxpr_macs(jaxpr.jaxpr)


# The table of Woo et al. 2018: parameters without and with squeeze-and-excitation and CBAM, all with biases; 1e9
# multiply-accumulates with the stride in the first 1x1 convolution.
CBAM = {
    "resnet18": (11_689_512, 11_778_592, 11_779_392, 1.814073),
    "resnet34": (21_797_672, 21_958_868, 21_960_468, 3.663761),
    "resnet50_v1": (25_557_032, 28_088_024, 28_089_624, 3.857973),
    "resnet101_v1": (44_549_160, 49_326_872, 49_330_172, 7.570194),
    "wide_resnet18_1_5": (25_875_816, 26_074_716, 26_075_516, 3.866327),
    "wide_resnet18_2": (45_618_216, 45_970_456, 45_971_256, 6.695707),
    "resnext50_32x4d": (25_028_904, 27_559_896, 27_561_496, 3.768058),
    "resnext101_32x4d": (44_177_704, 48_955_416, 48_958_716, 7.507575),
}


@pytest.mark.curriculum("H44", "H45", "H47")
@pytest.mark.parametrize("name", CBAM)
def test_table_of_cbam_without_attention(name):
    """Where the row has the stride of the table, its counts, which the tests of all variants compare with the model."""
    row, (plain, _, _, macs) = resnet_imagenet.VARIANTS[name], CBAM[name]
    assert row["params"] == plain
    if "resnext" not in name:
        assert round(row["macs"] / 1e9, 6) == macs


@pytest.mark.curriculum("H48", "H50", "J28")
@pytest.mark.parametrize("name", ["resnet18", "wide_resnet18_1_5", "resnext50_32x4d"])
def test_table_of_cbam(name):
    check_cbam(name)


@pytest.mark.long
@pytest.mark.curriculum("H50", "J28")
@pytest.mark.parametrize("name", sorted(CBAM.keys() - {"resnet18", "wide_resnet18_1_5", "resnext50_32x4d"}))
def test_table_of_cbam_of_the_others(name):
    check_cbam(name)


def check_cbam(name):
    plain, se, cbam, macs = CBAM[name]
    counted = sizes(name, stride_in="1x1")
    assert counted[0] == plain and round(counted[1] / 1e9, 6) == macs
    assert sizes(name, 32, attention="se")[0] == se
    assert sizes(name, 32, attention="cbam")[0] == cbam


@pytest.mark.curriculum("H45")
def test_the_stride_is_where_it_is_said_to_be():
    """The same parameters; the 1x1 convolution of a stage's first block makes 4x4 pixels, or the 3x3 does."""
    x = jnp.zeros((1, 8, 8, 8))
    kernels = {}
    for stride_in, side in (("1x1", 4), ("3x3", 8)):
        block = Bottleneck(8, 16, 2, stride_in, 1, "B")
        _, state = jax.eval_shape(
            lambda block=block: block.init_with_output(jax.random.key(0), x, False, capture_intermediates=True)
        )
        shapes = {name: layer["__call__"][0].shape for name, layer in state["intermediates"].items() if "conv" in name}
        assert shapes == {"conv0": (1, side, side, 8), "conv1": (1, 4, 4, 8), "conv2": (1, 4, 4, 16)}
        kernels[stride_in] = jax.tree.map(jnp.shape, state["params"])
    assert kernels["1x1"] == kernels["3x3"]


@pytest.mark.curriculum("H43")
def test_a_block_without_weights_is_the_identity():
    """y = relu(0 + a) = a for a >= 0; the derivative of F(x) + x is that of F plus 1."""
    style = Style(norm="none")
    x = np.random.default_rng(0).uniform(size=(2, 4, 4, 8)).astype(np.float32)
    for block in (Basic(8, 1, "B", style=style), Bottleneck(4, 8, 1, "3x3", 1, "B", style=style)):
        params = made(block, x)["params"]
        np.testing.assert_array_equal(
            quick_jit(partial(block.apply, train=False))({"params": jax.tree.map(np.zeros_like, params)}, x), x
        )
    block = Bottleneck(4, 8, 1, "3x3", 1, "B", style=style._replace(activation="identity"))
    params = made(block, x)["params"]
    tangent = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

    @quick_jit
    def derivatives(params, x, tangent):
        whole = lambda z: block.apply({"params": params}, z, False)  # noqa: E731
        return [jax.jvp(f, (x,), (tangent,))[1] for f in (whole, lambda z: whole(z) - z)]

    of_whole, of_branch = derivatives(params, x, tangent)
    np.testing.assert_allclose(of_whole, of_branch + tangent, atol=1e-5)


def conv(x, kernel, groups=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


@pytest.mark.curriculum("H48")
def test_three_forms_of_a_resnext_block_are_equal():
    """Figure 3 of Xie et al. 2017: (a) a sum of branches, (b) branches concatenated before the last convolution, (c) a
    grouped convolution, which is what the block does.
    """
    groups, width = 4, 3
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 8)).astype(np.float32)
    block = Bottleneck(groups * width, 8, 1, "3x3", groups, "B", style=Style(norm="none"))
    params = made(block, x)["params"]
    params = jax.tree.map(
        lambda p: np.asarray(p) + np.linspace(0, 0.05, p.size, dtype=np.float32).reshape(p.shape), params
    )

    @quick_jit
    def forms(params, x):
        k = [params[f"conv{i}"]["kernel"] for i in range(3)]
        b = [params[f"conv{i}"]["bias"][None, None, None] for i in range(3)]
        parts = [slice(width * i, width * (i + 1)) for i in range(groups)]
        inner = []
        for part in parts:
            z = jax.nn.relu(conv(x, k[0][..., part]) + b[0][..., part])
            inner.append(jax.nn.relu(conv(z, k[1][..., part]) + b[1][..., part]))
        summed = sum(conv(z, k[2][:, :, part]) for z, part in zip(inner, parts, strict=True)) + b[2]
        joined = conv(jnp.concatenate(inner, -1), k[2]) + b[2]
        return jax.nn.relu(summed + x), jax.nn.relu(joined + x), block.apply({"params": params}, x, False)

    summed, joined, grouped = forms(params, x)
    np.testing.assert_allclose(summed, grouped, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(joined, grouped, rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("H50")
def test_squeeze_and_excitation_equals_its_equations():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype(np.float32)
    layer = SqueezeExcite(2)
    params = jax.tree.map(lambda p: np.asarray(p) + 0.3, quick_jit(layer.init)(jax.random.key(0), x)["params"])
    w = jax.tree.map(np.asarray, params["excitation"])
    z = x.mean((1, 2))
    hidden = np.maximum(z @ w["reduce"]["kernel"] + w["reduce"]["bias"][None], 0)
    s = 1 / (1 + np.exp(-(hidden @ w["expand"]["kernel"] + w["expand"]["bias"][None])))
    np.testing.assert_allclose(layer.apply({"params": params}, x), x * s[:, None, None], rtol=1e-5, atol=1e-6)
    assert counting.parameters(params) == 8 * 2 + 2 + 2 * 8 + 8


@pytest.mark.curriculum("H50", "J26", "J27")
@pytest.mark.parametrize("plain", [False, True])
def test_block_attention_equals_its_equations(plain):
    """Channels first, by mean and maximum through one perceptron; then places, by maximum and mean of the channels."""
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype(np.float32)
    layer = BlockAttention(2, plain=plain)
    variables = made(layer, x)
    params = jax.tree.map(lambda p: np.asarray(p) + 0.1, variables["params"])
    w = jax.tree.map(np.asarray, params)
    e = w["excitation"]
    bias = lambda name: 0 if plain else e[name]["bias"][None]  # noqa: E731
    perceptron = lambda z: (  # noqa: E731
        np.maximum(z @ e["reduce"]["kernel"] + bias("reduce"), 0) @ e["expand"]["kernel"] + bias("expand")
    )
    gate = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    v = x * gate(perceptron(x.mean((1, 2))) + perceptron(x.max((1, 2))))[:, None, None]
    two = np.pad(np.stack([v.max(-1), v.mean(-1)], -1), ((0, 0), (3, 3), (3, 3), (0, 0)))
    places = np.zeros((2, 3, 5, 1))
    for i in range(3):
        for j in range(5):
            places[:, i, j, 0] = (two[:, i : i + 7, j : j + 7] * w["conv"]["kernel"][None, ..., 0]).sum((1, 2, 3))
    if not plain:
        places = places / np.sqrt(1 + 1e-5) * w["norm"]["scale"] + w["norm"]["bias"]
    result = quick_jit(lambda v: layer.apply(v, x, False))({**variables, "params": params})
    np.testing.assert_allclose(result, v * gate(places), rtol=1e-4, atol=1e-5)
    assert counting.parameters(params) == (32 + 98 if plain else 42 + 98 + 2)


@pytest.mark.curriculum("J26", "J27")
def test_block_attention_worked_by_hand():
    """Two pixels of two channels, one hidden unit. W0 = (1, 1), W1 = (1, -1): of the mean (2, 2) the perceptron makes
    (4, -4), of the maximum (3, 4) it makes (7, -7), so the channels are scaled by sigmoid(11) and sigmoid(-11). The
    kernel sees the pixel itself: -1 times the largest channel and 1 times the mean one.
    """
    x = np.array([[[[3, 0], [1, 4]]]], np.float32)  # [1, 1, 2, 2]
    kernel = np.zeros((7, 7, 2, 1), np.float32)
    kernel[3, 3, :, 0] = -1, 1
    excitation = {"reduce": {"kernel": np.ones((2, 1))}, "expand": {"kernel": np.array([[1.0, -1.0]])}}
    params = {"excitation": excitation, "conv": {"kernel": kernel}}
    result = quick_jit(lambda v: BlockAttention(1, plain=True).apply(v, x, False))({"params": params})
    gate = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    a, b = gate(11.0), gate(-11.0)
    first, second = gate(-3 * a + 1.5 * a), gate(-a + (a + 4 * b) / 2)
    expected = [[3 * a * first, 0], [a * second, 4 * b * second]]
    np.testing.assert_allclose(result[0, 0], expected, rtol=1e-5)


@pytest.mark.curriculum("J28")
def test_attention_is_in_every_block_behind_its_last_normalisation():
    """Of all families of the table. A branch without weights, whose last normalisation adds 1, is 1 times the gates of
    1/2, a quarter: what attention on the sum with the shortcut, or before the normalisation, would not give.
    """
    parts = {"cbam": {"excitation", "conv", "norm"}, "cbam_plain": {"excitation", "conv"}}
    for name, kind in (("resnet18", "cbam"), ("wide_resnet18_2", "cbam_plain"), ("resnext50_32x4d", "cbam")):
        model = make_model(name, 10, attention=kind, depths=(2, 2), widths=(64, 128))
        params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        blocks = [layers for key, layers in params["params"].items() if "block" in key]
        assert [set(layers["attention"]) for layers in blocks] == [parts[kind]] * 4
    x = np.random.default_rng(0).uniform(size=(1, 4, 4, 8)).astype(np.float32)
    scale = ("cbam", 4)
    for block, last in ((Basic(8, 1, "B", scale), "norm1"), (Bottleneck(4, 8, 1, "3x3", 1, "B", scale), "norm2")):
        variables = made(block, x)
        params = jax.tree.map(np.zeros_like, variables["params"])
        params[last]["bias"] = params[last]["bias"] + 1
        result = quick_jit(partial(block.apply, train=False))({**variables, "params": params}, x)
        np.testing.assert_allclose(result, x + 0.25, rtol=1e-6)


@pytest.mark.curriculum("J26", "J28")
def test_the_lecture_code_has_fewer_parameters_than_the_table():
    """Without the perceptrons' biases and the maps' normalisations ResNet-50 has 28.07 M and not the 28.09 M printed;
    the reduction is the one that was asked for.
    """
    assert sizes("resnet50_v1", 32, attention="cbam_plain")[0] == 28_073_544
    fourth, eighth = (sizes("resnext_cbam_tiny", 32, attention="cbam_plain", reduction=r)[0] for r in (4, 8))
    assert fourth - eighth == 2 * (16 * 16 + 32 * 32) // 8  # the blocks return 16 and 32 channels


@pytest.mark.curriculum("H44")
def test_stages_are_those_of_the_paper():
    """Table 1: 56, 28, 14 and 7 pixels; a larger image has larger maps."""
    model = make_model("resnet18", 1000)
    for side in (224, 320):
        (logits, out), _ = jax.eval_shape(
            partial(model.init_with_output, train=False), jax.random.key(0), jnp.zeros((1, side, side, 1))
        )
        stages = [(1, side // r, side // r, c) for r, c in ((4, 64), (8, 128), (16, 256), (32, 512))]
        assert [stage.shape for stage in out["stages"]] == stages and logits.shape == (1, 1000)


@pytest.mark.curriculum("H48")
def test_resnext_for_cifar_keeps_32_pixels_until_its_second_stage():
    """Xie et al. 2017, section 5.3: 3x3 stem, 32, 16 and 8 pixels, 256, 512 and 1,024 channels."""
    model = make_model("resnext29_8x64d", 10, depths=(1, 1, 1))
    (_, out), variables = jax.eval_shape(
        partial(model.init_with_output, train=False), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    assert [s.shape[1:] for s in out["stages"]] == [(32, 32, 256), (16, 16, 512), (8, 8, 1024)]
    params = variables["params"]
    assert params["stem"]["kernel"].shape == (3, 3, 3, 64)
    assert params["stage0_block0"]["conv1"]["kernel"].shape == (3, 3, 64, 512)  # 8 groups of 64


def test_stochastic_depth_rises_from_block_to_block():
    """All rows keep the first block; of the second, whose rate is the last one's, a row keeps the branch or not, and
    what it keeps is scaled.
    """
    fields = {"block": "basic", "attention": "none", "cardinality": 1, "group_width": 64, "drop_path": 0.5}
    model = make_model("resnext_cbam_tiny", 10, **fields)
    x = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype(np.float32)
    variables = made(model, x)

    @quick_jit
    def stages(variables, key):
        apply = partial(model.apply, mutable=["batch_stats"], capture_intermediates=True)
        _, seen = apply(variables, x, True, rngs={"dropout": key})
        blocks = [seen["intermediates"][f"stage{i}_block0"] for i in (0, 1)]
        return [(b["norm1"]["__call__"][0], b["shortcut"]["__call__"][0], b["__call__"][0]) for b in blocks]

    seen = jax.tree.map(np.asarray, stages(variables, jax.random.key(1)))
    for i, rate in ((0, 0.0), (1, 0.5)):
        branch, short, y = seen[i]
        with_branch = np.maximum(short + branch / (1 - rate), 0)
        kept = np.isclose(y, with_branch, atol=1e-4).all((1, 2, 3))
        gone = np.isclose(y, np.maximum(short, 0), atol=1e-4).all((1, 2, 3))
        assert (kept | gone).all() and (kept.all() if i == 0 else 2 <= kept.sum() <= 14)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"attention": "se", "reduction": 3},
            r"reduction=3 does not divide 16 channels; use one such as \[2, 4, 8, 16\]",
        ),
        ({"depths": (1,)}, r"depths=\(1,\) and widths=\(4, 8\) need one entry per stage"),
        ({"group_width": 3}, r"width 4 times config.model.group_width=3/64 is 0.1875, not a whole number of channels"),
        ({"block": "basic"}, "set config.model.block=bottleneck, or widen basic blocks by config.model.widen"),
        ({"widen": 1.3}, "width 4 times config.model.widen=1.3 is 5.2, not a whole number of channels"),
        ({"attention": "sse"}, "attention='sse'.*expected one of 'none', 'se', 'cbam', 'cbam_plain'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        model = make_model("resnext_cbam_tiny", 10, **fields)
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_an_image_below_the_stride_is_refused():
    with pytest.raises(ConfigError, match="resnet takes images of at least 32x32 pixels, got 31x40"):
        jax.eval_shape(
            partial(make_model("resnet50", 10).init, train=False), jax.random.key(0), jnp.zeros((1, 31, 40, 3))
        )
