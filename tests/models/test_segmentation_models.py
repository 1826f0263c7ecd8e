"""Every segmenter by discovery: maps of the image's size, gradients, one trace, precision; what each family is."""

from functools import partial
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.backbones.resnet_imagenet import ImageNetResNet
from cvdl_jax.models.segmentation.unet import left_of
from cvdl_jax.nn.convolution import bilinear_kernel
from cvdl_jax.nn.upsampling import resized
from cvdl_jax.ops.losses.segmentation import cross_entropy
from cvdl_jax.ops.pooling import max_pool, max_unpool

VARIANTS = {name: v for name, v in registry.variants().items() if v.kind == "segmentation"}
TINY = [name for name in VARIANTS if name.endswith("_tiny")]
RNG = np.random.default_rng(0)
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def make(name, num_classes=3, remat=False, **fields):
    section = {"name": name, **fields}
    return registry.create(
        section, "config.model", kinds=("segmentation",), num_classes=num_classes, dtype="float32", remat=remat
    )


def images(name, batch=2):
    h, w, c = VARIANTS[name].row["input"]
    return RNG.normal(size=(batch, h + 1, w - 3, c)).astype(np.float32)  # sides that no stride divides


def initial(model, x):
    """Random parameters, without compiling their initialisation."""
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)

    def one(path, s):
        name = jax.tree_util.keystr(path)
        if "batch_stats" in name:
            return np.full(s.shape, name.endswith("['var']"), np.float32)
        return np.float32(RNG.normal(size=s.shape) / max(np.prod(s.shape[:-1]), 1) ** 0.5)

    return jax.tree_util.tree_map_with_path(one, shapes)


def apply(model, variables, x):
    return quick_jit(partial(model.apply, train=False))(variables, x)


def shape_of(model, *size):
    x = jax.ShapeDtypeStruct((2, *size, 3), "float32")
    return jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), x)[0][0].shape[1:3]


def everything(model, variables, x, labels):
    """Loss, gradients and new statistics of a training batch, and the logits of an evaluation."""

    def loss(params):
        (logits, _), new = model.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
        total, weight = cross_entropy(logits, labels)
        return total.sum() / weight.sum(), new.get("batch_stats", {})

    (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return value, stats, grads, model.apply(variables, x, False)


@pytest.fixture(scope="module", params=TINY)
def tiny(request):
    """A tiny model after one compiled step, traced at most once."""
    name = request.param
    model, x = make(name), images(name)
    variables = initial(model, x)
    labels = RNG.choice([0, 1, 2, 255], size=x.shape[:3]).astype(np.uint8)
    chex.clear_trace_counter()

    @quick_jit
    @chex.assert_max_traces(n=1)
    def run(*args):
        return everything(model, *args)

    return SimpleNamespace(name=name, model=model, x=x, labels=labels, variables=variables, run=run,
                           first=run(variables, x, labels))  # fmt: skip


@pytest.mark.curriculum("M3")
def test_every_pixel_gets_logits_and_every_parameter_a_gradient(tiny):
    value, stats, grads, (logits, out) = tiny.first
    assert logits.shape == (*tiny.x.shape[:3], 3) and logits.dtype == jnp.float32
    assert all(len(stage) == 2 and stage.ndim == 4 for stage in out["stages"])
    chex.assert_tree_all_finite(tiny.first)
    assert value > 0.1
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.abs(grad).max() > 0, f"{jax.tree_util.keystr(path)} has no influence on the loss"
    chex.assert_trees_all_equal_shapes_and_dtypes(stats, tiny.variables.get("batch_stats", {}))


def test_one_trace_and_rows_that_do_not_see_each_other(tiny):
    x = np.concatenate([tiny.x[:1], 5 * tiny.x[1:]])
    logits = tiny.run(tiny.variables, x, tiny.labels)[-1][0]
    np.testing.assert_allclose(logits[:1], tiny.first[-1][0][:1], atol=1e-4)
    assert not np.allclose(logits[1:], tiny.first[-1][0][1:], atol=1e-3)


def test_parameters_and_logits_are_float32_and_float64_is_kept(tiny):
    model = tiny.model.clone(dtype=jnp.dtype("bfloat16"))
    (logits, _), made = jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), tiny.x)
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, made))} == {jnp.dtype("float32")}
    with jax.enable_x64(True):
        model = tiny.model.clone(dtype=jnp.dtype("float64"))
        x = jax.ShapeDtypeStruct(tiny.x.shape, jnp.float64)
        made = jax.eval_shape(partial(model.init_with_output, train=False), jax.random.key(0), x)
        assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float64")}


