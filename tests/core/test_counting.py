"""Multiply-accumulates and parameters, against counts by hand and against loops over what each output needs."""

import itertools
import json
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from models_for_tests import input_of, make_model

from cvdl_jax.config import configs
from cvdl_jax.core import counting
from cvdl_jax.engine.build import build
from cvdl_jax.models import registry
from cvdl_jax.workdir.folder import Workdir


def shape(*dims):
    return jax.ShapeDtypeStruct(dims, jnp.float32)


def macs_of(name, classes=10, **overrides):
    """Of one example, at the table's input."""
    model = make_model(name, classes, "float32", **overrides)
    x = shape(1, *input_of(name))
    variables = jax.eval_shape(lambda k, x: model.init(k, x, False), jax.random.key(0), x)
    return counting.macs(lambda v, x: model.apply(v, x, False)[0], variables, x)


# LeNet-5 (LeCun et al. 1998, figure 2), layer by layer: outputs times the inputs of each
LENET = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
# ResNet-20 (He et al. 2016, section 4.2): stem; 6 convolutions at 32x32x16; 1 + 5 at 16x16x32; 1 + 5 at 8x8x64; head
RESNET20 = (
    1024 * 9 * (3 * 16 + 6 * 16 * 16) + 256 * 9 * (16 * 32 + 5 * 32 * 32) + 64 * 9 * (32 * 64 + 5 * 64 * 64) + 640
)
# ViT-Ti, 64 patches of 4x4x3 and a class token, d = 192: patches; 12 blocks of qkv, projection, MLP, attention; head
VIT = 64 * 48 * 192 + 12 * (65 * 192 * 192 * 12 + 2 * 65 * 65 * 192) + 192 * 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", 7840),
        ("mlp", 784 * 300 + 300 * 100 + 100 * 10),
        ("lenet5", LENET),
        ("resnet20", RESNET20),
        ("vit_tiny_patch4_32", VIT),
    ],
)
def test_models_by_hand(name, expected):
    assert macs_of(name) == expected


def test_lenet_by_hand():
    assert LENET == 117_600 + 240_000 + 48_000 + 10_080 + 840 == 416_520


def test_recomputation_in_the_backward_pass_only():
    assert macs_of("resnet8_tiny") == counting.macs(*forward_of("resnet8_tiny", remat=True))


def forward_of(name, **more):
    model = make_model(name, 10, "float32", **more)
    x = shape(1, *input_of(name))
    variables = jax.eval_shape(lambda k, x: model.init(k, x, False), jax.random.key(0), x)
    return lambda v, x: model.apply(v, x, False)[0], variables, x


def test_products():
    assert counting.macs(jnp.matmul, shape(3, 4), shape(4, 5)) == 3 * 4 * 5
    assert counting.macs(jnp.matmul, shape(7, 3, 4), shape(7, 4, 5)) == 7 * 3 * 4 * 5
    assert counting.macs(jnp.dot, shape(6), shape(6)) == 6
    assert (
        counting.macs(partial(jnp.einsum, "bhqd,bhkd->bhqk"), shape(2, 3, 5, 8), shape(2, 3, 7, 8)) == 2 * 3 * 5 * 7 * 8
    )
    assert counting.macs(jnp.add, shape(3, 4), shape(3, 4)) == 0


def taps(length, size, stride, dilation, padding):
    """Outputs of a one-dimensional convolution times the taps of each; what is padded counts as data."""
    outputs = (length + 2 * padding - dilation * (size - 1) - 1) // stride + 1
    return sum(1 for _ in itertools.product(range(outputs), range(size)))


@pytest.mark.parametrize(
    ("length", "size", "stride", "dilation", "padding", "groups"),
    [(8, 3, 1, 1, 1, 1), (8, 3, 2, 1, 1, 1), (9, 5, 2, 1, 0, 2), (12, 3, 1, 2, 2, 4), (7, 1, 1, 1, 0, 8)],
)
def test_convolutions(length, size, stride, dilation, padding, groups):
    conv = nn.Conv(
        16, (size, size), stride, ((padding, padding),) * 2, kernel_dilation=dilation, feature_group_count=groups
    )
    x = shape(2, length, length, 8)
    variables = jax.eval_shape(conv.init, jax.random.key(0), x)
    expected = 2 * taps(length, size, stride, dilation, padding) ** 2 * 8 * 16 // groups
    assert counting.macs(conv.apply, variables, x) == expected


@pytest.mark.parametrize(("stride", "size"), [(2, 4), (3, 5), (2, 3)])
def test_transposed_convolutions_multiply_every_input_with_the_kernel(stride, size):
    up = nn.ConvTranspose(6, (size, size), (stride, stride))
    x = shape(2, 7, 7, 3)
    variables = jax.eval_shape(up.init, jax.random.key(0), x)
    assert counting.macs(up.apply, variables, x) == 2 * 7 * 7 * 3 * size * size * 6


