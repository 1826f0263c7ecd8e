"""Generators: shapes, gradients, both ways of up-sampling against NumPy, refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import quick_jit

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry

PATH = "config.model.generator"
NAMES = [v.name for v in registry.variants().values() if v.file.stem == "dcgan" and v.context == ("shape",)]


def make(name="dcgan_generator_tiny", shape=(8, 8, 1), **fields):
    return registry.create({"name": name, **fields}, PATH, kinds=("generative",), shape=shape, dtype="float32")


def latent(generator, n=4, seed=0):
    return jax.random.normal(jax.random.key(seed), (n, generator.latent))


def applied(generator, variables, z):
    """Images and stages in evaluation."""
    return quick_jit(partial(generator.apply, train=False))(variables, z)


def initial(generator):
    return quick_jit(partial(generator.init, train=False))(jax.random.key(0), latent(generator))


@pytest.mark.parametrize("name", NAMES)
def test_images_are_of_the_shape_and_stages_double(name):
    shape = registry.variants()[name].row["shape"]
    generator = make(name, shape)
    z = jax.ShapeDtypeStruct((2, generator.latent), jnp.float32)
    (images, out), _ = jax.eval_shape(partial(generator.init_with_output, train=False), jax.random.key(0), z)
    assert images.shape == (2, *shape) and images.dtype == jnp.float32
    sides = [stage.shape[1] for stage in out["stages"]]
    assert sides == [shape[0] // 2 ** (len(sides) - i) for i in range(len(sides))]
    assert [stage.shape[-1] for stage in out["stages"]] == list(generator.widths)


@pytest.mark.curriculum("R4")
@pytest.mark.parametrize("upsample", ["transposed", "nearest"])
def test_every_parameter_gets_a_gradient_and_images_are_in_range(upsample):
    generator = make(upsample=upsample)
    variables = initial(generator)
    weights = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))

    def loss(params):
        variables_ = {**variables, "params": params}
        (images, _), new = generator.apply(variables_, latent(generator), True, mutable=["batch_stats"])
        return (images * weights).sum(), (images, new["batch_stats"])

    (_, (images, stats)), grads = quick_jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    assert images.shape == (4, 8, 8, 1) and np.abs(images).max() < 1 and images.std() > 0
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.abs(grad).max() > 0, jax.tree_util.keystr(path)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a != b).any()), stats, variables["batch_stats"]))


def strided(x, kernel):
    """A fractionally strided convolution by hand: every pixel adds its own copy of the kernel, two pixels apart."""
    b, h, w, _ = x.shape
    size = kernel.shape[0]
    out = np.zeros((b, 2 * (h - 1) + size, 2 * (w - 1) + size, kernel.shape[-1]))
    for i in range(h):
        for j in range(w):
            # the framework slides its kernel instead of stamping it, so a stamp is the kernel turned by 180 degrees
            out[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += np.einsum(
                "bc,pqcf->bpqf", x[:, i, j], kernel[::-1, ::-1]
            )
    edge = (size - 2) // 2
    return out[:, edge : edge + 2 * h, edge : edge + 2 * w]


def repeated(x, kernel):
    """Nearest neighbours, then a convolution by hand, zeros around the image."""
    size = kernel.shape[0]
    x = x.repeat(2, 1).repeat(2, 2)
    low = (size - 1) // 2
    padded = np.pad(x, ((0, 0), (low, size - 1 - low), (low, size - 1 - low), (0, 0)))
    h, w = x.shape[1:3]
    return sum(
        np.einsum("bhwc,cf->bhwf", padded[:, p : p + h, q : q + w], kernel[p, q]) for p, q in np.ndindex(size, size)
    )


@pytest.mark.curriculum("R4")
@pytest.mark.parametrize(("upsample", "double"), [("transposed", strided), ("nearest", repeated)])
def test_up_sampling_equals_numpy(upsample, double):
    generator = make(upsample=upsample)
    variables = initial(generator)
    images, out = applied(generator, variables, latent(generator))
    last = variables["params"]["conv1"]
    by_hand = np.tanh(double(np.float64(out["stages"][1]), np.float64(last["kernel"])) + np.float64(last["bias"]))
    assert np.abs(by_hand).max() > 1e-4
    np.testing.assert_allclose(images, by_hand, atol=1e-6)


def test_a_sample_does_not_depend_on_the_others_and_bfloat16_is_close():
    generator = make()
    variables = initial(generator)
    z = latent(generator)
    images = applied(generator, variables, z)[0]
    np.testing.assert_allclose(applied(generator, variables, z[:2])[0], images[:2], atol=1e-6)
    half = applied(generator.clone(dtype=jnp.bfloat16), variables, z)[0]
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, images, atol=0.03 * float(np.abs(images).max()))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"name": "dcgan_generator_tin"}, "did you mean 'dcgan_generator_tiny'"),
        ({"name": "dcgan"}, "'dcgan' is a family; choose one of dcgan_generator, dcgan_generator_28"),
        ({"name": "dcgan_discriminator"}, "of kind 'backbones', expected 'generative'; did you mean 'dcgan_generator'"),
        ({"name": "mlp"}, "generator.name='mlp' is of kind 'backbones', expected 'generative'; known: cgan_generator"),
        ({"width": (4,)}, "generator.width is not a field of dcgan_generator_tiny; did you mean 'widths'"),
        ({"latent": "ten"}, r"config\.model\.generator\.latent='ten'"),
        ({"upsample": "bilinear"}, "'transposed', 'nearest'"),
        ({"shape": (8, 8)}, r"shape=\(8, 8\) is of type tuple; expected tuple\[int, int, int\]"),
        ({"shape": (8, 0, 1)}, r"shape=\(8, 0, 1\) must be a whole number of at least 1"),
    ],
)
def test_mistakes_are_named(kwargs, words):
    with pytest.raises(ConfigError, match=words):
        make(**kwargs)


def test_shapes_that_do_not_halve_are_refused():
    generator = make(shape=(10, 8, 1))
    with pytest.raises(ConfigError, match="10x8 pixels must divide by 4"):
        generator.init(jax.random.key(0), latent(generator), False)
    with pytest.raises(ConfigError, match=r"\[b, 6\], got \(4, 5\)"):
        make().init(jax.random.key(0), jnp.zeros((4, 5)), False)
