"""Metric learning: the glue around losses and measures, the thresholds, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import verification
from cvdl_jax.ops import distances
from cvdl_jax.ops.losses import metric
from experiments import metric_learning

CONFIG = "configs/regimes/siamese.py:smoke"


class Flat:
    """Stands for an encoder: the embedding is the first row of pixels times a parameter."""

    def apply(self, variables, image, train, mutable=None, **how):
        out = (image[:, 0, :, 0] * variables["params"]["scale"], {})
        return (out, {}) if mutable else out


def state_of(scale=1.0, **judge):
    params = {"encoder": {"scale": jnp.float32(scale)}} | ({"judge": judge} if judge else {})
    thresholds = {"verify": jnp.float32(-2.5), "identify": jnp.float32(-1.5)}
    return State(jnp.zeros((), jnp.int32), params, {}, {"batch_stats": {"encoder": {}}, "thresholds": thresholds})


def images(*rows):
    return jnp.asarray(rows, jnp.float32)[:, None, :, None]


BATCH = {"image": images((0, 0), (3, 4), (0, 1), (3, 3)), "who": jnp.asarray([0, 0, 1, 1])}


@pytest.mark.curriculum("I15")
@pytest.mark.parametrize("unit", [False, True])
def test_one_encoder_sees_all_images_and_every_row_meets_the_batch(unit):
    """The hard triplets by hand, of 2 x - 1: normalised first, then, for `unit`, made of length one."""
    scale = distances.unit if unit else lambda x: x
    loss = lambda rows: metric.triplet(rows, margin=0.5)  # noqa: E731
    args = Flat(), lambda x: 2 * x - 1, scale, loss, "who"
    _, sums = metric_learning.training_loss(*args, state_of(3.0), BATCH, jax.random.key(0))
    x = 3 * (2 * np.asarray([(0, 0), (3, 4), (0, 1), (3, 3)], float) - 1)
    x = x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    positive = d[[0, 1, 2, 3], [1, 0, 3, 2]]
    negative = np.minimum(d[[0, 1, 2, 3], [2, 2, 0, 0]], d[[0, 1, 2, 3], [3, 3, 1, 1]])
    losses = np.maximum(positive - negative + 0.5, 0)
    np.testing.assert_allclose(sums["loss"], (losses.sum(), 4), rtol=1e-4)
    np.testing.assert_allclose(sums["active"], ((losses > 0).sum(), 4))


@pytest.mark.curriculum("I16")
def test_the_judge_is_trained_with_the_encoder_and_partners_change_with_the_step():
    judge = {"weight": jnp.asarray([-1.0, -1.0]), "bias": jnp.float32(1)}
    args = Flat(), lambda x: x, lambda x: x, metric.weighted_l1, "who"

    def total(params, key):
        state = state_of()._replace(params=params)
        return metric_learning.training_loss(*args, state, BATCH, jax.random.key(key))[1]["loss"][0]

    params = state_of(1.0, **judge).params
    values = {round(float(total(params, k)), 4) for k in range(6)}
    assert len(values) > 1 and float(total(params, 3)) == float(total(params, 3))
    slope = jax.grad(total)(params, 0)
    assert all(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(slope))


def test_evaluations_use_the_averaged_encoder_and_judge():
    judge = {"weight": jnp.asarray([-1.0, -1.0]), "bias": jnp.float32(1)}
    average = {"encoder": {"scale": jnp.float32(3)}, "judge": jax.tree.map(lambda x: 2 * x, judge)}
    state = state_of(1.0, **judge)
    state = state._replace(extra={**state.extra, "ema": average})
    embed = partial(metric_learning.embeddings, Flat(), lambda x: x - 1, lambda x: x + 0.5)
    rows = metric_learning.evaluation_step(embed, "who", state, BATCH, None)
    np.testing.assert_allclose(rows["embedding"], 3 * (BATCH["image"][:, 0, :, 0] - 1) + 0.5)
    np.testing.assert_array_equal(rows["weight"], [[-2, -2]] * 4)
    np.testing.assert_array_equal(rows["bias"], [2] * 4)


@pytest.mark.curriculum("I13", "I14")
@pytest.mark.parametrize("learned", [False, True])
def test_evaluation_at_the_thresholds_of_the_state(learned):
    """Scores of minus the distance, or of the judge; the test split takes the thresholds as they are."""
    judge = {"weight": jnp.asarray([-1.0, -2.0]), "bias": jnp.float32(0.5)} if learned else {}
    batch = {"image": images((0, 0), (0, 1), (5, 0), (5, 2), (0, 3), (1, 3)), "who": jnp.asarray([4, 4, 6, 6, 9, 9])}
    embed = lambda state, batch: batch["image"][:, 0, :, 0]  # noqa: E731
    rows = metric_learning.evaluation_step(embed, "who", state_of(1.0, **judge), batch, None)
    assert all(len(x) == 6 for x in rows.values())
    rows = {name: np.asarray(x) for name, x in rows.items()}
    x = np.asarray(batch["image"])[:, 0, :, 0]
    difference = np.abs(x[:, None] - x[None])
    scores = difference @ [-1, -2] + 0.5 if learned else -np.linalg.norm(difference, axis=-1)
    np.testing.assert_allclose(metric_learning.similarities(rows), scores, rtol=1e-5)
    metrics = metric_learning.finalise(0.1, False, {}, rows)
    same, values = verification.pairs(scores, rows["label"])
    assert metrics["verify_threshold"] == -2.5 and metrics["identify_threshold"] == -1.5
    assert metrics["true_accept_rate"] == pytest.approx((values[same] >= -2.5).mean())
    assert metrics["false_accept_rate"] == pytest.approx((values[~same] >= -2.5).mean())
    # enrolled are 4 and 9 by their first images; image 1 has to pass for 4, image 5 for 9, and 2, 3 for nobody
    own = np.asarray([scores[1, 0], scores[5, 4]])
    alarms = np.maximum(scores[[2, 3], 0], scores[[2, 3], 4])
    assert metrics["identification_rate"] == (own >= -1.5).mean()
    assert metrics["false_alarm_rate"] == (alarms >= -1.5).mean()
    chosen = metric_learning.finalise(0.1, True, {}, rows)  # as of validation, from these rows
    assert chosen["false_accept_rate"] <= 0.1 and chosen["false_alarm_rate"] <= 0.1
    assert (chosen["verify_threshold"], chosen["identify_threshold"]) == verification.chosen(
        metric_learning.similarities(rows), rows["label"], 0.1
    )


def test_the_validation_split_chooses_and_nothing_else_changes():
    metrics = {f"validation/{name}_threshold": jnp.float32(x) for name, x in (("verify", -0.3), ("identify", -0.2))}
    metrics |= {f"test/{name}_threshold": jnp.float32(9) for name in ("verify", "identify")}
    state, stop = metric_learning.remember(None, state_of(2.0), metrics)
    assert state.extra["thresholds"] == {"verify": np.float32(-0.3), "identify": np.float32(-0.2)} and not stop
    assert state.params == state_of(2.0).params
    _, stop = metric_learning.remember(lambda state, metrics: (state, jnp.asarray(True)), state_of(), metrics)
    assert stop


@pytest.fixture(scope="module")
def run():
    """The smoke run with the learned distance."""
    far = "--config.embedding.far=0.2"
    return build(configs.load(f"{CONFIG},loss=weighted_l1", ["--config.model.channels=(4,)", far]))


def test_the_run_keeps_thresholds_and_only_validation_chooses(run):
    batch = {"image": jnp.zeros((16, 32, 32, 3)), "identity": jnp.zeros(16, int)}
    state = jax.eval_shape(run.task.init, jax.random.key(0), batch)
    assert state["params"].keys() == {"encoder", "judge"} and state["params"]["judge"]["weight"].shape == (64,)
    assert state["extra"].keys() == {"batch_stats", "thresholds"}
    chooses = {name: evaluation.finalize.args for name, evaluation in run.task.evals.items()}
    assert chooses == {"validation": (0.2, True), "test": (0.2, False)}
    assert {name: (e.data, e.final) for name, e in run.task.evals.items()} == {
        "validation": ("validation", False), "test": ("test", True)
    }  # fmt: skip


def test_the_figures_are_drawn(run):
    rng = np.random.default_rng(0)
    rows = {"embedding": rng.normal(size=(12, 3)), "label": np.repeat(np.arange(4), 3)}
    (page,) = run.task.evals["test"].draw({}, rows).values()
    roc, ranks = page.axes
    assert len(ranks.lines[0].get_xdata()) == 4 and ranks.lines[0].get_ydata()[-1] == 1
    assert roc.get_xscale() == "log" and roc.lines[0].get_ydata()[-1] == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.batch_size=15", "config.batch_size=15 must be 4 classes x 4 images of config.data.episodes"),
        ("--config.data.episodes={}", "config.data.episodes is missing; 'metric_learning' needs several examples"),
        ("--config.data.validation=", "thresholds need config.data.validation, with classes of its own"),
        ("--config.loss.name=tripled", "config.loss.name='tripled' is not known"),
        ("--config.loss.margin=0.0", "config.loss.margin=0.0 must be positive"),
        ("--config.embedding.far=1.0", r"config.embedding.far=1.0 must be in \(0, 1\)"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(CONFIG, [override]))


@pytest.mark.parametrize(("classes", "images"), [(1, 4), (4, 1)])
def test_a_pair_needs_two_classes_and_two_images(classes, images):
    size = [f"--config.data.episodes={{'classes': {classes}, 'images': {images}, 'entry': 'identity'}}"]
    with pytest.raises(ConfigError, match=r"config\.data\.episodes\.classes and images of 2 or more"):
        build(configs.load(CONFIG, [*size, "--config.batch_size=4"]))