@pytest.mark.long
def test_bfloat16_is_close(tiny):
    logits = apply(tiny.model.clone(dtype=jnp.dtype("bfloat16")), tiny.variables, tiny.x)[0]
    expected = tiny.first[-1][0]
    assert np.abs(logits - expected).mean() < 0.02 * np.abs(expected).max() + 0.003


def test_rematerialised_blocks_have_the_same_parameters(tiny):
    if not hasattr(tiny.model, "remat"):
        return  # that it is refused is in test_models.py
    model = make(tiny.name, remat=True)
    step = partial(everything, model)
    assert "remat" in str(jax.make_jaxpr(step)(tiny.variables, tiny.x, tiny.labels))
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), tiny.x)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, tiny.variables)


@pytest.mark.parametrize("name", TINY)
def test_images_of_other_sizes(name):
    """Odd, small and oblong ones: a map of the same size, or one sentence."""
    model = make(name)
    assert shape_of(model, 37, 18) == (37, 18)
    try:
        assert shape_of(model, 1, 2) == (1, 2)
    except ConfigError as error:
        assert "takes images of at least" in str(error) and "set config.data.image_size" in str(error)


# The families ---------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("M1")
def test_a_window_on_every_pixel_is_a_dilated_convolution():
    """Both forms have the same parameters and logits, and a pixel depends on its patch alone."""
    x = images("patch_classifier_tiny", 1)
    dense, patches = make("patch_classifier_tiny"), make("patch_classifier_tiny", form="patches")
    variables = initial(dense, x)
    chex.assert_trees_all_equal_shapes(
        variables, jax.eval_shape(partial(patches.init, train=False), jax.random.key(0), x)
    )
    whole = apply(dense, variables, x)[0]
    np.testing.assert_allclose(apply(patches, variables, x)[0], whole, atol=1e-5)
    around = np.pad(x, ((0, 0), (5, 5), (5, 5), (0, 0)))
    one = np.asarray(apply(dense, variables, around[:, 3:14, 2:13])[0])[0, 5, 5]  # the patch around pixel (3, 2)
    np.testing.assert_allclose(one, whole[0, 3, 2], atol=1e-5)
    for fields, left in [({"patch": 10}, 1), ({"patch": 5}, 0)]:
        with pytest.raises(
            ConfigError, match=rf"patch={fields['patch']} must be odd, and leave a pixel .* here {left}"
        ):
            jax.eval_shape(make("patch_classifier_tiny", **fields).init, jax.random.key(0), x, False)


@pytest.mark.curriculum("M2")
def test_full_resolution_is_kept_and_a_pixel_sees_what_the_kernels_add_up_to():
    model = make("full_resolution_tiny", norm="none", widths=(4, 4, 4), activation="tanh")
    x = images("full_resolution_tiny", 1)
    variables = initial(model, x)
    logits, out = apply(model, variables, x)
    assert [stage.shape[1:3] for stage in out["stages"]] == [x.shape[1:3]] * 3
    moved = x.copy()  # in place would change what the first call may not have read yet
    moved[0, 4, 3] += 1
    changed = np.argwhere(np.abs(np.asarray(apply(model, variables, moved)[0] - logits))[0].max(-1) > 1e-7)
    assert changed.min(0).tolist() == [1, 0] and changed.max(0).tolist() == [7, 6]  # 3 pixels to every side


@pytest.mark.curriculum("M3")
def test_an_fcn_begins_as_the_interpolation_of_its_coarsest_scores():
    model, x = make("fcn_tiny"), RNG.normal(size=(1, 24, 32, 3)).astype(np.float32)
    params = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)["params"]
    for name, side in (("double4", 4), ("enlarge", 8)):
        kernel = params[name]["kernel"]
        np.testing.assert_allclose(kernel, bilinear_kernel(None, (side, side, 3, 3)), atol=1e-7)
    assert not np.any(params["score4"]["kernel"]) and not np.any(params["head"]["kernel"])  # scores begin with 0
    flat = jax.tree.map(jnp.zeros_like, params["head"]) | {"bias": jnp.arange(3.0)}
    run = quick_jit(lambda params: model.apply({"params": params}, x, False)[0])
    logits = run({**params, "head": flat})
    np.testing.assert_allclose(logits[:, 8:-8, 8:-8], np.broadcast_to(np.arange(3.0), (1, 8, 16, 3)), atol=1e-6)
    finer = {**params["score4"], "bias": jnp.ones(3)}
    more = run({**params, "head": flat, "score4": finer})
    np.testing.assert_allclose(more[:, 8:-8, 8:-8], logits[:, 8:-8, 8:-8] + 1, atol=1e-6)
    with pytest.raises(ConfigError, match=r"stride=3 must be that of a stage, one of \[2, 4, 8\]"):
        shape_of(make("fcn_tiny", stride=3), 16, 16)