def test_a_transposed_convolution_in_numpy():
    """Products without a zero factor that the scatter form of a transposed convolution makes."""
    x, kernel, made = np.ones((5, 2)), np.ones((4, 2, 3)), 0
    for _ in itertools.product(range(len(x)), range(len(kernel)), range(2), range(3)):
        made += 1
    up = nn.ConvTranspose(3, (4,), (2,))
    variables = jax.eval_shape(up.init, jax.random.key(0), shape(1, 5, 2))
    assert counting.macs(up.apply, variables, shape(1, 5, 2)) == made == 5 * 4 * 2 * 3


def test_the_backward_pass_of_a_strided_convolution_is_two_forward_passes():
    def loss(kernel, x):
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 0), (1, 0)), dimension_numbers=dims).sum()

    kernel, x = shape(2, 2, 4, 8), shape(2, 8, 8, 4)
    once = counting.macs(loss, kernel, x)
    assert once == 2 * 4 * 4 * 8 * 16
    backward = counting.macs(lambda k, x: jax.vjp(loss, k, x)[1](jnp.ones(())), kernel, x) - once
    assert backward == 2 * once  # the gradient of the input: each output with the kernel; of the kernel: with each tap


def product(x):
    return x @ jnp.ones((4, 4))


def test_loops_branches_and_wrappers():
    x = shape(3, 4)
    one = 3 * 4 * 4
    assert counting.macs(product, x) == one
    assert counting.macs(jax.jit(product), x) == one
    assert counting.macs(jax.checkpoint(product), x) == one
    assert counting.macs(lambda x: lax.scan(lambda c, _: (product(c), None), x, None, length=7)[0], x) == 7 * one
    nested = lambda x: lax.scan(lambda c, _: (lax.fori_loop(0, 5, lambda i, c: product(c), c), None), x, None, 3)[0]  # noqa: E731
    assert counting.macs(nested, x) == 15 * one
    assert counting.macs(lambda x: lax.while_loop(lambda c: c.sum() < 9, product, x), x) == one
    branches = lambda x: lax.cond(x.sum() > 0, lambda x: product(product(x)), product, x)  # noqa: E731
    assert counting.macs(branches, x) == 2 * one
    assert counting.macs(jax.vmap(product), shape(5, 3, 4)) == 5 * one


def test_remat_computes_again_in_the_gradient():
    def loss(x, f):
        return jnp.tanh(f(jnp.tanh(x @ jnp.ones((4, 4))))).sum()

    plain = counting.macs(jax.grad(partial(loss, f=product)), shape(3, 4))
    again = counting.macs(jax.grad(partial(loss, f=jax.checkpoint(lambda x: jnp.sin(product(x))))), shape(3, 4))
    assert again > plain == 4 * 3 * 4 * 4


def test_custom_derivatives():
    @jax.custom_vjp
    def twice(x):
        return product(x)

    twice.defvjp(lambda x: (product(x), None), lambda _, g: (g,))

    @jax.custom_jvp
    def thrice(x):
        return product(x)

    thrice.defjvp(lambda primals, tangents: (product(primals[0]), tangents[0]))
    assert counting.macs(twice, shape(3, 4)) == counting.macs(thrice, shape(3, 4)) == 48


def test_shard_map_counts_all_devices():
    mesh = jax.sharding.AbstractMesh((3,), ("a",))
    spec = jax.sharding.PartitionSpec("a")
    f = jax.shard_map(product, mesh=mesh, in_specs=spec, out_specs=spec)
    assert counting.macs(f, shape(3, 4)) == 48


def test_parameters():
    assert counting.parameters({"a": shape(3, 4), "b": {"c": np.zeros(5), "d": shape()}}) == 18
    assert counting.parameters({}) == 0


# A run ------------------------------------------------------------------------------------------------------------


def toy(**overrides):
    return build(configs.load("configs/toy/mlp.py", [f"config.{k}={v}" for k, v in overrides.items()]))


def test_of_a_run():
    built = toy()
    hidden = built.config.model.hidden
    layers = [2, *hidden, 2]
    expected = sum(a * b for a, b in itertools.pairwise(layers))
    assert counting.of_run(built)["macs"] == expected
    assert counting.of_run(built)["parameters"] >= expected
    assert counting.of_run(built._replace(task=built.task._replace(predict=None)))["macs"] is None


def test_of_a_run_of_two_players():
    built = build(configs.load("configs/generate/dcgan.py:smoke"))
    facts = counting.of_run(built)
    assert facts["macs"] is None and facts["parameters"] > registry.variants()["dcgan_discriminator_tiny"].row["params"]


def test_meta_json_says_what_the_model_is(tmp_path, monkeypatch):
    workdir, built = Workdir(tmp_path), toy()
    workdir.record_start(built, 1, ["python"])
    written = json.loads((tmp_path / "meta.json").read_text())["model"]
    assert written == counting.of_run(built) and written["parameters"] > 0
    monkeypatch.setattr(counting, "of_run", lambda built: pytest.fail("a continued run is counted again"))
    workdir.record_start(built, 1, ["python"])
    assert json.loads((tmp_path / "meta.json").read_text())["model"] == written
