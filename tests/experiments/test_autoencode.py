"""Autoencoders: samples with gradients, costs of codes by hand, targets that no corruption touches, the bound."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.figures import codes
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import autoencoding, latent_costs
from cvdl_jax.models.generative.autoencoder import reparameterised
from cvdl_jax.ops.losses import divergences, reconstruction
from experiments import autoencode

SHAPE = (8, 8, 1)
SPEC = {
    "image": jax.ShapeDtypeStruct((4, *SHAPE), jnp.float32),
    "label": jax.ShapeDtypeStruct((4,), jnp.int32),
}
INFO = Info(10, (), SPEC, {"train": 4, "validation": 4}, 4, 10, 1.0, 0)
IMAGES = jax.random.uniform(jax.random.key(5), (4, *SHAPE))
BATCH = {"image": IMAGES, "label": jnp.array([0, 3, 3, 9]), "mask": jnp.array([1.0, 1.0, 1.0, 0.0])}


def method_of(**sections):
    more = {"latent": {}, "corruption": "", "bound_samples": 0, **sections}
    config = configs.from_plain(
        {"compute_dtype": "float32", "remat": False, "loss": {"name": "bernoulli"}, **more,
         "model": {"name": "autoencoder_tiny", **sections.get("model", {})}}
    )  # fmt: skip
    return autoencoding.make_autoencoder(config, INFO)


def state_of(method):
    label = autoencoding.label_of(method, BATCH).get("label")
    params = method.model.init(jax.random.key(0), IMAGES, False, None, label)["params"]
    params = jax.tree.map(lambda p: 2 * p + 0.02, params)
    return State(jnp.int32(0), params, {}, {"batch_stats": {}}, {})


@pytest.mark.curriculum("Q6")
def test_a_sample_has_the_moments_and_a_gradient_to_both_of_them():
    noise = jax.random.normal(jax.random.key(0), (100_000, 1))
    mean, log_variance = jnp.array([1.5]), jnp.log(jnp.array([4.0]))
    z = reparameterised(mean[None], log_variance[None], noise)
    np.testing.assert_allclose([z.mean(), z.std()], [1.5, 2.0], rtol=1e-2)
    gradient = jax.grad(lambda m, v: reparameterised(m, v, jnp.array([0.5])).sum(), (0, 1))(mean, log_variance)
    np.testing.assert_allclose(gradient[0], 1)
    np.testing.assert_allclose(gradient[1], 0.5 * 2 * 0.5, rtol=1e-6)  # d/dlog v of exp(log v / 2) noise


@pytest.mark.curriculum("Q7")
def test_the_cost_of_a_distribution_is_the_worked_number_and_its_mean_over_samples():
    out = {"mean": jnp.array([[1.0], [0.0]]), "log_variance": jnp.log(jnp.array([[4.0], [1.0]]))}
    np.testing.assert_allclose(latent_costs.kl(out, 2.0), [2 * 1.3068528194, 0], atol=1e-6)
    np.testing.assert_allclose(
        divergences.kl_from_standard_normal(*map(jnp.array, ([[1.0]], [[np.log(4.0)]]))), 0.4431471806
    )
    noise = jax.random.normal(jax.random.key(1), (200_000,))
    z = 1 + 2 * noise
    np.testing.assert_allclose((-0.5 * noise**2 - np.log(2) + 0.5 * z**2).mean(), 1.3068528194, rtol=2e-2)


@pytest.mark.curriculum("Q3")
def test_the_cost_of_a_sparse_code():
    out = {"code": jnp.array([[0.1, 0.8], [0.3, 0.0]])}
    np.testing.assert_allclose(latent_costs.l1(out, 2.0), [1.8, 0.6], rtol=1e-6)
    on = np.array([0.2, 0.4])
    expected = 3 * sum(0.05 * np.log(0.05 / r) + 0.95 * np.log(0.95 / (1 - r)) for r in on)
    np.testing.assert_allclose(latent_costs.sparse(out, 3.0, 0.05), [expected, expected], rtol=1e-5)
    np.testing.assert_allclose(latent_costs.sparse({"code": jnp.full((4, 3), 0.05)}), 0, atol=1e-6)


def test_the_distances_of_images():
    logits, images = jnp.array([0.0, 2.0]).reshape(1, 1, 2, 1), jnp.array([1.0, 0.25]).reshape(1, 1, 2, 1)
    p = 1 / (1 + np.exp(-np.array([0.0, 2.0])))
    x = np.array([1.0, 0.25])
    entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
    np.testing.assert_allclose(reconstruction.bernoulli(logits, images), [entropy], rtol=1e-6)
    np.testing.assert_allclose(reconstruction.squared(logits, images), [((p - x) ** 2).sum()], rtol=1e-6)
    density = (0.5 * ((p - x) / 0.3) ** 2 + np.log(0.3) + 0.5 * np.log(2 * np.pi)).sum()
    np.testing.assert_allclose(reconstruction.gaussian(logits, images, 0.3), [density], rtol=1e-6)


@pytest.mark.curriculum("Q1")
@pytest.mark.parametrize("distance", ["bernoulli", "squared"])
@pytest.mark.parametrize("channels", [(), (4, 8)])
def test_a_plain_autoencoder_pays_for_its_reconstruction_alone(distance, channels):
    model = {"variational": False, "channels": channels, "latent": 3}
    method = method_of(model=model, loss={"name": distance})
    state = state_of(method)
    _, sums = autoencode.training_loss(method, state, BATCH, jax.random.key(4))
    code, none = method.model.apply({"params": state.params}, IMAGES, method="encode")
    logits = method.model.apply({"params": state.params}, code, False, method="decode")
    assert code.shape == (4, 3) and none is None and "latent" not in sums  # through a bottleneck of three numbers
    p, x = 1 / (1 + np.exp(-np.float64(logits))), np.float64(IMAGES)
    squared = ((p - x) ** 2).sum()
    expected = squared if distance == "squared" else -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
    np.testing.assert_allclose(sums["loss"], (expected, 4), rtol=1e-4)
    np.testing.assert_allclose(sums["squared_error"][0], squared / 64, rtol=1e-4)


@pytest.mark.curriculum("Q2")
def test_the_input_is_corrupted_and_the_target_is_not():
    method = method_of(model={"variational": False}, corruption="gaussian_noise(std=0.5)")
    state = state_of(method)
    seen, more = autoencoding.inputs(method, state, BATCH, jax.random.key(3))
    assert more == {"noise": None} and jnp.abs(seen - IMAGES).mean() > 0.1
    _, sums = autoencode.training_loss(method, state, BATCH, jax.random.key(4))
    keys = jax.random.split(jax.random.key(4))
    seen = autoencoding.inputs(method, state, BATCH, keys[0])[0]
    logits, _ = method.model.apply({"params": state.params}, seen, False)
    expected = reconstruction.bernoulli(logits, IMAGES).sum()
    np.testing.assert_allclose(sums["loss"], (expected, 4), rtol=1e-5)


@pytest.mark.curriculum("Q5")
def test_the_loss_of_a_variational_one_is_reconstruction_and_beta_times_the_divergence():
    method = method_of(latent={"name": "kl", "beta": 3.0})
    state, key = state_of(method), jax.random.key(2)
    _, sums = autoencode.training_loss(method, state, BATCH, key)
    _, more = autoencoding.inputs(method, state, BATCH, jax.random.split(key)[0])
    mean, log_variance = method.model.apply({"params": state.params}, IMAGES, method="encode")
    z = mean + jnp.exp(log_variance / 2) * more["noise"]
    assert np.abs(more["noise"]).min() > 0 and len(np.unique(more["noise"])) == 12  # each row and number its own
    logits = method.model.apply({"params": state.params}, z, False, method="decode")
    divergence = divergences.kl_to_standard_normal(mean, log_variance).sum()
    far = reconstruction.bernoulli(logits, IMAGES).sum()
    np.testing.assert_allclose(sums["loss"][0], far + 3 * divergence, rtol=1e-5)
    np.testing.assert_allclose(sums["latent"][0], 3 * divergence, rtol=1e-5)


def test_the_bound_is_a_mean_of_importance_weights():
    method = method_of(bound_samples=3)
    state, key = state_of(method), jax.random.key(8)
    values = jax.jit(partial(autoencoding.bound, method))(state, IMAGES, BATCH, key)
    mean, log_variance = method.model.apply({"params": state.params}, IMAGES, method="encode")
    weights = []
    for k in jax.random.split(key, 3):
        z = mean + jnp.exp(log_variance / 2) * row_random(jax.random.normal, k, mean.shape)
        far = reconstruction.bernoulli(method.model.apply({"params": state.params}, z, False, method="decode"), IMAGES)
        prior = jax.scipy.stats.norm.logpdf(z).sum(1)
        posterior = jax.scipy.stats.norm.logpdf(z, mean, jnp.exp(log_variance / 2)).sum(1)
        weights.append(np.asarray(prior - posterior - far, np.float64))
    expected = np.log(np.exp(np.array(weights) - np.max(weights, 0)).mean(0)) + np.max(weights, 0)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_an_evaluation_leaves_out_padding_and_counts_units_that_vary():
    method = method_of(bound_samples=2)
    out = autoencode.evaluation_step(method, state_of(method), BATCH, jax.random.key(0))
    assert out["loss"][1] == 3 and out["code"].shape == (4, 3)
    padded = {**BATCH, "image": IMAGES.at[3].set(0.0)}
    other = autoencode.evaluation_step(method, state_of(method), padded, jax.random.key(0))
    for name in ("loss", "bound", "latent", "squared_error"):
        np.testing.assert_allclose(out[name], other[name], rtol=1e-6)
    state = state_of(method)  # averaged weights are those that count
    averaged = state._replace(
        params=jax.tree.map(jnp.zeros_like, state.params), extra={**state.extra, "ema": state.params}
    )
    again = autoencode.evaluation_step(method, averaged, BATCH, jax.random.key(0))
    for name in ("loss", "bound"):
        np.testing.assert_allclose(out[name], again[name], rtol=1e-6)
    rows = {"code": np.array([[0.0, 1.0], [0.0, 2.0], [0.05, 0.0]])}
    assert autoencode.finalise({}, rows)["active_units"] == 1


@pytest.mark.curriculum("Q8")
def test_samples_of_a_conditional_one_take_the_classes_in_turn():
    method = method_of(model={"num_classes": 10})
    state = state_of(method)
    samples = autoencoding.sample(method, state, jax.random.key(1), 12)
    assert samples.shape == (12, *SHAPE) and samples.min() > 0 and samples.max() < 1
    z = row_random(jax.random.normal, jax.random.key(1), (12, 3))
    run = partial(method.model.apply, {"params": state.params}, method="decode")
    again = jax.nn.sigmoid(run(z, False, jnp.arange(12) % 10))
    np.testing.assert_allclose(samples, again, rtol=1e-6)
    assert jnp.abs(again - jax.nn.sigmoid(run(z, False, jnp.zeros(12, int)))).max(axis=(1, 2, 3))[1:10].min() > 1e-4


@pytest.mark.curriculum("Q9")
def test_walks_go_from_one_code_to_another_in_a_straight_line():
    ends = jnp.array([[0.0, 0.0], [1.0, 2.0], [4.0, 8.0], [1.0, 2.0]])
    ways = codes.walks(ends, count=6, steps=5)
    assert ways.shape == (2, 5, 2)
    np.testing.assert_allclose(ways[0], np.linspace(0, 1, 5)[:, None] * np.array([[4.0, 8.0]]))
    np.testing.assert_allclose(ways[1], np.broadcast_to(ends[1], (5, 2)))


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"latent": {"name": "l1"}}, "pays for its code by config.latent={'name': 'kl'}"),
        ({"bound_samples": 5, "loss": {"name": "squared"}}, r"'squared' is none; set config\.bound_samples=0, or"),
        ({"model": {"variational": False}, "bound_samples": 5}, "is of a variational autoencoder; set it to 0"),
        ({"model": {"num_classes": 7}}, "must be the classes of the data, 10, or 0"),
        ({"model": {"code": "relu"}}, "config.model.code is of an autoencoder that is not variational"),
        ({"model": {"channels": (4, 4, 4, 4)}}, "must divide by 16"),
        ({"corruption": "gausian_noise"}, "config.corruption: there is no operation 'gausian_noise'"),
    ],
)
def test_what_does_not_fit_is_refused(sections, said):
    with pytest.raises(ConfigError, match=said):
        method = method_of(**sections)
        method.model.init(jax.random.key(0), IMAGES, False)


def test_costs_that_a_code_does_not_have_are_refused():
    plain = {"code": jnp.zeros((2, 3))}
    with pytest.raises(ConfigError, match=r"set config\.model\.variational=True"):
        latent_costs.kl(plain)
    with pytest.raises(ConfigError, match="of plain codes; this one takes 'kl'"):
        latent_costs.sparse({**plain, "mean": jnp.zeros((2, 3))})
    method = method_of()
    with pytest.raises(ConfigError, match=r"takes codes \[b, 3\], got \(2, 4\)"):
        method.model.init(jax.random.key(0), jnp.zeros((2, 4)), False, method="decode")


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def words():
    """A small VQ-VAE with a codebook of spread words, and what it says of four images."""
    method = method_of(model={"name": "vq_vae_tiny"}, latent={"name": "quantised", "commitment": 0.5})
    params = method.model.init(jax.random.key(0), IMAGES, False)["params"]
    params = {**params, "codebook": 0.3 * jax.random.normal(jax.random.key(1), (6, 3))}
    return method, params, method.model.apply({"params": params}, IMAGES, False)[1]


def test_every_place_has_the_nearest_word(words):
    method, params, out = words
    z = method.model.apply({"params": params}, IMAGES, method="encode")[0].reshape(4, 4, 3)
    far = np.linalg.norm(np.asarray(z)[:, :, None] - np.asarray(params["codebook"])[None, None], axis=-1)
    np.testing.assert_array_equal(out["words"], far.argmin(-1))
    assert len(np.unique(out["words"])) > 1
    np.testing.assert_allclose(out["code"].reshape(4, 4, 3), params["codebook"][out["words"]], atol=1e-6)
    gaps = (far.min(-1) ** 2).sum(1)
    np.testing.assert_allclose(method.cost(out), 1.5 * gaps, rtol=1e-4)


def test_gradients_pass_the_words_and_each_cost_moves_its_own_side(words):
    method, params, _ = words

    def gradient(weigh):
        def loss(params):
            logits, out = method.model.apply({"params": params}, IMAGES, True)
            return weigh(logits, out).sum()

        return jax.grad(loss)(params)

    far = gradient(lambda logits, out: logits**2)
    assert np.any(far["to_words"]["kernel"]) and not np.any(far["codebook"])
    of_words = gradient(lambda logits, out: out["of_words"] ** 2)
    assert np.any(of_words["codebook"]) and not np.any(of_words["to_words"]["kernel"])
    to_words = gradient(lambda logits, out: out["to_words"] ** 2)
    assert np.any(to_words["to_words"]["kernel"]) and not np.any(to_words["codebook"])


def test_words_have_their_own_cost():
    with pytest.raises(ConfigError, match=r"config\.latent={'name': 'quantised'}"):
        method_of(model={"name": "vq_vae_tiny"})
    with pytest.raises(ConfigError, match="is of a VQ-VAE"):
        latent_costs.quantised({"code": jnp.zeros((2, 3))})
