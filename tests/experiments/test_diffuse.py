"""Diffusion: the loss of each prediction, hidden labels, samples of a perfect denoiser, guidance, refusals."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import PMAP_AXIS
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import denoising, registry
from cvdl_jax.ops import diffusion
from experiments import diffuse

SHAPE = (8, 8, 1)
IMAGES = jax.random.uniform(jax.random.key(5), (4, *SHAPE))
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
BATCH = {"image": IMAGES, "label": jnp.array([0, 1, 2, 1]), "mask": jnp.array([1.0, 1.0, 0.0, 1.0])}
SPEC = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in BATCH.items() if name != "mask"}
INFO = Info(3, (), SPEC, {"train": 4, "validation": 4}, 4, 10, 1.0, 0)


def method_of(**sections):
    more = {"schedule": {"steps": 40}, "loss": {}, "sampler": {"steps": 4, "eta": 0.0}, **sections}
    model = {"name": "ddpm_tiny", **sections.get("model", {})}
    plain = {"compute_dtype": "float32", "remat": False, **more, "model": model}
    return diffuse.make_method(configs.from_plain(plain), INFO)[0]


def state_of(method, seed=0):
    made = denoising.noisy(method, BATCH, jax.random.key(1))
    inputs, more = denoising.model_inputs(made)
    params = method.model.init(jax.random.key(seed), *inputs, False, **more)["params"]
    params = jax.tree.map(lambda p: p + 0.05, params)  # the last layer begins at zero
    return State(jnp.int32(0), params, {}, {"batch_stats": {}}, {})


def test_classes_in_turn_go_on_from_one_device_to_the_next():
    method = method_of(model={"num_classes": 3})
    seen = jax.vmap(lambda _: denoising.in_turn(method, 2)["label"], axis_name=PMAP_AXIS)(jnp.zeros(4))
    np.testing.assert_array_equal(seen.reshape(-1), denoising.in_turn(method, 8)["label"])
    told = method._replace(model=SimpleNamespace(num_classes=0, vocabulary=9), prompts=np.arange(3)[:, None])
    said = jax.vmap(lambda _: denoising.in_turn(told, 2)["caption"], axis_name=PMAP_AXIS)(jnp.zeros(4))
    np.testing.assert_array_equal(said.reshape(-1), np.arange(8) % 3)


def test_a_loss_that_is_no_number_stays_and_a_quarter_without_examples_goes():
    nan = float("nan")
    assert diffuse.finalise({"loss": 1.0, "loss_1_of_4": nan, "loss_2_of_4": 2.0}, {}) == {
        "loss": 1.0,
        "loss_2_of_4": 2,
    }
    assert np.isnan(diffuse.finalise({"loss": nan, "loss_1_of_4": nan}, {})["loss"])


@pytest.mark.curriculum("S1", "S3")
@pytest.mark.parametrize("predicts", ["noise", "v"])
def test_the_loss_is_the_squared_error_of_what_is_predicted(predicts):
    method = method_of(loss={"predicts": predicts})
    state, key = state_of(method), jax.random.key(3)
    made = denoising.noisy(method, BATCH, jax.random.split(key)[0])
    assert len(set(made["t"].tolist())) > 1  # each row has its own time
    a, s = (np.asarray(v)[np.asarray(made["t"])].reshape(-1, 1, 1, 1) for v in method.schedule[:2])
    image = 2 * IMAGES - 1
    noise = (made["x"] - a * image) / s
    np.testing.assert_allclose(made["target"], noise if predicts == "noise" else a * noise - s * image, atol=1e-3)
    predicted, _ = method.model.apply({"params": state.params}, made["x"], made["t"], True)
    expected = ((predicted - made["target"]) ** 2).mean((1, 2, 3)).sum()
    _, sums = jax.jit(partial(diffuse.training_loss, method))(state, BATCH, key)
    np.testing.assert_allclose(sums["loss"], (expected, 4), rtol=1e-4)


def test_samples_show_the_classes_in_turn():
    assert denoising.in_turn(method_of(model={"num_classes": 3}), 7)["label"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert denoising.in_turn(method_of(), 7) == {}


@pytest.mark.curriculum("S5")
def test_the_network_knows_the_time_the_label_and_far_away_pixels():
    method = method_of(model={"num_classes": 3})
    state = state_of(method)
    run = jax.jit(lambda x, t, y: method.model.apply({"params": state.params}, x, t, False, label=y)[0])
    x, t, y = IMAGES[:2], jnp.array([3, 3]), jnp.array([1, 1])
    here = run(x, t, y)
    assert jnp.abs(run(x, t.at[1].set(30), y) - here)[1].max() > 1e-4
    assert jnp.abs(run(x, t, y.at[1].set(3)) - here)[1].max() > 1e-4
    np.testing.assert_array_equal(run(x, t.at[1].set(30), y)[0], here[0])
    assert jnp.abs(run(x.at[0, 0, 0].add(2.0), t, y) - here)[0, -1, -1].max() > 1e-6
    fresh = method.model.init(jax.random.key(0), x, t, False, label=y)["params"]
    np.testing.assert_array_equal(method.model.apply({"params": fresh}, x, t, False, label=y)[0], 0)


def test_labels_are_hidden_as_often_as_is_said():
    many = {"image": jnp.zeros((4000, 2, 2, 1)), "label": jnp.ones(4000, jnp.int32)}
    method = method_of(model={"num_classes": 3}, loss={"without_label": 0.25})
    seen = denoising.noisy(method, many, jax.random.key(0))["label"]
    assert set(seen.tolist()) == {1, 3} and abs((seen == 3).mean() - 0.25) < 0.03
    assert (denoising.noisy(method._replace(without_label=0.0), many, jax.random.key(0))["label"] == 1).all()


def test_an_evaluation_leaves_out_padding_and_splits_the_schedule():
    method = method_of()
    state, key = state_of(method), jax.random.key(2)
    sums = diffuse.evaluation_step(method, state, BATCH, key)
    other = diffuse.evaluation_step(method, state, {**BATCH, "image": IMAGES.at[2].set(0.0)}, key)
    np.testing.assert_allclose(sums["loss"], other["loss"], rtol=1e-6)
    t, mask = denoising.noisy(method, BATCH, key)["t"], BATCH["mask"]
    for i in range(4):
        assert sums[f"loss_{i + 1}_of_4"][1] == mask[(t >= 10 * i) & (t < 10 * i + 10)].sum()
    np.testing.assert_allclose(sum(sums[f"loss_{i + 1}_of_4"][0] for i in range(4)), sums["loss"][0], rtol=1e-5)


class Perfect:
    """A denoiser that knows the one image there is."""

    num_classes = 0

    def __init__(self, schedule, image):
        self.schedule, self.image = schedule, image

    def apply(self, variables, x, t, train, **more):
        image = jnp.broadcast_to(2 * self.image[None] - 1, x.shape)
        return diffusion.image_and_noise(self.schedule, x, image, t, "image")[1], {}


@pytest.mark.curriculum("S4")
@pytest.mark.parametrize(("steps", "eta"), [(40, 1.0), (5, 0.0), (1, 0.0)])
def test_a_perfect_denoiser_makes_its_image_of_any_noise(steps, eta):
    method = method_of(sampler={"steps": steps, "eta": eta})
    method = method._replace(model=Perfect(method.schedule, IMAGES[0]))
    state = State(jnp.int32(0), {}, {}, {"batch_stats": {}}, {})
    made = jax.jit(partial(denoising.sample, method), static_argnums=2)(state, jax.random.key(0), 3)
    np.testing.assert_allclose(made, jnp.broadcast_to(IMAGES[:1], (3, *SHAPE)), atol=2e-3)


class Same:
    """A denoiser that says the same noise of everything."""

    num_classes = 0

    def apply(self, variables, x, t, train, **more):
        return jnp.full_like(x, 0.7), {}


def test_the_noise_of_a_bounded_image_is_what_is_left_of_the_input(monkeypatch):
    """Where x_0 is cut to -1..1 the noise is no longer what the network said."""
    method = method_of(sampler={"steps": 1, "eta": 0.0, "clip": True})._replace(model=Same())
    method = method._replace(space=method.space._replace(decode=lambda extra, x: x))
    monkeypatch.setattr(diffusion, "step_back", lambda *step: step[3])
    start = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    state = State(jnp.int32(0), {}, {}, {"batch_stats": {}}, {})
    made = denoising.denoised(method, state, jnp.asarray(start), jax.random.key(0), {})
    a, s = (float(v[-1]) for v in method.schedule[:2])
    image = np.clip((start - s * 0.7) / a, -1, 1)
    assert (abs(image) == 1).mean() > 0.5
    np.testing.assert_allclose(made, (start - a * image) / s, atol=1e-4)


def test_the_larger_variance_reaches_the_step_and_walks_have_no_noise_at_all(monkeypatch):
    method = method_of(sampler={"steps": 40, "eta": 1.0, "variance": "fixed_large"})
    method, seen = method._replace(model=Same()), []
    monkeypatch.setattr(diffusion, "step_back", lambda *step: seen.append(step[7:]) or step[1])
    state = State(jnp.int32(0), {}, {}, {"batch_stats": {}}, {})
    denoising.denoised(method, state, jnp.zeros((2, *SHAPE)), jax.random.key(0), {})
    denoising.latent_walk(method, state, jax.random.key(0), 2, 2)
    assert seen == [(1.0, "fixed_large"), (0.0, "fixed_small")]


def test_every_step_adds_noise_of_its_own(monkeypatch):
    method = method_of(sampler={"steps": 2, "eta": 1.0})._replace(model=Same())
    method = method._replace(space=method.space._replace(decode=lambda extra, x: x))
    monkeypatch.setattr(diffusion, "step_back", lambda *step: step[1] + step[6])
    state = State(jnp.int32(0), {}, {}, {"batch_stats": {}}, {})
    made = denoising.denoised(method, state, jnp.zeros((64, *SHAPE)), jax.random.key(0), {})
    assert float(made.var()) == pytest.approx(2, abs=0.2)  # 4 if both were the same
    assert abs(np.corrcoef(made[:2].reshape(2, -1))[0, 1]) < 0.5  # and so has every row


def test_samples_and_errors_are_those_of_averaged_weights():
    method = method_of(sampler={"steps": 1, "eta": 0.0}, loss={"predicts": "image"})
    state, key = state_of(method), jax.random.key(0)

    @quick_jit
    def look(params, average):
        seen = state._replace(params=params, extra={**state.extra, "ema": average})
        return denoising.sample(method, seen, key, 2), diffuse.evaluation_step(method, seen, BATCH, key)["loss"][0]

    nothing = jax.tree.map(jnp.zeros_like, state.params)
    here, there = look(state.params, state.params), look(nothing, state.params)
    jax.tree.map(np.testing.assert_array_equal, here, there)
    assert all(abs(x - y).max() > 0.01 for x, y in zip(here, look(state.params, nothing), strict=True))


@pytest.mark.curriculum("S7")
def test_guidance_of_zero_forgets_the_label_and_of_one_is_the_label():
    def sampled(guidance):
        method = method_of(model={"num_classes": 3}, sampler={"steps": 2, "eta": 0.0, "guidance": guidance})
        state = state_of(method)
        table = state.params["label"]["embedding"]
        other = state._replace(params={**state.params, "label": {"embedding": table.at[:3].add(1.0)}})
        run = quick_jit(partial(denoising.sample, method), static_argnums=2)
        return run(state, jax.random.key(0), 3), run(other, jax.random.key(0), 3)

    none, one, three = (sampled(g) for g in (0.0, 1.0, 3.0))
    np.testing.assert_allclose(*none, atol=1e-5)
    assert jnp.abs(one[0] - one[1]).max() > 1e-3
    assert jnp.abs(three[0] - one[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"schedule": {"name": "cosin"}}, "config.schedule.name='cosin' must be one of linear, cosine"),
        ({"sampler": {"steps": 41}}, "a sampler of 41 steps does not fit a schedule of 40"),
        ({"sampler": {"steps": 2, "eta": 0.5, "variance": "fixed_large"}}, r"is DDPM's, and config\.sampler\.eta=0.5"),
        ({"sampler": {"steps": 2, "variance": "large"}}, "'large'.* 'fixed_small', 'fixed_large'"),
        ({"sampler": {"steps": 2, "guidance": 2.0}}, "guidance needs a denoiser that is told a label"),
        ({"model": {"num_classes": 4}}, "must be the classes of the data, 3"),
        (
            {"model": {"num_classes": 3}, "loss": {"without_label": 0.0}, "sampler": {"steps": 2, "guidance": 2.0}},
            "needs labels that are hidden at times",
        ),
        ({"loss": {"predicts": "nois"}}, r"config\.loss\.predicts='nois'"),
    ],
)
def test_what_does_not_fit_is_refused(sections, said):
    with pytest.raises(ConfigError, match=said):
        method_of(**sections)


def test_images_that_do_not_fit_are_refused():
    model = registry.create({"name": "ddpm_tiny"}, "config.model", channels=1)
    for shape in ((1, 7, 8, 1), (1, 8, 8, 3)):
        with pytest.raises(ConfigError, match=r"takes images \[b, h, w, 1\] whose sides divide by 2"):
            model.init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(1, int), False)
