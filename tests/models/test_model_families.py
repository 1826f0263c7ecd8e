"""What is particular to a family: layers against NumPy, options, the worked numbers of the papers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model
from test_models import BATCH, images, quick_jit

from cvdl_jax.ops.losses.classification import softmax_cross_entropy


@pytest.mark.curriculum("A2")
def test_linear_scores_are_a_matrix_product():
    model = make_model("linear", 10, "float32")
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), x, False)
    w, b = variables["params"]["head"]["kernel"], variables["params"]["head"]["bias"]
    assert w.shape == (3072, 10)
    np.testing.assert_allclose(model.apply(variables, x, False)[0], x.reshape(4, 3072) @ w + b[None], atol=1e-4)


@pytest.mark.curriculum("B2", "B3")
def test_mlp_3_4_1_equals_numpy_and_shows_every_layer():
    """The 3-4-1 network has 21 parameters; features [b, d] and any depth are taken."""
    model = make_model("mlp", 1, "float32", hidden=(4,), activation="sigmoid")
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    params = model.init(jax.random.key(0), x, False)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)
    assert sum(p.size for p in jax.tree.leaves(params)) == 21
    logits, out = model.apply({"params": params}, x, False)
    a1 = 1 / (1 + np.exp(-(x @ params["dense0"]["kernel"] + np.asarray(params["dense0"]["bias"])[None])))
    np.testing.assert_allclose(out["stages"][0], a1, atol=1e-6)
    np.testing.assert_allclose(logits, a1 @ params["head"]["kernel"] + params["head"]["bias"][None], atol=1e-6)
    deep = make_model("mlp", 2, "float32", hidden=[8] * 9)
    _, out = jax.eval_shape(partial(deep.init_with_output, train=False), jax.random.key(0), x)[0]
    assert [a.shape for a in out["stages"]] == [(6, 8)] * 9


@pytest.mark.curriculum("B4")
def test_mlp_without_nonlinearity_collapses_to_one_linear_map():
    def gap(activation):
        """How far f(x + y) + f(0) is from f(x) + f(y): nothing for an affine map."""
        model = make_model("mlp", 3, "float32", hidden=(8, 8), activation=activation)
        x, y = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
        variables = model.init(jax.random.key(0), x, False)
        f = lambda z: model.apply(variables, z, False)[0]  # noqa: E731
        return np.abs(f(x + y) + f(0 * x) - f(x) - f(y)).max()

    assert gap("identity") < 1e-5
    assert gap("relu") > 1e-2


def test_lenet5_layers_are_those_of_the_paper():
    """S2 14x14x6, S4 5x5x16, F6 84 (LeCun et al. 1998, figure 2); larger images only widen C5."""
    model = make_model("lenet5", 10, "float32")
    shapes = lambda side: jax.eval_shape(  # noqa: E731
        partial(model.init_with_output, train=False), jax.random.key(0), jnp.zeros((1, side, side, 1))
    )
    (_, out), variables = shapes(32)
    assert [s.shape for s in out["stages"]] == [(1, 14, 14, 6), (1, 5, 5, 16)]
    assert out["pre_logits"].shape == (1, 84)
    assert variables["params"]["dense0"]["kernel"].shape == (400, 120)
    assert shapes(37)[1]["params"]["dense0"]["kernel"].shape == (6 * 6 * 16, 120)


def test_lenet5_pool_is_an_option():
    x = images("lenet5_tiny")
    paper = make_model("lenet5_tiny", 3, "float32")
    modern = make_model("lenet5_tiny", 3, "float32", activation="relu", pool="max")
    variables = quick_jit(partial(paper.init, train=False))(jax.random.key(0), x)
    kernel, bias = (variables["params"]["conv0"][k] for k in ("kernel", "bias"))
    maps = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    cells = (maps + bias[None, None, None]).reshape(BATCH, 6, 2, 6, 2, 2)
    np.testing.assert_allclose(
        paper.apply(variables, x, False)[1]["stages"][0], jnp.tanh(cells).mean((2, 4)), atol=1e-5
    )
    np.testing.assert_allclose(
        modern.apply(variables, x, False)[1]["stages"][0], jnp.maximum(cells.max((2, 4)), 0), atol=1e-5
    )


def test_resnet_option_a_takes_every_other_pixel_and_adds_zero_channels():
    from cvdl_jax.models.backbones.resnet import Shortcut

    x = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
    shortcut = Shortcut(8, 2, "A")
    assert shortcut.init(jax.random.key(0), x, False) == {}
    y = shortcut.apply({}, x, False)
    assert y.shape == (2, 3, 3, 8)
    np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
    assert not y[..., 3:].any()


def test_resnet_block_of_zeros_is_the_identity():
    """With zero weights `relu(F(x) + x) = x` for x >= 0 (He et al. 2016, section 3.1)."""
    from cvdl_jax.models.backbones.resnet import BasicBlock

    x = np.abs(np.random.default_rng(0).normal(size=(2, 4, 4, 3))).astype(np.float32)
    block = BasicBlock(3, 1, "A")
    variables = jax.eval_shape(partial(block.init, train=False), jax.random.key(0), x)
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), variables)
    np.testing.assert_array_equal(block.apply(zeros, x, False), x)


def test_resnet_option_b_projects():
    model = make_model("resnet8_tiny", 3, "float32", shortcut="B")
    params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images("resnet8_tiny"))["params"]
    assert params["stage1_block0"]["shortcut"]["conv"]["kernel"].shape == (1, 1, 4, 8)
    assert "shortcut" not in params["stage0_block0"]


@pytest.mark.curriculum("J19", "J9")
def test_vit_trains_on_small_images_and_its_positions_matter():
    """A ViT of 2x2 patches on 8x8 images learns which quarter is bright, which needs positions."""
    import optax

    model = make_model("vit_patch4_16_tiny", 4, "float32", image_size=8, depth=1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 64).astype(np.int32)
    x = rng.normal(size=(64, 8, 8, 1)).astype(np.float32) * 0.1
    for row, label in zip(x, labels, strict=True):
        row[label // 2 * 4 :][:4, label % 2 * 4 :][:, :4] += 1
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)
    optimizer = optax.adam(1e-2)

    @quick_jit
    def step(params, opt):
        loss = lambda p: softmax_cross_entropy(model.apply({"params": p}, x, True)[0], labels).mean()  # noqa: E731
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt = optimizer.update(grads, opt)
        return optax.apply_updates(params, updates), opt, value

    @quick_jit
    def logits(params, x):  # x: [2, b, h, w, c]
        return jax.vmap(lambda x: model.apply({"params": params}, x, False)[0])(x)

    params, opt = variables["params"], optimizer.init(variables["params"])
    assert params["positions"].shape == (1, 1 + 4, 16) and params["patch_embed"]["kernel"].shape == (4, 4, 1, 16)
    for _ in range(60):
        params, opt, value = step(params, opt)
    assert value < 0.1 < np.log(4)
    swap = lambda x: np.concatenate([x[:, :, 4:], x[:, :, :4]], axis=2)  # the same patches in another order  # noqa: E731
    learned = logits(params, np.stack([x, swap(x)]))
    blind = logits({**params, "positions": params["positions"] * 0}, np.stack([x, swap(x)]))
    assert np.abs(learned[0] - learned[1]).max() > 1
    np.testing.assert_allclose(blind[0], blind[1], atol=1e-4)


def test_vit_attention_weights_are_given_when_asked_for():
    x = images("vit_patch4_16_tiny")
    model = make_model("vit_patch4_16_tiny", 3, "float32", attention_weights=True)
    (_, out), variables = quick_jit(partial(model.init_with_output, train=False))(jax.random.key(0), x)
    assert [w.shape for w in out["attention"]] == [(BATCH, 2, 17, 17)] * 2
    np.testing.assert_allclose(out["attention"][0].sum(-1), 1, atol=1e-6)
    _, plain = jax.eval_shape(partial(model.clone(attention_weights=False).apply, train=False), variables, x)
    assert "attention" not in plain
