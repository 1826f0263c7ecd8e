"""Players that are told labels, grow, or are augmented: who is told what, what a step changes, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_gan import built, different, info_of, quick_jit

from cvdl_jax.config import configs
from cvdl_jax.core.task import State, Transform, create_state, descend, repeat
from cvdl_jax.data.load import load
from cvdl_jax.engine.build import experiment_of
from cvdl_jax.errors import ConfigError, UserError
from cvdl_jax.metrics import generation
from cvdl_jax.models import adaptive_augmentation, denoising, players
from cvdl_jax.models.adaptive_augmentation import KEY, adaptive, following, ratios
from cvdl_jax.models.players import Growth, restarted
from cvdl_jax.optim.optimizer import LearningRateState
from experiments import diffuse, gan

SMALL = ["--config.model.discriminator.widths=(4,8)", "--config.model.generator.widths=(8,4)"]
LABELS = ["--config.model.discriminator.labels=10", "--config.model.generator.labels=10"]
SPEC = jax.ShapeDtypeStruct((16, 8, 8, 1), jnp.float32)


def config_of(file, *overrides):
    return configs.load(f"configs/generate/{file}", overrides)


def with_labels(config):
    info = info_of(config)
    label = jax.ShapeDtypeStruct((config.batch_size,), jnp.int32)
    return info._replace(num_classes=10, spec={**info.spec, "label": label})


# Labels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("R12", "R13")
def test_both_players_are_told_the_labels_of_the_batch(monkeypatch):
    """Of real and generated images in the discriminator's step, of every n-th row in the generator's."""
    config = config_of("dcgan.py:smoke", *SMALL, *LABELS)
    game, seen = gan.make_game(config, with_labels(config)), []

    def spy(module, state, x, key, on, label):
        seen.append((on, np.asarray(label)))
        return ((jnp.zeros((len(x), 8, 8, 1)) if on == "generator" else jnp.zeros((len(x), 1))), {}), state

    monkeypatch.setattr(players, "apply_train", spy)
    batch = {"image": jnp.zeros((6, 8, 8, 1)), "label": jnp.arange(6)}
    state = State(jnp.zeros((), jnp.int32), {}, extra={"batch_stats": {"discriminator": {}, "generator": {}}})
    gan.discriminator_loss(game, state, batch, jax.random.key(0))
    gan.generator_loss(game, 2, state, batch, jax.random.key(0))
    assert [on for on, _ in seen] == ["generator", *["discriminator"] * 2, "generator", "discriminator"]
    for _, label in seen[:3]:
        np.testing.assert_array_equal(label, np.arange(6))
    for _, label in seen[3:]:
        np.testing.assert_array_equal(label, [0, 2, 4])


@pytest.mark.curriculum("R12")
def test_samples_are_of_the_classes_in_turn_or_of_those_asked_for(monkeypatch):
    config, seen = config_of("dcgan.py:smoke", *SMALL, *LABELS), []
    game = gan.make_game(config, with_labels(config))
    made = lambda *a, label, **k: (seen.append(np.asarray(label)), (jnp.zeros((len(label), 8, 8, 1)), {}))[1]  # noqa: E731
    monkeypatch.setattr(players.observe, "apply", made)
    state = State(0, {"generator": {}}, {}, {"batch_stats": {"generator": {}}})
    players.sample(game, state, jax.random.key(0), 12)
    players.sample(game, state, jax.random.key(0), 3, jnp.array([7, 7, 1]))
    np.testing.assert_array_equal(seen[0], [*range(10), 0, 1])
    np.testing.assert_array_equal(seen[1], [7, 7, 1])


@pytest.mark.curriculum("R12")
def test_noise_is_of_the_prior():
    class Uniform:
        latent, prior = 50, "uniform"

    z = players.noise(players.Game(Uniform(), None, None), jax.random.key(0), 40)
    assert 0 <= z.min() < 0.01 and 0.99 < z.max() < 1
    Uniform.prior = "normal"
    z = players.noise(players.Game(Uniform(), None, None), jax.random.key(0), 40)
    assert z.min() < -2 and abs(float(z.mean())) < 0.1


@pytest.mark.curriculum("R12")
def test_agreement_by_hand():
    probabilities = np.eye(3)[[0, 1, 1, 2, 0, 0]]
    values = generation.agreement(probabilities, np.array([0, 1, 2, 2, 0, 1]))
    assert values == {"agreement": 4 / 6, "agreement_0": 1, "agreement_1": 0.5, "agreement_2": 0.5}
    state, judge = None, generation.Judge(lambda x: jax.nn.one_hot(x[:, 0], 3), 5)
    judged = generation.judged(lambda state, key, n, label: label[:, None], judge, 4, 3)
    rows = {name: np.asarray(x) for name, x in judged.step(state, {}, jax.random.key(0)).items()}
    assert judged.data == 2 and rows["label"].tolist() == [0, 1, 2, 0]
    assert judged.finalize({}, rows)["agreement"] == 1
    real = generation.judged_images(judge, "test")
    rows = real.step(state, {"image": jnp.array([[0], [2]]), "label": jnp.array([0, 1])}, None)
    assert real.final and real.finalize({}, {k: np.asarray(x) for k, x in rows.items()})["agreement"] == 0.5


# Spectral normalisation -----------------------------------------------------------------------------------------------


def test_a_step_of_the_discriminator_is_one_step_of_power_iteration():
    """Real and generated images are scored with the same vectors; the generator's step leaves them alone."""
    config = config_of("sngan.py:data=mnist,smoke")
    game = gan.make_game(config, info_of(config))
    task, batch = gan.make(config, info_of(config)), {"image": jnp.ones((16, 8, 8, 1)) / 3}
    state = quick_jit(partial(create_state, task))(jax.random.key(1), batch)
    one, x = game.discriminator, jnp.zeros((2, 8, 8, 1))
    variables = {"params": state.params["discriminator"], "batch_stats": state.extra["batch_stats"]["discriminator"]}
    once = quick_jit(lambda: one.apply(variables, x, True, mutable=["batch_stats"])[1]["batch_stats"])()
    new, _ = quick_jit(partial(gan.discriminator_loss, game))(state, batch, jax.random.key(2))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), new.extra["batch_stats"]["discriminator"], once)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), variables["batch_stats"], once)
    assert max(jax.tree.leaves(moved)) > 1e-3
    assert not players.mixes_rows(state)
    left = jax.eval_shape(partial(gan.generator_loss, game, 2), state, batch, jax.random.key(2))[0]
    assert jax.tree.structure(left.extra) == jax.tree.structure(state.extra)


