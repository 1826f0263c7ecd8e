"""Adversarial training: losses and penalties against NumPy, who is updated by what, samples, judges, whole runs."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from models_for_tests import make_model

import launch
from cvdl_jax.analysis.figures import images as figures
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import create_state, descend, step_function
from cvdl_jax.engine import from_run, runs
from cvdl_jax.engine.build import experiment_of
from cvdl_jax.errors import ConfigError, DataError, UserError
from cvdl_jax.metrics import generation
from cvdl_jax.models import players
from cvdl_jax.ops.losses import adversarial
from cvdl_jax.ops.losses.penalties import gradient_penalty, interpolate, real_gradient_penalty
from cvdl_jax.optim import param_groups
from cvdl_jax.workdir.metric_log import read
from experiments import gan

# Compilation is most of the time here, and these tests do not ask for fast code.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=6).astype(np.float32), RNG.normal(size=6).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("R1", "R2", "R3")
def test_losses_equal_the_formulas():
    for loss in (adversarial.minimax(), adversarial.non_saturating()):
        expected = -np.log(sigmoid(REAL)) - np.log(1 - sigmoid(FAKE))
        np.testing.assert_allclose(loss.discriminator(REAL, FAKE), expected, rtol=1e-5)
        assert loss.penalty == loss.clip == 0
    np.testing.assert_allclose(adversarial.minimax().generator(FAKE), np.log(1 - sigmoid(FAKE)), rtol=1e-5)
    np.testing.assert_allclose(adversarial.non_saturating().generator(FAKE), -np.log(sigmoid(FAKE)), rtol=1e-5)
    assert adversarial.non_saturating().discriminator(jnp.float32(-200), jnp.float32(200)) == 400  # no overflow, no inf


def test_losses_of_squares_and_margins_equal_the_formulas():
    squares, margin = adversarial.least_squares(), adversarial.hinge()
    np.testing.assert_allclose(squares.discriminator(REAL, FAKE), 0.5 * ((REAL - 1) ** 2 + FAKE**2), rtol=1e-5)
    np.testing.assert_allclose(squares.generator(FAKE), 0.5 * (FAKE - 1) ** 2, rtol=1e-5)
    expected = np.maximum(0, 1 - REAL) + np.maximum(0, 1 + FAKE)
    np.testing.assert_allclose(margin.discriminator(REAL, FAKE), expected, rtol=1e-5)
    np.testing.assert_allclose(margin.generator(FAKE), -FAKE)


def test_the_penalty_at_real_images_is_half_the_squared_slope():
    x = jnp.asarray(RNG.normal(size=(3, 2, 2, 1)), jnp.float32)
    slopes = 2 * np.asarray(x).reshape(3, -1)  # of |x|^2
    values = real_gradient_penalty(lambda x: (x**2).sum((1, 2, 3)), x)
    np.testing.assert_allclose(values, (slopes**2).sum(1) / 2, rtol=1e-5)
    loss = adversarial.non_saturating(r1=10.0)
    assert loss.at_real and loss.penalty == 10 and not adversarial.wasserstein().at_real
    with pytest.raises(ConfigError, match=r"takes one of penalty=1\.0 and r1=2\.0"):
        adversarial.non_saturating(penalty=1.0, r1=2.0)


@pytest.mark.curriculum("R7")
def test_the_minimax_gradient_vanishes_where_the_discriminator_wins():
    """At D(G(z)) = sigmoid(-12) the generator's gradient is -6e-6 in the zero-sum game, and -1 in the other."""
    slope = lambda loss: float(jax.grad(loss.generator)(jnp.float32(-12)))  # noqa: E731
    assert slope(adversarial.minimax()) == pytest.approx(-sigmoid(-12), rel=1e-4)
    assert slope(adversarial.non_saturating()) == pytest.approx(-1, abs=1e-4)