@pytest.mark.curriculum("M12", "H11")
@pytest.mark.parametrize(
    "block", [{"block": "basic"}, {"block": "bottleneck"}, {"block": "bottleneck", "stride_in": "1x1"}], ids=str
)
def test_a_dilated_stage_has_the_values_of_a_halved_one_and_those_between(block):
    """Dilation in the place of a stride: every second pixel is that of the network with strides."""
    fields = {"num_classes": 0, "depths": (1, 2, 1), "widths": (4, 6, 8), **block}
    plain, dilated = ImageNetResNet(**fields), ImageNetResNet(**fields, output_stride=4)
    x = RNG.normal(size=(1, 40, 48, 3)).astype(np.float32)
    variables = initial(plain, x)
    both = quick_jit(lambda v, x: [model.apply(v, x, False)[1]["stages"] for model in (plain, dilated)])
    coarse, fine = both(variables, x)
    assert [s.shape[1:3] for s in fine] == [(10, 12)] * 3 and coarse[2].shape[1:3] == (3, 3)
    for stage, apart in ((1, 2), (2, 4)):
        np.testing.assert_allclose(fine[stage][:, ::apart, ::apart], coarse[stage], atol=1e-5)
    with pytest.raises(ConfigError, match="output_stride=2 is less than the stem's, 4"):
        shape_of(ImageNetResNet(**fields, output_stride=2), 40, 48)


@pytest.mark.curriculum("M12")
def test_the_context_module_begins_as_the_identity():
    model, x = make("dilated_tiny"), RNG.normal(size=(1, 24, 32, 3)).astype(np.float32)
    (logits, out), _ = quick_jit(partial(model.init_with_output, train=False))(jax.random.key(0), x)
    assert out["frontend"].shape == (1, 12, 16, 3) and [s.shape[1] for s in out["stages"]] == [12, 12, 12]
    np.testing.assert_allclose(logits, resized(jax.nn.relu(out["frontend"]), (24, 32)), atol=1e-5)


@pytest.mark.curriculum("M13", "M10")
def test_a_segnet_puts_maxima_back_where_they_were():
    """With kernels that pass the image on, its logits are those of the pooling, unpooled, twice."""
    model = make("segnet_tiny", 2, depths=(1, 1), widths=(2, 2), norm="none")
    x = RNG.uniform(size=(1, 12, 8, 2)).astype(np.float32)
    identity = jnp.zeros((3, 3, 2, 2)).at[1, 1].set(jnp.eye(2))
    params = jax.tree.map(lambda p: identity if p.ndim == 4 else jnp.zeros_like(p), initial(model, x)["params"])
    y, first = max_pool(x, 2, return_indices=True)
    y, second = max_pool(y, 2, return_indices=True)
    logits = apply(model, {"params": params}, x)[0]
    np.testing.assert_allclose(logits, max_unpool(max_unpool(y, second, 2), first, 2), atol=1e-6)
    assert np.count_nonzero(logits) == 3 * 2 * 2


@pytest.mark.curriculum("M14")
def test_a_unet_of_any_depth_and_both_ways_up():
    for widths in ((4,), (4, 6), (4, 6, 8, 8)):
        assert shape_of(make("unet_tiny", widths=widths), 21, 16) == (21, 16)
    x = jax.ShapeDtypeStruct((1, 16, 16, 3), "float32")
    shapes = [
        jax.eval_shape(partial(make("unet_tiny", up=up).init, train=False), jax.random.key(0), x)
        for up in ("transposed", "bilinear")
    ]
    chex.assert_trees_all_equal_shapes(*shapes)
    with pytest.raises(ConfigError, match=r"widths=\(\) needs a number for every step"):
        shape_of(make("unet_tiny", widths=()), 16, 16)