# Growing --------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("R20")
def test_moments_begin_anew_with_a_resolution_and_the_rate_goes_on():
    rule = optax.chain(optax.scale_by_adam(), optax.GradientTransformation(
        lambda p: LearningRateState(jnp.zeros((), jnp.int32), jnp.ones(()), jnp.ones(())),
        lambda u, s, p=None: (u, s._replace(count=s.count + 1)),
    ))  # fmt: skip
    loss = lambda state, batch, key: (state, {"loss": ((state.params["generator"] ** 2).sum(), 1.0)})  # noqa: E731
    descent = descend(loss, rule, on="generator")
    for n, expected in ((1, [1, 2, 1, 2, 1, 2]), (3, [3, 6, 3, 6, 3, 6])):  # of several steps in one the first restarts
        step = restarted(repeat(descent, n), descent, "generator", Growth(2, 0, 3))
        state = step.init(State(jnp.zeros((), jnp.int32), {"generator": jnp.ones(2)}))
        counts = []
        for _ in range(6):
            state, _, _ = step.update(state, {"x": jnp.zeros((n, 1))}, jax.random.key(0))
            state = state._replace(step=state.step + 1)
            counts.append((int(state.opt["generator"][0].count), int(state.opt["generator"][1].count)))
        assert counts == [(moments, n * (i + 1)) for i, moments in enumerate(expected)]


