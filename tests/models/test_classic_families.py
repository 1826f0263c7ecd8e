"""AlexNet, VGG, Network in Network, GoogLeNet, DenseNet, LeNet of 1989: the tables of the papers and what is theirs."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import input_of, make_model
from test_models import quick_jit

from cvdl_jax.core import counting
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.backbones.googlenet import AuxiliaryHead, Inception, halved
from cvdl_jax.models.registry import variants
from cvdl_jax.nn.common import adaptive_mean
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.optim.optimizer import optimizer
from experiments.classify import with_auxiliary


def shapes_of(name, classes=1000, side=None, train=False, **fields):
    """(what it returns, parameters) as shapes."""
    shape = input_of(name) if side is None else (side, side, input_of(name)[2])
    model = make_model(name, classes, **fields)
    init = partial(model.init_with_output, train=train)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    result, variables = jax.eval_shape(init, keys, jnp.zeros((1, *shape)))
    return result, variables["params"]


def sizes(params):
    return {name: counting.parameters(part) for name, part in params.items()}


@pytest.mark.curriculum("H33")
def test_alexnet_layers_are_those_of_the_table():
    (_, out), params = shapes_of("alexnet_one_tower")
    assert [stage.shape[1:] for stage in out["stages"]] == [(27, 27, 96), (13, 13, 256), (6, 6, 256)]
    assert sizes(params) == {
        "conv0": 34_944, "conv1": 614_656, "conv2": 885_120, "conv3": 1_327_488, "conv4": 884_992,
        "dense0": 37_752_832, "dense1": 16_781_312, "head": 4_097_000,
    }  # fmt: skip
    two = sizes(shapes_of("alexnet_two_groups")[1])
    assert [two[f"conv{i}"] for i in range(5)] == [34_944, 307_456, 885_120, 663_936, 442_624]


@pytest.mark.curriculum("H33")
def test_groups_of_alexnet_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="groups=3 does not divide the maps in front of and behind convolution 2, 4"):
        shapes_of("alexnet_tiny", groups=3)
    with pytest.raises(ConfigError, match="alexnet takes images of at least 67x67 pixels, got 66x66"):
        shapes_of("alexnet_one_tower", side=66)
    assert shapes_of("alexnet_one_tower", side=67)[0][1]["stages"][-1].shape == (1, 1, 1, 256)


@pytest.mark.curriculum("H34")
def test_zfnet_is_finer_than_alexnet():
    """7x7 with stride 2 (figure 3: 110, 55, 26, 13 and 6 pixels); the wide form has 512, 1024 and 512 maps."""
    for name, last in (("zfnet", 256), ("zfnet_wide", 512)):
        (_, out), params = shapes_of(name)
        assert params["conv0"]["kernel"].shape == (7, 7, 3, 96)
        assert [stage.shape[1:] for stage in out["stages"]] == [(55, 55, 96), (13, 13, 256), (6, 6, last)]
    assert [params[f"conv{i}"]["kernel"].shape[-1] for i in (2, 3, 4)] == [512, 1024, 512]


@pytest.mark.curriculum("H35")
def test_vgg16_layers_of_two_classes():
    (_, out), params = shapes_of("vgg16", classes=2)
    assert [stage.shape[1] for stage in out["stages"]] == [112, 56, 28, 14, 7]
    counts = sizes(params)
    assert [count for name, count in sorted(counts.items()) if name.startswith("conv")] == [
        1_792, 36_928, 73_856, 147_584, 295_168, 590_080, 590_080, 1_180_160, *[2_359_808] * 5
    ]  # fmt: skip
    assert [counts[name] for name in ("dense0", "dense1", "head")] == [102_764_544, 16_781_312, 8_194]
    assert sum(counts.values()) == 134_268_738


@pytest.mark.curriculum("H35")
def test_vgg_configurations_differ_as_in_the_table():
    """Weight layers 11, 11, 13, 16, 16 and 19; C has 1x1 convolutions where D has 3x3; A-LRN is not A."""
    layers = {}
    for name in ("vgg11", "vgg11_lrn", "vgg13", "vgg16_1x1", "vgg16", "vgg19"):
        layers[name] = shapes_of(name)[1]
    assert [len(params) for params in layers.values()] == [11, 11, 13, 16, 16, 19]
    assert [layers["vgg16_1x1"][f"conv{i}_2"]["kernel"].shape[:2] for i in (2, 3, 4)] == [(1, 1)] * 3
    x = np.random.default_rng(0).normal(size=(1, *input_of("vgg_tiny"))).astype(np.float32)
    model, plain = make_model("vgg_tiny", 5), make_model("vgg_tiny", 5, response=False)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)
    with_response, without = quick_jit(lambda v: [m.apply(v, x, False)[0] for m in (model, plain)])(variables)
    assert not np.allclose(with_response, without, atol=1e-6)


@pytest.mark.curriculum("H37")
def test_scores_of_network_in_network_are_means_of_maps():
    model = make_model("nin_tiny", 5)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)
    logits, out = quick_jit(partial(model.apply, train=False))(variables, x)
    assert out["maps"].shape == (2, 8, 8, 5) and [s.shape[1:] for s in out["stages"]] == [(16, 16, 8), (8, 8, 8)]
    np.testing.assert_allclose(logits, np.asarray(out["maps"]).mean((1, 2)), rtol=1e-5)
    _, params = shapes_of("nin_cifar", 10)
    assert "dense0" not in params and params["head"]["kernel"].shape == (1, 1, 192, 10)


def macs_of(module, shape):
    x = jnp.zeros((1, *shape))
    jaxpr, (y, variables) = jax.make_jaxpr(partial(module.init_with_output, train=False), return_shape=True)(
        jax.random.key(0), x
    )
    kernels = [leaf.size for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim == 4]
    return y.shape[1:], counting.jaxpr_macs(jaxpr.jaxpr), sum(kernels)


@pytest.mark.curriculum("H38", "H39")
def test_inception_module_costs():
    """28x28x256 with 128, 192 and 96 filters: 854,196,224 products, and 271,351,808 behind bottlenecks."""
    naive = Inception((128, 0, 192, 0, 96, 0))
    assert macs_of(naive, (28, 28, 256)) == ((28, 28, 672), 854_196_224, 1_089_536)
    bottlenecks = Inception((128, 64, 192, 64, 96, 64))
    assert macs_of(bottlenecks, (28, 28, 256)) == ((28, 28, 480), 271_351_808, 346_112)
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 3)).astype(np.float32)
    pooled = quick_jit(lambda x: naive.init_with_output(jax.random.key(0), x, False)[0])(x)[..., -3:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = [padded[:, i : i + 5, j : j + 5] for i in range(3) for j in range(3)]
    np.testing.assert_array_equal(pooled, np.max(windows, 0))


GOOGLENET = {  # table 1 with biases; products in millions
    "stage0_module0": (163_696, (28, 28, 256)), "stage0_module1": (388_736, (28, 28, 480)),
    "stage1_module0": (376_176, (14, 14, 512)), "stage1_module1": (449_160, (14, 14, 512)),
    "stage1_module2": (510_104, (14, 14, 512)), "stage1_module3": (605_376, (14, 14, 528)),
    "stage1_module4": (868_352, (14, 14, 832)), "stage2_module0": (1_043_456, (7, 7, 832)),
    "stage2_module1": (1_444_080, (7, 7, 1024)), "stem0": (9_472, None), "stem1": (4_160, None),
    "stem2": (110_784, None), "head": (1_025_000, None), "head1_0": (3_188_840, None), "head1_3": (3_190_888, None),
}  # fmt: skip


@pytest.mark.curriculum("H40", "H41")
def test_googlenet_blocks_are_those_of_the_table():
    """6,998,552 parameters and two auxiliary heads, 13,378,280 with them, which only training runs."""
    ((logits, out), params), ((_, trained), _) = (
        shapes_of("googlenet_paper", train=train, auxiliary=True) for train in (False, True)
    )
    counts = sizes(params)
    assert counts == {name: count for name, (count, _) in GOOGLENET.items()}
    assert sum(counts.values()) == 13_378_280
    assert [stage.shape[1:] for stage in out["stages"]] == [(28, 28, 480), (14, 14, 832), (7, 7, 1024)]
    assert "auxiliary" not in out and [a.shape for a in trained["auxiliary"]] == [logits.shape] * 2


@pytest.mark.curriculum("H40")
def test_googlenet_modules_have_the_depths_of_the_table():
    for name, (count, shape) in GOOGLENET.items():
        if shape is not None:
            i, j = (int(part[-1]) for part in name.split("_"))
            maps = make_model("googlenet_paper", 10).modules[i][j]
            assert maps[0] + maps[2] + maps[4] + maps[5] == shape[2] and count > 0


@pytest.mark.curriculum("H41")
def test_auxiliary_losses_are_added_in_training_alone():
    rng = np.random.default_rng(0)
    logits, one, two = rng.normal(size=(3, 4, 5)).astype(np.float32)
    labels = np.arange(4)
    loss = lambda z, labels: softmax_cross_entropy(jnp.asarray(z), labels)  # noqa: E731
    plain = loss(logits, labels)
    summed = with_auxiliary(plain, {"auxiliary": (one, two)}, loss, labels, 0.3)
    np.testing.assert_allclose(summed, plain + 0.3 * (loss(one, labels) + loss(two, labels)), rtol=1e-6)
    assert with_auxiliary(plain, {}, loss, labels, None) is plain
    for out, weight in (({"auxiliary": (one,)}, None), ({}, 0.3)):
        with pytest.raises(ConfigError, match=r"set both config.model.auxiliary=True and a weight.*or neither"):
            with_auxiliary(plain, out, loss, labels, weight)


@pytest.mark.curriculum("H41")
def test_an_auxiliary_head_takes_images_of_other_sizes():
    for side in (14, 20, 3):
        make = partial(AuxiliaryHead(10).init_with_output, train=False)
        y, variables = jax.eval_shape(make, jax.random.key(0), jnp.zeros((1, side, side, 528)))
        assert y.shape == (1, 10) and variables["params"]["dense"]["kernel"].shape == (2048, 1024)


def test_pooling_windows_that_end_outside():
    """As torch with ceil_mode: 7 and 8 pixels become 3 and 4; adaptive windows of 5 pixels at 3 places overlap."""
    x = np.arange(8, dtype=np.float32)[None, :, None, None] + np.zeros((1, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(halved(x)[0, :, 0, 0], [2, 4, 6, 7])
    np.testing.assert_array_equal(halved(x[:, :7, :7])[0, :, 0, 0], [2, 4, 6])
    np.testing.assert_array_equal(halved(x[:, :7, :7], 2)[0, :, 0, 0], [1, 3, 5, 6])
    np.testing.assert_array_equal(halved(x[:, :1, :1])[0, :, 0, 0], [0])
    np.testing.assert_array_equal(adaptive_mean(x[:, :5, :5], 3)[0, :, 0, 0], [0.5, 2, 3.5])
    np.testing.assert_array_equal(adaptive_mean(x[:, :2, :2], 4)[0, :, 0, 0], [0, 0, 1, 1])


@pytest.mark.curriculum("H49")
def test_a_dense_layer_sees_all_earlier_layers_of_its_block():
    """x_l = H([x_0 .. x_{l-1}]): inputs grow by k; what comes in goes on unchanged; a transition halves maps."""
    (_, out), params = shapes_of("densenet121")
    for i, (depth, first) in enumerate(((6, 64), (12, 128), (24, 256), (16, 512))):
        inputs = [params[f"block{i}_layer{j}"]["conv0"]["kernel"].shape[2] for j in range(depth)]
        assert inputs == [first + 32 * j for j in range(depth)]
        assert out["stages"][i].shape == (1, 56 // 2**i, 56 // 2**i, first + 32 * depth)
    model = make_model("densenet_tiny", 5, depths=(3,))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)

    @quick_jit
    def last(params, x):
        layers = {}

        def keep(call, args, kwargs, context):
            layers[context.module.name] = out = call(*args, **kwargs)
            return out

        with nn.intercept_methods(keep):
            model.apply({**variables, "params": params}, x, False)
        return layers["stem"], layers["block0_layer0"], layers["block0_layer1"], layers["block0_layer2"], layers["norm"]

    parts = last(variables["params"], x)
    joined = np.concatenate(parts[:4], -1) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(parts[4], joined, rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("H46", "H47")
def test_scanned_blocks_equal_separate_ones():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    scanned, plain = (make_model("preact_tiny", 5, scan=scan) for scan in (True, False))
    variables = quick_jit(partial(plain.init, train=False))(jax.random.key(0), x)
    stacked = {}
    for collection, tree in variables.items():
        rest = [tree[f"stage0_block{j}"] for j in (1, 2)]
        kept = {name: part for name, part in tree.items() if name not in ("stage0_block1", "stage0_block2")}
        stacked[collection] = kept | {"stage0_scanned": jax.tree.map(lambda *a: np.stack(a), *rest)}

    def run(model, variables):
        (logits, _), new = model.apply(variables, x, True, mutable=["batch_stats"])
        return logits, model.apply(variables, x, False)[0], new["batch_stats"]["stage0_block0"]

    ours, theirs = quick_jit(partial(run, scanned))(stacked), quick_jit(partial(run, plain))(variables)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours, theirs)


@pytest.mark.curriculum("H46")
def test_a_thousand_layers_are_few_operations():
    """1001 = 9 * 111 + 2 layers; the program has as many equations as that of 29 layers."""

    def program(depth):
        model = make_model("preact_resnet1001", 10, depths=(depth,) * 3)
        x = jnp.zeros((1, 32, 32, 3))
        return str(jax.make_jaxpr(partial(model.init, train=False))(jax.random.key(0), x)).count("conv_general_dilated")

    assert program(111) == program(3)


@pytest.mark.curriculum("H46")
def test_layerwise_optimizers_refuse_stacked_blocks():
    params = shapes_of("preact_tiny", 5)[1]
    params = jax.tree.map(lambda p: np.zeros(p.shape, np.float32), params)
    optimizer("sgd", 0.1, total_steps=1).init(params)
    for name, more, words in (("lars", {}, "name='lars'"), ("sgd", {"clip_adaptive": 0.1}, "clip_adaptive")):
        with pytest.raises(
            ConfigError, match=f"{words} looks at each layer's array as a whole.*config.model.scan=False"
        ):
            optimizer(name, 0.1, total_steps=1, **more).init(params)


@pytest.mark.curriculum("H31")
def test_lenet_of_1989_has_9760_parameters():
    """H1 768 units and 1,068 parameters, H2 192 and 2,592, H3 30 and 5,790, output 10 and 310; 64,660 connections."""
    (_, out), params = shapes_of("lenet1989", 10)
    assert [stage.size for stage in out["stages"]] == [768, 192]
    counts = sizes(params)
    first = counts["conv0"] + counts["bias0"]
    second = sum(counts[name] for name in ("conv1_0", "conv1_1", "conv1_2", "bias1"))
    assert (first, second, counts["dense"], counts["head"]) == (1_068, 2_592, 5_790, 310)
    assert variants()["lenet1989"].row["macs"] + 768 + 192 + 30 + 10 == 64_660
    model, x = make_model("lenet1989_tiny", 5), np.zeros((1, 16, 16, 1), np.float32)
    params = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)
    with pytest.raises(ConfigError, match=r"has biases for maps of 8x8 places, got 16x16; set config\.data"):
        jax.eval_shape(partial(model.apply, train=False), params, np.zeros((1, 32, 32, 1), np.float32))