@pytest.mark.curriculum("M14")
def test_a_unet_without_padding_is_cropped_or_mirrored():
    """The paper's 572 pixels become 388. Mirrored, the logits of the middle are those without."""
    assert left_of(572, 4, 2) == 388 and left_of(570, 4, 2) == 0 and left_of(24, 1, 2) == 8
    valid, mirror = (make("unet_tiny", widths=(4, 6), padding=padding) for padding in ("valid", "mirror"))
    x = RNG.normal(size=(1, 24, 28, 3)).astype(np.float32)
    variables = initial(valid, x)
    both = quick_jit(lambda v, x: [model.apply(v, x, False)[0] for model in (valid, mirror)])
    middle, whole = both(variables, x)
    assert middle.shape == (1, 8, 12, 3) and whole.shape == (1, 24, 28, 3)
    np.testing.assert_allclose(whole[:, 8:16, 8:20], middle, atol=1e-5)
    assert shape_of(make("unet_tiny", padding="mirror"), 19, 30) == (19, 30)
    message = "cannot halve images of 25x28 pixels 1 times; the next side that it takes is 28, or set"
    with pytest.raises(ConfigError, match=message):
        shape_of(valid, 25, 28)


@pytest.mark.curriculum("M15")
def test_the_tiramisu_has_a_hundred_and_three_layers():
    for name, layers, params in [("fc_densenet56", 56, 1_376_795), ("fc_densenet103", 103, 9_322_091)]:
        model, row = make(name, 11), VARIANTS[name].row
        x = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
        made = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)["params"]
        kernels = [p for p in jax.tree.leaves(made) if p.ndim == 4]
        assert len(kernels) + 1 == layers  # and the 1x1 convolution of the scores
        assert sum(p.size for p in jax.tree.leaves(made)) == params == row["params"]


@pytest.mark.curriculum("M16")
def test_a_pyramid_adds_what_every_level_says():
    """Every level reaches the logits, at a quarter of the image, and the fine ones know more of a border."""
    model, x = make("fpn_tiny"), RNG.normal(size=(1, 33, 50, 3)).astype(np.float32)
    variables = initial(model, x)
    logits, out = apply(model, variables, x)
    assert logits.shape == (1, 33, 50, 3)
    assert [level.shape for level in out["levels"]] == [(1, 9, 13, 4), (1, 5, 7, 4)]
    flat = {**variables["params"], "head": jax.tree.map(jnp.zeros_like, variables["params"]["head"])}
    assert not np.any(apply(model, {**variables, "params": flat}, x)[0])
    for level in ("level0_conv0", "level1_conv0"):
        without = {**variables["params"], level: {"kernel": jnp.zeros_like(variables["params"][level]["kernel"])}}
        assert np.abs(apply(model, {**variables, "params": without}, x)[0] - logits).max() > 1e-3


@pytest.mark.curriculum("X15")
def test_a_siamese_unet_sees_the_difference_of_two_views():
    """The same answer for exchanged views; for equal ones that of a pair of black images, whatever they show."""
    model = make("unet_siamese", num_classes=2, widths=(4, 6), norm="none")
    x = RNG.normal(size=(2, 9, 10, 6)).astype(np.float32)
    apart = np.asarray(model._apart(jnp.asarray(x)))  # so that devices hold both views of a row
    np.testing.assert_array_equal(apart, np.stack([x[0, ..., :3], x[0, ..., 3:], x[1, ..., :3], x[1, ..., 3:]]))
    variables = initial(model, x)
    first, second = x[..., :3], x[..., 3:]
    views = [(first, second), (second, first), (first, first), (0 * first, 0 * first), (second, first + 1)]
    logits = apply(model, variables, np.concatenate([np.concatenate(pair, -1) for pair in views]))[0]
    straight, exchanged, equal, black, other = np.split(np.asarray(logits), len(views))
    assert straight.shape == (2, 9, 10, 2)
    np.testing.assert_allclose(straight, exchanged, atol=1e-6)
    np.testing.assert_allclose(equal, black, atol=1e-6)
    assert abs(straight - equal).max() > 0.01 and abs(straight - other).max() > 0.01
    with pytest.raises(ConfigError, match="takes two images with their channels one behind the other, got 3 channels"):
        shape_of(model, 16, 16)