@pytest.mark.curriculum("R20")
def test_the_players_see_the_level_of_the_step(monkeypatch):
    """Both are told it, real images have its detail; slopes of the penalty are those of the small image's pixels."""
    config, seen, scored = config_of("progressive.py:smoke"), [], []
    game = gan.make_game(config, info_of(config))
    assert game.growth == Growth(1, 0, 2)

    def spy(module, state, x, key, on, level):
        seen.append(float(level))
        scored.append(x) if on == "discriminator" and not isinstance(x, jax.core.Tracer) else None
        out = jnp.zeros((len(x), 8, 8, 1)) if on == "generator" else x.sum((1, 2, 3))[:, None]
        return (out, {}), state

    monkeypatch.setattr(players, "apply_train", spy)
    image = jnp.asarray(np.random.default_rng(0).random((4, 8, 8, 1)), jnp.float32)
    for step, level, side in ((0, 0, 2), (1, 1, 1), (9, 1, 1)):
        seen.clear(), scored.clear()
        state = State(jnp.asarray(step), {}, extra={"batch_stats": {"discriminator": {}, "generator": {}}})
        _, sums = gan.discriminator_loss(game, state, {"image": image}, jax.random.key(0))
        assert set(seen) == {level} and len(seen) == 4
        blocky = scored[0] - jnp.repeat(jnp.repeat(scored[0][:, ::2, ::2], 2, 1), 2, 2)
        assert (float(jnp.abs(blocky).max()) < 1e-6) == (level == 0)
        # f = sum x: slope 1 at each of 64 pixels, or 4 at each of 16
        assert float(sums["penalty"][0] / 4) == pytest.approx(64 * side**2 / 2)


# Adaptive augmentation ------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("R24")
def test_signs_of_overfitting_by_hand():
    """ER96: both differences of r_v are from the score of training images; half the way to that of generated ones."""
    assert ratios(3.0, 1.0, -1.0, 1.0) == {"r_v": 0.5, "r_t": 1.0}
    assert ratios(3.0, 3.0, -1.0, 0.0)["r_v"] == 0 and ratios(3.0, -1.0, -1.0, 0.0)["r_v"] == 1
    assert np.isnan(ratios(1.0, 0.0, 1.0, 1.0)["r_v"])


@pytest.mark.curriculum("R24")
def test_overfitting_is_measured_on_both_splits():
    score = lambda state, images, batch: images.sum((1, 2, 3))  # noqa: E731
    generated = lambda state, key, batch: jnp.full(batch["image"].shape, -1.0)  # noqa: E731
    measured = adaptive_augmentation.overfitting(score, generated)
    state = State(0, {}, extra=adaptive("flip", spec=SPEC).extra())
    batch = lambda values, mask: {  # noqa: E731
        "image": jnp.asarray(values, jnp.float32)[:, None, None, None], "mask": jnp.asarray(mask, jnp.float32)
    }  # fmt: skip
    sums = [measured.before.step(state, batch(*b), None) for b in (([3, 5], [1, 1]), ([-2, 9], [1, 0]))]
    seen = measured.before.apply(state, jax.tree.map(jnp.add, *sums))
    assert measured.before.data == "train" and measured.data == "validation"
    means = {k: float(a / b) for k, (a, b) in measured.step(seen, batch([1, 2, 7], [1, 1, 0]), None).items()}
    assert means == {"validation": 1.5, "generated": -1, "train": 2, "sign": pytest.approx(1 / 3)}
    values = measured.finalize(means, {})
    assert values["r_v"] == pytest.approx((2 - 1.5) / 3) and values["r_t"] == means["sign"]


@pytest.mark.curriculum("R25")
def test_the_probability_rises_while_the_discriminator_is_sure_and_falls_again():
    """From 0, every 4 steps by the images seen over those from 0 to 1; r_t is of the 4 steps since; never below 0."""
    ada, signs = adaptive("flip", images=100, spec=SPEC), []

    def descent(state, batch, key):
        return state, batch, {"discriminator/sign_real": (jnp.float32(signs.pop(0)), jnp.float32(10))}

    step, state, seen = following(Transform(descent), ada), State(0, {}, extra=ada.extra()), []
    signs += [10, 10, 2, 2, 10, 10, 10, 10, 5, 5, 5, 5, *[-10] * 8]  # r_t: 0.6 is the target, 1, 0.5, -1, -1
    for _ in range(20):
        state, _, sums = step.update(state, {}, None)
        seen.append(float(sums["discriminator/augmentation"][0]))
    assert seen[0] == 0 and state.extra[KEY]["steps"] == 20
    np.testing.assert_allclose(seen[3::4], [0, 0.4, 0, 0, 0], atol=1e-6)
    assert seen[4:7] == [0, 0, 0] and seen[8:11] == pytest.approx([0.4] * 3)
    assert adaptive("flip", spec=SPEC)[1:] == (0.6, 4, 500_000, 0.0)  # as in the paper