@pytest.mark.curriculum("R39")
def test_the_best_discriminator_gives_the_jensen_shannon_divergence():
    """On two discrete distributions D* = p / (p + q), where the value of the game is 2 JS(p, q) - 2 ln 2."""
    p, q = np.array([0.5, 0.3, 0.2, 1e-9]), np.array([0.1, 0.3, 0.2, 0.4])

    def value(scores):
        """-V(D): the discriminator's loss, of real and generated rows drawn with p and q."""
        each = adversarial.minimax().discriminator
        return (p * each(scores, jnp.full(4, -jnp.inf)) + q * each(jnp.full(4, jnp.inf), scores)).sum()

    best = jnp.asarray(np.log(p / q), jnp.float32)  # sigmoid of it is p / (p + q)
    np.testing.assert_allclose(jax.nn.sigmoid(best), p / (p + q), atol=1e-6)
    np.testing.assert_allclose(jax.grad(value)(best), 0, atol=1e-6)
    m = (p + q) / 2
    js = ((p * np.log(p / m)).sum() + (q * np.log(q / m)).sum()) / 2
    assert float(-value(best)) == pytest.approx(2 * js - 2 * np.log(2), abs=1e-5)


@pytest.mark.curriculum("R10")
def test_wasserstein_losses_are_differences_of_scores():
    loss = adversarial.wasserstein()
    np.testing.assert_array_equal(loss.discriminator(REAL, FAKE), FAKE - REAL)
    np.testing.assert_array_equal(loss.generator(FAKE), -FAKE)
    assert (loss.penalty, loss.clip) == (10, 0)
    assert adversarial.wasserstein(penalty=0.0, clip=0.01).clip == 0.01


@pytest.mark.curriculum("R10")
@pytest.mark.parametrize(
    "kwargs", [{"penalty": 0.0}, {"clip": 0.01}, {"penalty": -1.0}, {"penalty": 0.0, "clip": -0.1}]
)
def test_a_critic_is_held_in_exactly_one_way(kwargs):
    with pytest.raises(ConfigError, match=r"penalty=10\.0, or penalty=0\.0 with clip=0\.01"):
        adversarial.wasserstein(**kwargs)


@pytest.mark.curriculum("R10")
def test_penalty_of_a_linear_critic_is_known():
    """f(x) = w x has |grad f| = |w| everywhere: the penalty is (|w| - 1)^2, its gradient 2 (|w| - 1) w / |w|."""
    w = RNG.normal(size=(3, 2, 1)).astype(np.float32)
    x = RNG.normal(size=(4, 3, 2, 1)).astype(np.float32)

    def penalty(w):
        return gradient_penalty(lambda x: (x * w[None]).sum((1, 2, 3)), x)

    length = np.sqrt((w**2).sum())
    np.testing.assert_allclose(penalty(w), np.full(4, (length - 1) ** 2), rtol=1e-4)
    slope = jax.grad(lambda w: penalty(w).mean())(w)
    np.testing.assert_allclose(slope, 2 * (length - 1) * w / length, rtol=1e-4)
    assert np.isfinite(jax.grad(lambda w: penalty(w).sum())(jnp.zeros_like(w))).all()


@pytest.mark.curriculum("R10")
def test_penalty_of_a_convolutional_critic_equals_finite_differences():
    with jax.enable_x64(True):
        critic = make_model("dcgan_discriminator_tiny", 1, "float64", norm="layer")
        x = jnp.asarray(RNG.normal(size=(2, 8, 8, 1)))
        params = critic.init(jax.random.key(0), x, True)
        f = jax.jit(lambda x: critic.apply(params, x, True)[0][:, 0])
        bumps = np.eye(64).reshape(64, 8, 8, 1) * 1e-6
        slopes = np.array([(f(x + bump[None]) - f(x - bump[None])) / 2e-6 for bump in bumps])  # [64, 2]
        expected = (np.sqrt((slopes**2).sum(0)) - 1) ** 2
        np.testing.assert_allclose(gradient_penalty(f, x), expected, rtol=1e-5)


@pytest.mark.curriculum("R10")
def test_interpolates_are_rowwise():
    real, fake = RNG.normal(size=(2, 3, 2, 2, 1)).astype(np.float32)
    t = np.float32([0, 0.25, 1])
    x = interpolate(real, fake, t)
    np.testing.assert_array_equal(x[0], fake[0])
    np.testing.assert_allclose(x[1], 0.25 * real[1] + 0.75 * fake[1], rtol=1e-6)
    np.testing.assert_array_equal(x[2], real[2])