@pytest.mark.curriculum("R25")
def test_p_is_the_probability_of_augmentation():
    """ER97: at p = 0 nothing is augmented, at 1 everything, between them about that share of the rows."""
    ada = adaptive("vertical_flip(1.0)", spec=SPEC)
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (400, 2, 2, 1)), jnp.float32)
    for p in (0.0, 0.3, 1.0):
        extra = {KEY: {**ada.extra()[KEY], "probability": jnp.float32(p)}}
        made = ada.augmented(State(0, {}, extra=extra), images, jax.random.key(0))
        flipped = np.asarray(jnp.abs(made - images[:, ::-1]).max((1, 2, 3)) < 1e-6)
        kept = np.asarray(jnp.abs(made - images).max((1, 2, 3)) < 1e-6)
        assert (flipped ^ kept).all() and flipped.mean() == pytest.approx(p, abs=0.08)


@pytest.mark.curriculum("R25")
def test_real_and_generated_images_are_augmented_in_both_losses(monkeypatch):
    """What the discriminator sees of either is augmented, and the generator's gradient passes through."""
    config = config_of("ada.py:smoke", "--config.ada.policy=vertical_flip(1.0)", "--config.ada.start=1.0", *SMALL)
    game, seen = gan.make_game(config, info_of(config)), []
    ramp = jnp.linspace(-1, 1, 8)[None, :, None, None]

    def spy(module, state, x, key, on):
        if on == "generator":
            return (state.params["generator"] * jnp.broadcast_to(ramp, (len(x), 8, 8, 1)), {}), state
        seen.append(x)
        return ((x[:, :4].sum((1, 2, 3)))[:, None], {}), state

    monkeypatch.setattr(players, "apply_train", spy)
    game = game._replace(loss=game.loss._replace(penalty=0.0))
    stats = {"batch_stats": {"discriminator": {}, "generator": {}}}
    state = State(jnp.zeros((), jnp.int32), {"generator": jnp.float32(1)}, extra=stats | game.adaptive.extra())
    real = jnp.broadcast_to((ramp + 1) / 2, (4, 8, 8, 1))
    _, sums = gan.discriminator_loss(game, state, {"image": real}, jax.random.key(0))
    for x in seen:
        np.testing.assert_allclose(x, jnp.broadcast_to(-ramp, x.shape), atol=1e-6)
    assert float(sums["sign_real"][0]) == 4  # of the augmented images
    cost = lambda g: gan.generator_loss(game, 1, state._replace(params={"generator": g}), {"image": real},  # noqa: E731
                                        jax.random.key(0))[1]["loss"][0]  # fmt: skip
    assert float(jax.grad(cost)(jnp.float32(1))) < 0  # a larger ramp, turned, scores higher


@pytest.mark.curriculum("R25")
def test_the_state_of_a_run_holds_the_probability():
    run = built(config_of("ada.py:smoke", "--config.ada.policy=flip", "--config.ada.every=1", *SMALL,
                          "--config.ada.target=0.01", "--config.ada.images=64"))  # fmt: skip
    before = run.state.extra[KEY]
    assert before["probability"] == 0 and before["steps"] == 0
    state, sums = run.step(run.state, run.batch)
    assert state.extra[KEY]["steps"] == 1 and float(sums["discriminator/augmentation"][0]) in (0, 0.25)
    assert jax.tree.structure(state) == jax.tree.structure(run.state)


# FreezeD, and classes of a data set -----------------------------------------------------------------------------------


@pytest.mark.curriculum("R26")
def test_the_layers_of_high_resolutions_stay_and_the_others_learn():
    run = built(config_of("freeze_d.py:stage=frozen,smoke", "--config.data.image_size=(8,8)"))
    new, old = (s.params["discriminator"] for s in (run.step(run.state, run.batch)[0], run.state))
    changed = {name: different(new[name], old[name]) for name in new}
    assert changed == {"conv0": False, "conv1": False, "conv2": False, "head": True}
    whole = config_of("freeze_d.py:stage=frozen")
    assert whole.data.first == 200 and whole.data.only == tuple("56789") and len(whole.model.discriminator.widths) == 4
    assert config_of("freeze_d.py").data.only == tuple("01234") and not config_of("freeze_d.py").data.get("first")