@pytest.mark.curriculum("R5")
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_discriminator_equals_numpy(norm):
    """Two strided convolutions, normalised over the whole image, leaky ReLU, and one linear score: no sigmoid."""
    model = make_model("dcgan_discriminator_tiny", 1, "float32", norm=norm)
    x = RNG.normal(size=(3, 8, 8, 1)).astype(np.float32)
    variables = model.init(jax.random.key(0), x, False)
    params = jax.tree.map(lambda p: np.float64(p) + 0.1, variables["params"])
    scores = model.apply({"params": jax.tree.map(np.float32, params)}, x, True)[0]

    def convolve(x, kernel):  # kernel 4, stride 2, one row of zeros on every side
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        h = x.shape[1] - 3
        return sum(
            np.einsum("bhwc,cf->bhwf", x[:, p : p + h : 2, q : q + h : 2], kernel[p, q]) for p, q in np.ndindex(4, 4)
        )

    leaky = lambda y: np.where(y > 0, y, 0.2 * y)  # noqa: E731
    y = leaky(convolve(x, params["conv0"]["kernel"]) + params["conv0"]["bias"])
    y = convolve(y, params["conv1"]["kernel"]) + (params["conv1"]["bias"] if norm == "none" else 0)
    if norm == "layer":
        mean, var = y.mean((1, 2, 3), keepdims=True), y.var((1, 2, 3), keepdims=True)
        y = (y - mean) / np.sqrt(var + 1e-5) * params["norm1"]["scale"] + params["norm1"]["bias"]
    expected = leaky(y).reshape(3, -1) @ params["head"]["kernel"] + params["head"]["bias"]
    assert scores.shape == (3, 1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


# Steps ----------------------------------------------------------------------------------------------------------------


def config_of(*overrides, file="configs/generate/dcgan.py"):
    small = ["--config.model.discriminator.widths=(4,8)", "--config.model.generator.widths=(8,4)"]
    return configs.load(f"{file}:smoke", [*small, *overrides])


WGAN = partial(config_of, file="configs/generate/wgan_gp.py")


def info_of(config, total_steps=10):
    b = config.batch_size
    spec = {"image": jax.ShapeDtypeStruct((b, 8, 8, 1), jnp.float32)}
    return Info(None, (), spec, {"train": 100, "validation": 20}, b, total_steps, 100 / b, config.seed)


def batch_of(config, seed=0):
    return {"image": jnp.asarray(np.random.default_rng(seed).random((config.batch_size, 8, 8, 1)), jnp.float32)}


def built(config):
    """The task, its first state, its jitted step and a batch."""
    task = gan.make(config, info_of(config))
    batch = batch_of(config)
    state = quick_jit(partial(create_state, task))(jax.random.key(1), batch)
    return SimpleNamespace(task=task, state=state, batch=batch, step=quick_jit(step_function(task, config.seed)))


@pytest.fixture(scope="module")
def dc():
    return built(config_of())


def different(a, b):
    """Whether every leaf of a differs from that of b, or none does."""
    answers = {bool(np.any(x != y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)}
    assert len(answers) == 1
    return answers.pop()


def game_of(config):
    return gan.make_game(config, info_of(config))


@pytest.mark.curriculum("R6", "R3")
def test_each_player_is_updated_by_its_own_loss_only(dc):
    """The gradient of a player's loss reaches the other player's parameters nowhere, and its statistics stay."""
    config = config_of()
    game, key = game_of(config), jax.random.key(5)
    losses = {
        "discriminator": partial(gan.discriminator_loss, game),
        "generator": partial(gan.generator_loss, game, 1),
    }
    for (mine, loss), other in zip(losses.items(), ("generator", "discriminator"), strict=True):
        transform = descend(loss, optax.sgd(0.1), on=mine)
        state, _, sums = quick_jit(transform.update)(transform.init(dc.state), dc.batch, key)
        assert different(state.params[mine], dc.state.params[mine])
        assert not different(state.params[other], dc.state.params[other])
        assert different(state.extra["batch_stats"][mine], dc.state.extra["batch_stats"][mine])
        assert not different(state.extra["batch_stats"][other], dc.state.extra["batch_stats"][other])
        assert {name.partition("/")[0] for name in sums} == {mine}


@pytest.mark.curriculum("R10")
def test_the_penalty_is_taken_between_the_real_and_the_generated_images(monkeypatch):
    """Each row at its own place x = t real + (1 - t) fake, 0 < t < 1, and it counts `loss.penalty` times."""
    config, seen = WGAN("--config.critic_steps=1"), []
    game = game_of(config)
    task, batch = gan.make(config, info_of(config)), batch_of(config)
    state = quick_jit(partial(create_state, task))(jax.random.key(1), batch)
    made, penalty = [], players.gradient_penalty
    monkeypatch.setattr(players, "gradient_penalty", lambda f, x: seen.append(x) or penalty(f, x))
    original = players.make_images
    monkeypatch.setattr(players, "make_images", lambda *a: made.append(original(*a)) or made[-1])

    def all_of_it(state, batch):
        seen.clear(), made.clear()
        _, sums = gan.discriminator_loss(game, state, batch, jax.random.key(3))
        return sums, seen[0], made[0][0]

    sums, x, fake = (jax.tree.map(np.asarray, part) for part in quick_jit(all_of_it)(state, batch))
    ahead = np.asarray(2 * batch["image"] - 1) - fake
    t = ((x - fake) * ahead).sum((1, 2, 3)) / (ahead**2).sum((1, 2, 3))
    np.testing.assert_allclose(x - fake, t[:, None, None, None] * ahead, atol=1e-5)
    assert t.min() > 0.001 and t.max() < 0.999 and np.ptp(t) > 0.5 and len(np.unique(t)) == len(t)
    parts = {name: value[0] for name, value in sums.items()}
    expected = parts["score_fake"] - parts["score_real"] + 10 * parts["penalty"]
    assert parts["penalty"] > 0
    np.testing.assert_allclose(parts["loss"], expected, rtol=1e-5)


def test_the_penalty_of_r1_is_taken_at_the_real_images(monkeypatch):
    """In -1..1, as the discriminator sees them; it counts `loss.r1` times."""
    critic = ("--config.critic_steps=1", "--config.loss={'name': 'non_saturating', 'r1': 3.0}")
    config, seen = WGAN(*critic), []
    game = game_of(config)
    task, batch = gan.make(config, info_of(config)), batch_of(config)
    state = quick_jit(partial(create_state, task))(jax.random.key(1), batch)
    penalty = players.real_gradient_penalty
    monkeypatch.setattr(players, "real_gradient_penalty", lambda f, x: seen.append(x) or penalty(f, x))

    def all_of_it(state, batch):
        seen.clear()
        _, sums = gan.discriminator_loss(game, state, batch, jax.random.key(3))
        return {name: value[0] for name, value in sums.items()}, seen[0]

    parts, x = quick_jit(all_of_it)(state, batch)
    np.testing.assert_allclose(x, 2 * batch["image"] - 1, atol=1e-6)
    without = game._replace(loss=game.loss._replace(penalty=0.0))
    _, sums = quick_jit(partial(gan.discriminator_loss, without))(state, batch, jax.random.key(3))
    assert parts["penalty"] > 0
    np.testing.assert_allclose(parts["loss"], sums["loss"][0] + 3 * parts["penalty"], rtol=1e-5)


@pytest.mark.curriculum("R3")
def test_a_step_updates_both_players_their_statistics_and_optimizers(dc):
    state, sums = dc.step(dc.state, dc.batch)
    for player in gan.PLAYERS:
        assert different(state.params[player], dc.state.params[player])
        assert different(state.extra["batch_stats"][player], dc.state.extra["batch_stats"][player])
        assert f"{player}/loss" in sums and f"{player}/learning_rate" in sums
    assert set(state.opt) == set(gan.PLAYERS)
    assert float(sums["discriminator/loss"][1]) == float(sums["generator/loss"][1]) == 16
    total = float(sums["discriminator/loss"][0]) / 16
    assert total == pytest.approx(2 * np.log(2), abs=0.3)  # both sides undecided


def test_the_same_seed_gives_the_same_state(dc):
    first, second = dc.step(dc.state, dc.batch), dc.step(dc.state, dc.batch)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    other = quick_jit(step_function(dc.task, 9))(dc.state, dc.batch)
    kernel = lambda state: state.params["generator"]["project"]["kernel"]  # noqa: E731
    assert different(kernel(first[0]), kernel(other[0]))


@pytest.mark.curriculum("R10")
def test_critic_steps_see_fresh_sub_batches_and_update_the_critic_alone():
    """With n = 4, four steps of four rows each, every row once; the generator changes once."""
    config = WGAN("--config.critic_steps=4")
    seen = []
    original = gan.discriminator_loss

    def spy(*args):
        state, batch, _ = args[-3:]
        jax.debug.callback(
            lambda x, g: seen.append((np.asarray(x), np.asarray(g))),
            batch["image"][:, 0, 0, 0],
            state.params["generator"]["project"]["kernel"],
        )
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan, "discriminator_loss", spy)
        run = built(config)
        state, sums = run.step(run.state, run.batch)
        jax.effects_barrier()
    assert len(seen) == 4 and all(rows.shape == (4,) for rows, _ in seen)
    rows = np.concatenate([rows for rows, _ in seen])
    np.testing.assert_array_equal(np.sort(rows), np.sort(run.batch["image"][:, 0, 0, 0]))
    assert len(set(rows.tolist())) == 16
    for _, kernel in seen:  # no critic step changed the generator
        np.testing.assert_array_equal(kernel, run.state.params["generator"]["project"]["kernel"])
    assert different(state.params["generator"], run.state.params["generator"])
    counts = {player: int(state.opt[player][1].count) for player in gan.PLAYERS}
    assert counts == {"discriminator": 4, "generator": 1}
    assert float(sums["discriminator/loss"][1]) == 16 and float(sums["generator/loss"][1]) == 4
    assert float(sums["discriminator/penalty"][0]) > 0
    assert not jax.tree.leaves(state.extra["batch_stats"]["discriminator"])


@pytest.mark.curriculum("R10")
def test_the_penalised_loss_is_the_sum_of_its_parts():
    config = WGAN()
    run = built(config)
    _, sums = gan.discriminator_loss(game_of(config), run.state, run.batch, jax.random.key(0))
    means = {name: float(total / weight) for name, (total, weight) in sums.items()}
    expected = means["score_fake"] - means["score_real"] + 10 * means["penalty"]
    assert means["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.curriculum("R10")
def test_clipping_bounds_the_critic_and_not_the_generator():
    config = WGAN("--config.loss.penalty=0.0", "--config.loss.clip=0.01")
    run = built(config)
    state, sums = run.step(run.state, run.batch)
    assert max(float(np.abs(p).max()) for p in jax.tree.leaves(state.params["discriminator"])) == np.float32(0.01)
    assert max(float(np.abs(p).max()) for p in jax.tree.leaves(state.params["generator"])) > 0.05
    assert "discriminator/penalty" not in sums


def test_the_average_follows_the_generator(dc):
    d = min(0.999, 1 / 10)  # warm-up at step 0
    state, _ = dc.step(dc.state, dc.batch)
    expected = jax.tree.map(lambda a, b: d * a + (1 - d) * b, dc.state.params["generator"], state.params["generator"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), state.extra["ema"], expected)
    assert different(state.extra["ema_statistics"], state.extra["batch_stats"]["generator"])


def test_samples_are_those_of_the_average(dc):
    state, _ = dc.step(dc.state, dc.batch)
    game = game_of(config_of())
    generator = game.generator
    images = gan.sample(game, state, jax.random.key(3), 5)
    z = row_random(jax.random.normal, jax.random.key(3), (5, 32))
    variables = {"params": state.extra["ema"], "batch_stats": state.extra["ema_statistics"]}
    np.testing.assert_allclose(images, (generator.apply(variables, z, False)[0] + 1) / 2, atol=1e-6)
    assert images.shape == (5, 8, 8, 1) and 0 <= images.min() and images.max() <= 1
    plain = state._replace(extra={"batch_stats": state.extra["batch_stats"]})
    raw = {"params": state.params["generator"], "batch_stats": state.extra["batch_stats"]["generator"]}
    expected = (generator.apply(raw, z, False)[0] + 1) / 2
    np.testing.assert_allclose(gan.sample(game, plain, jax.random.key(3), 5), expected, atol=1e-6)


def test_the_grid_has_the_same_noise_at_each_report(dc):
    draw = lambda state, key: np.asarray(  # noqa: E731
        dc.task.report(state, {}, jax.random.key(key))["samples"].axes[0].images[0].get_array()
    )
    first = draw(dc.state, 1)
    assert first.shape == (64, 64)
    np.testing.assert_array_equal(first, draw(dc.state, 2))
    assert np.any(first != draw(dc.step(dc.state, dc.batch)[0], 1))
    generator = game_of(config_of()).generator
    z = row_random(jax.random.normal, jax.random.key(0), (64, 32))  # of config.seed = 0
    variables = {"params": dc.state.extra["ema"], "batch_stats": dc.state.extra["ema_statistics"]}
    images = np.asarray((generator.apply(variables, z, False)[0] + 1) / 2)
    np.testing.assert_allclose(first[8:16, 16:24], images[10, :, :, 0], atol=1e-6)  # row 1, column 2


def test_a_mosaic_fills_its_last_row_with_white():
    images = np.zeros((3, 2, 2, 3), np.float32)
    shown = np.asarray(figures.mosaic(images, columns=2).axes[0].images[0].get_array())
    assert shown.shape == (4, 4, 3)
    assert shown[2:, 2:].min() == 1 and shown[:2].max() == 0 and shown[2:, :2].max() == 0


@pytest.mark.parametrize(
    ("file", "override", "words"),
    [
        ("dcgan", "normalise={'mean':(0.5,),'std':(0.5,)}", "config.normalise"),
        ("dcgan", "critic_steps=3", r"critic_steps=3 must divide config\.batch_size=16"),
        ("dcgan", "critic_steps=0", "critic_steps=0"),
        ("dcgan", "critic_steps=1.5", r"config\.critic_steps=1\.5 is of type float"),
        ("dcgan", "loss.name=non_saturatin", "did you mean 'non_saturating'"),
        ("dcgan", "loss.clip=0.1", r"config\.loss\.clip"),
        ("dcgan", "optim.critic.lr=0.1", r"config\.optim has .*'critic'"),
        ("dcgan", "optim.generator.b3=0.1", r"config\.optim\.generator\.b3"),
        ("dcgan", "model.generator.latnt=3", "did you mean 'latent'"),
        ("dcgan", "model.discriminator.norm=bath", "did you mean 'batch'"),
        ("wgan_gp", "model.discriminator.norm=batch", "a critic that does not mix rows"),
        ("dcgan", "judge.workdir=nowhere", "nowhere"),
        ("dcgan", "judge.samples=10", r"config\.judge\.workdir is missing"),
    ],
)
def test_mistakes_are_named(file, override, words):
    with pytest.raises(UserError, match=words):
        config = config_of(f"--config.{override}", file=f"configs/generate/{file}.py")
        experiment_of(config)
        task = gan.make(config, info_of(config))
        jax.eval_shape(
            lambda: step_function(task, 0)(create_state(task, jax.random.key(0), batch_of(config)), batch_of(config))
        )


def test_optimizer_tables_name_both_players(dc):
    text = param_groups.describe(config_of().optim, dc.state.params)
    assert text.startswith("discriminator\nparameter") and "\n\ngenerator\nparameter" in text
    for player in gan.PLAYERS:
        total = sum(p.size for p in jax.tree.leaves(dc.state.params[player]))
        assert f"\n{total:,} parameters trained, 0 frozen" in text


# Evaluations of samples -----------------------------------------------------------------------------------------------


def test_sliced_wasserstein_equals_scipy_in_each_direction():
    real, fake = RNG.normal(size=(2, 50, 3))
    fake = 2 * fake + 1
    by_scipy = np.mean([scipy.stats.wasserstein_distance(real[:, k], fake[:, k]) for k in range(3)])
    assert generation.sliced_wasserstein(real, fake) == pytest.approx(by_scipy)
    assert generation.sliced_wasserstein(real, real[::-1]) == 0
    assert generation.sliced_wasserstein(real, real + 0.25) == pytest.approx(0.25)
    with pytest.raises(DataError, match=r"\(50, 3\) and \(49, 3\)"):
        generation.sliced_wasserstein(real, fake[1:])


def test_spread_shows_collapse():
    real = RNG.normal(size=(200, 8))
    assert generation.spread(real, 0.5 * real) == pytest.approx(0.5)
    assert generation.spread(real, np.tile(real[:1], (200, 1))) == pytest.approx(0)


@pytest.mark.curriculum("R30")
def test_what_a_judge_says_by_hand():
    """Eight samples sure of class 0, two of class 1: two classes covered; the score is exp of the class entropy."""
    p = np.zeros((10, 4))
    p[:8, 0] = p[8:, 1] = 1
    result = generation.judgement(p)
    assert (result["classes"], result["confidence"], result["samples"]) == (2, 1, 10)
    assert result["inception_score"] == pytest.approx(np.exp(-0.8 * np.log(0.8) - 0.2 * np.log(0.2)))
    even = np.full((10, 4), 0.25)
    assert (
        generation.judgement(even)["inception_score"] == pytest.approx(1)
        and generation.judgement(even)["confidence"] == 0.25
    )
    assert generation.judgement(np.repeat(np.eye(4), 5, 0))["inception_score"] == pytest.approx(4)
    broken = generation.judgement(np.where(np.arange(10)[:, None] < 8, np.nan, p))
    assert broken["classes"] == 1 and np.isnan(broken["inception_score"])  # what is no number is of no class
    told = generation.agreement(np.where(np.arange(10)[:, None] < 4, np.nan, p), np.repeat([0, 1], [8, 2]))
    assert told == {"agreement": 0.6, "agreement_0": 0.5, "agreement_1": 1.0}
    stray = np.zeros((1000, 10))
    stray[:, 0] = 1
    stray[:9], stray[9:20] = np.eye(10)[1], np.eye(10)[2]
    assert generation.judgement(stray)["classes"] == 2  # nine of a thousand are no cover, eleven are


def test_compared_projects_pixels_on_unit_directions():
    fake = jnp.asarray(RNG.random((6, 4, 4, 1)), jnp.float32)
    real = jnp.asarray(RNG.random((6, 4, 4, 1)), jnp.float32)
    evaluation = generation.compared(lambda state, key, n: fake[:n], "validation")
    rows = jax.tree.map(np.asarray, evaluation.step(None, {"image": real, "mask": jnp.ones(6)}, jax.random.key(0)))
    axes = np.asarray(generation.directions(16, jnp.float32))
    np.testing.assert_allclose((axes**2).sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(rows["real"], np.asarray(real).reshape(6, 16) @ axes, atol=1e-5)
    metrics = evaluation.finalize({}, rows)
    assert metrics["sliced_wasserstein"] == pytest.approx(generation.sliced_wasserstein(rows["real"], rows["fake"]))
    assert not evaluation.final and generation.compared(None, "test").final


def test_judged_counts_exactly_the_samples_that_were_asked_for():
    """A judge of 10 samples in batches of 4: three batches, of the last of which two are left out."""
    sure = jax.nn.one_hot(jnp.array([0, 1, 0, 1]), 3)
    jury = generation.Judge(lambda images: sure * images.mean((1, 2, 3))[:, None], 10)
    evaluation = generation.judged(lambda state, key, n: jnp.ones((n, 2, 2, 1)), jury, 4)
    assert evaluation.data == 3 and not evaluation.final
    batches = [evaluation.step(None, {}, jax.random.key(i))["probabilities"] for i in range(3)]
    metrics = evaluation.finalize({}, {"probabilities": np.concatenate(batches)})
    assert (metrics["samples"], metrics["classes"], metrics["confidence"]) == (10, 2, 1)
    assert metrics["inception_score"] == pytest.approx(2)


# Whole runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("judge") / "run"
    flags = ["--config.total_steps=60", "--config.log.tensorboard=False", "--config.eval.every_steps=30"]
    assert launch.main(["--config=configs/classify/lenet5.py", f"--workdir={workdir}", *flags]) == 0
    return workdir


@pytest.mark.long
def test_a_judge_is_the_run_it_was_loaded_from(lenet):
    jury = from_run.load_judge(str(lenet), channels=1)
    task, state, _ = runs.load(lenet)
    images = jnp.asarray(RNG.random((3, 32, 32, 1)), jnp.float32)
    expected = jax.nn.softmax(task.predict(state, {"image": images})["scores"], -1)
    np.testing.assert_allclose(jury.probabilities(images), expected, atol=1e-6)
    built_run = runs.load_built(lenet, with_data=True)[0]
    test = built_run.data.splits["validation"]
    from cvdl_jax.data import load as data_load

    small = (
        data_load.load("digits", validation="validation").splits["validation"].arrays["image"]
    )  # 8x8, not yet resized
    sure = np.asarray(jury.probabilities(jnp.asarray(small / 255, jnp.float32)))
    accuracy = (sure.argmax(-1) == test.arrays["label"]).mean()
    assert accuracy == pytest.approx(
        json.loads((lenet / "results.json").read_text())["metrics"]["validation/accuracy"], abs=0.011
    )
    with pytest.raises(ConfigError, match="1 channels, the samples have 3"):
        from_run.load_judge(str(lenet), channels=3)
    with pytest.raises(ConfigError, match=r"config\.judge\.samples=0"):
        from_run.load_judge(str(lenet), channels=1, samples=0)


@pytest.mark.long
@pytest.mark.curriculum("R34")
def test_distances_are_of_the_judges_features_of_test_images_and_as_many_samples(lenet):
    jury = from_run.load_judge(str(lenet), channels=1, layer="pre_logits")
    built_run, state, _ = runs.load_built(lenet, with_data=True)
    images = jnp.asarray(built_run.data.splits["test"].arrays["image"][:300] / 255, jnp.float32)
    section = SimpleNamespace(workdir=str(lenet), layer="pre_logits")
    of_layer = from_run.model_features(built_run, jax.device_get(state), section)
    np.testing.assert_allclose(jury.features(images), of_layer({"image": images}), atol=1e-4)
    seen = generation.featured(lambda state, key, n: 1 - images[:n], jury, "test")
    rows = quick_jit(lambda x: seen.step(None, {"image": x}, None))(images)
    assert seen.data == "test" and seen.final
    metrics = seen.finalize({}, jax.tree.map(np.asarray, rows))
    tag = f"300_{jury.name}"
    assert jury.name.startswith("pre_logits_") and set(metrics) == {
        f"{name}_{tag}"
        for name in ("frechet", "kernel", "precision", "recall", "density", "coverage", "frechet_halves")
    }
    assert metrics[f"frechet_{tag}"] > 5 * metrics[f"frechet_halves_{tag}"] > 0  # negatives are no digits
    again = generation.distances(np.asarray(rows["real"]), np.asarray(rows["real"]), jury.name)
    assert again[f"frechet_{tag}"] < 1e-6 and again[f"recall_{tag}"] == 1


@pytest.mark.curriculum("R32")
def test_the_path_length_of_a_run_is_that_of_its_walks():
    """A generator that turns the plane, whose features are its images: an arc of w radians has the length w."""
    jury = generation.Judge(None, 10, lambda images: images, "plane")
    ends = {0: jnp.tile(jnp.array([[1.0, 0.0]]), (6, 1)), 1: jnp.tile(jnp.array([[0.0, 1.0]]), (6, 1))}
    drawn = []

    def noise(key, n):
        drawn.append(key)
        return ends[len(drawn) - 1]

    seen = generation.walked(noise, lambda state, key, z: state * z, jury, 6)
    assert seen.data == 2 and seen.final  # two batches of six for ten pairs
    rows = seen.step(3.0, {}, jax.random.key(0))
    np.testing.assert_allclose(rows["length"], 9 * (np.pi / 2) ** 2, rtol=1e-3)
    assert not np.array_equal(jax.random.key_data(drawn[0]), jax.random.key_data(drawn[1]))
    lengths = np.concatenate([np.arange(10.0), [99, 99]])
    assert seen.finalize({}, {"length": lengths}) == {"path_length_10_plane": 4.5}  # what is too many is left out
    assert players.walk(SimpleNamespace(generator=SimpleNamespace(prior="uniform"))) is None


@pytest.mark.long
def test_a_run_writes_samples_and_what_the_judge_says(lenet, tmp_path):
    workdir = tmp_path / "run"
    flags = [f"--config.judge.workdir={lenet}", "--config.judge.samples=40", "--config.log.tensorboard=False"]
    flags += ["--config.judge.layer=pre_logits"]
    assert launch.main(["--config=configs/generate/wgan_gp.py:smoke", f"--workdir={workdir}", *flags]) == 0
    metrics = json.loads((workdir / "results.json").read_text())["metrics"]
    assert {name for name in metrics if not name.startswith(("distance/", "walk/"))} == {
        *(f"{split}/{name}" for split in ("validation", "test") for name in ("sliced_wasserstein", "spread")),
        *(f"judge/{name}" for name in ("classes", "confidence", "inception_score", "samples")),
        *(f"samples/{name}" for name in ("nearest", "nearest_unseen", "among")),
    }
    assert len([name for name in metrics if name.startswith("distance/frechet_359_pre_logits_")]) == 1
    (length,) = [value for name, value in metrics.items() if name.startswith("walk/path_length_40_pre_logits_")]
    assert 0 < length < np.inf
    assert metrics["judge/samples"] == 40 and 1 <= metrics["judge/classes"] <= 10
    assert (workdir / "figures" / "samples.png").stat().st_size > 1000
    with np.load(workdir / "predictions" / "judge.npz") as file:
        assert file["probabilities"].shape == (48, 10)
    last = read(workdir / "metrics.jsonl")[-1]
    assert {"train/discriminator/penalty", "train/generator/loss", "judge/confidence"} <= set(last)