@pytest.mark.curriculum("R26")
def test_only_some_classes_and_the_first_examples_are_kept():
    splits = {"train": "train", "validation": "validation"}
    data = load("digits", **splits, only=("5", "7"), first=20)
    whole = load("digits", **splits)
    labels = {k: np.asarray(s.batch(np.arange(s.size))["label"]) for k, s in data.splits.items()}
    every = {k: np.asarray(s.batch(np.arange(s.size))["label"]) for k, s in whole.splits.items()}
    assert data.splits["train"].size == 20 and set(labels["train"]) == set(labels["validation"]) == {5, 7}
    kept = np.isin(every["train"], [5, 7])
    np.testing.assert_array_equal(labels["train"], every["train"][kept][:20])
    assert data.splits["validation"].size == np.isin(every["validation"], [5, 7]).sum()
    assert data.num_classes == 10
    with pytest.raises(ConfigError, match=r"config\.data\.only: digits has no class 'five'"):
        load("digits", **splits, only=("five",))
    with pytest.raises(ConfigError, match=r"config\.data\.first=5000: 1149 examples"):
        load("digits", **splits, first=5000)


@pytest.mark.parametrize(
    ("file", "overrides", "words"),
    [
        ("dcgan", ["growth.stable_steps=3"], "config.growth is for players that grow"),
        (
            "progressive",
            ["growth.stable_steps=30"],
            r"resolutions after 30 steps, and the run has 10; .*total_steps=31",
        ),
        ("progressive", ["growth.stable_steps=0"], r"growth\.stable_steps=0"),
        ("progressive", ["model.generator.widths=(4,4,4)"], "have 3 and 2 resolutions"),
        ("dcgan", ["model.generator.labels=10"], "generator.labels=10 and config.model.discriminator.labels=0"),
        ("dcgan", [f"model.{p}.labels=9" for p in players.PLAYERS], "are of 10 classes"),
        ("ada", ["ada.policy= "], "config.ada.policy is empty"),
        ("ada", ["ada.policy=mixup(0.2)"], "mixup.* is no operation on images alone"),
        ("ada", ["ada.policy=rand_augmet"], "did you mean 'rand_augment'"),
        ("ada", ["ada.target=1.5"], r"config\.ada\.target=1\.5"),
        ("ada", ["ada.every=0"], r"config\.ada\.every=0"),
        ("ada", ["ada.images=0"], r"config\.ada\.images=0"),
    ],
)
def test_mistakes_are_named(file, overrides, words):
    with pytest.raises(UserError, match=words):
        config = config_of(f"{file}.py:smoke", *(f"--config.{text}" for text in overrides))
        experiment_of(config)
        gan.make(config, with_labels(config))


@pytest.mark.curriculum("R37")
@pytest.mark.parametrize("config", ["configs/generate/dcgan.py:data=faces", "configs/generate/ddpm.py:data=faces"])
def test_faces_are_made_without_labels_at_the_size_of_the_drawn_ones(config):
    """The recipe at its real size: images of the shape of the data from noise alone, and no judge without labels."""
    config = configs.load(config)
    assert config.data.name.startswith("faces(") and "label" not in config.data.features and not config.judge
    batch = {"image": jax.ShapeDtypeStruct((config.batch_size, 32, 32, 3), "float32")}
    info = info_of(config)._replace(spec=batch)
    if config.experiment == "gan":
        task, make = gan.make(config, info), partial(players.sample, gan.make_game(config, info))
    else:
        task = diffuse.make(config, info)
        make = partial(denoising.sample, diffuse.make_method(config, info)[0])
    state = jax.eval_shape(partial(create_state, task), jax.random.key(0), batch)
    made = jax.eval_shape(lambda state, key: make(state, key, 6), state, jax.random.key(0))
    assert (made.shape, made.dtype) == ((6, 32, 32, 3), "float32") and "judge" not in task.evals
