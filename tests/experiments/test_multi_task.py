"""Several tasks by one network: the loss of each kind by hand, missing labels, weights, the run."""

from dataclasses import replace
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state
from cvdl_jax.data.builders import rotated_digits
from cvdl_jax.data.load import load
from cvdl_jax.engine import combining, runs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import shared_trunk, task_heads
from cvdl_jax.ops.losses import multi_task as losses
from cvdl_jax.workdir.folder import read_json
from experiments import multi_task

CONFIG = "configs/regimes/digits_angle.py:smoke"


def head_values(head, outputs, truth, beside=None, progress=1.0):
    """(losses, predictions, (sums, weights)) of a head."""
    z, truth = jnp.asarray(outputs, jnp.float32), jnp.asarray(truth)
    beside = None if beside is None else jnp.asarray(beside, jnp.float32)
    said = head.read(z)
    return head.losses(z, truth, beside, progress), said, head.measured(said, truth, beside)


# Kinds of heads -------------------------------------------------------------------------------------------------------


def test_a_class_is_a_softmax():
    found, said, (right, _) = head_values(
        task_heads.classification((), classes=3), np.log([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]), [1, 2]
    )
    np.testing.assert_allclose(found, -np.log([0.5, 0.1]), rtol=1e-5)
    assert said.tolist() == [1, 0] and right.tolist() == [1, 0]
    head = task_heads.classification((), classes=3)
    losses_of = jax.jit(lambda truth: head.losses(jnp.zeros((3, 3)), truth, None, 1.0))
    assert np.isnan(losses_of(jnp.asarray([-1, 3, 2]))).tolist() == [True, True, False]  # no class, and not the last


@pytest.mark.curriculum("I12")
def test_yes_or_no_is_the_papers_cross_entropy():
    """`-(1 - g) log(1 - p) - g log p`; of a class, yes is the one that is named."""
    p = np.array([0.8, 0.8, 0.3])
    scores = np.log(p / (1 - p))[:, None]
    found, said, (right, _) = head_values(task_heads.binary(()), scores, [1, 0, 0])
    np.testing.assert_allclose(found, -np.log([0.8, 0.2, 0.7]), rtol=1e-5)
    assert said.tolist() == [True, True, False] and right.tolist() == [1, 0, 1]
    found, _, (right, _) = head_values(task_heads.binary((), positive=2), scores, [2, 1, 2])
    np.testing.assert_allclose(found, -np.log([0.8, 0.2, 0.3]), rtol=1e-5)
    assert right.tolist() == [1, 0, 0]


def test_several_labels_are_a_mean_over_labels():
    p = np.array([[0.8, 0.3], [0.5, 0.9]])
    found, said, (right, weight) = head_values(task_heads.several((2,)), np.log(p / (1 - p)), [[1, 0], [1, 0]])
    np.testing.assert_allclose(found, [-np.log([0.8, 0.7]).mean(), -np.log([0.5, 0.1]).mean()], rtol=1e-5)
    assert right.tolist() == [1.0, 0.0] and weight.tolist() == [1, 1]  # a score of 0 says no
    found, said, _ = head_values(task_heads.several((2,), "square"), [[0.6, 0.4]], [[1, 0]])
    assert float(found[0]) == pytest.approx(0.16) and said.tolist() == [[True, False]]


def test_numbers_are_measured_in_their_unit_and_learned_in_another():
    """Read as 10 + 5 z: 15 and 0 of 12 and 4. The mean over both numbers."""
    head = task_heads.regression((2,), centre=10.0, scale=5.0)
    found, said, (wrong, weight) = head_values(head, [[1.0, -2.0]], [[12.0, 4.0]])
    assert said.tolist() == [[15.0, 0.0]] and float(wrong[0]) == 3.5 and weight[0] == 1
    assert float(found[0]) == pytest.approx((0.6**2 + 0.8**2) / 2)
    single = task_heads.regression((), loss="l1", centre=10.0, scale=5.0)
    found, said, _ = head_values(single, [[1.0]], [12.0])
    assert said.shape == (1,) and float(found[0]) == pytest.approx(0.6) and head.gaussian and not single.gaussian


@pytest.mark.curriculum("I12")
def test_the_loss_of_an_age_goes_from_euclidean_to_gaussian():
    """d = 4 years or 0.4 of the scale, sigma = 2: 0.08 and 1 - exp(-2); half of the ramp is half of the blend."""
    head = task_heads.age((), sigma=2.0, blend=1.0, ramp=0.5, centre=30.0, scale=10.0)
    euclidean, gaussian = 0.08, 1 - np.exp(-2.0)
    for progress, share in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)):
        found, said, (wrong, _) = head_values(head, [[0.4]], [30.0], progress=jnp.float32(progress))
        assert float(found[0]) == pytest.approx((1 - share) * euclidean + share * gaussian, rel=1e-5)
    assert float(said[0]) == pytest.approx(34) and float(wrong[0]) == pytest.approx(4)
    fixed = task_heads.age((), sigma=2.0, blend=0.25, ramp=0.0, centre=30.0, scale=10.0)
    found, _, _ = head_values(fixed, [[0.4]], [30.0], progress=0.0)
    assert float(found[0]) == pytest.approx(0.75 * euclidean + 0.25 * gaussian, rel=1e-5)
    found, _, _ = head_values(task_heads.age((), sigma=2.0), [[34.0]], [30.0], progress=0.0)  # the paper's, in years
    assert float(found[0]) == pytest.approx(8)


@pytest.mark.curriculum("I10")
def test_an_angle_is_read_from_cosine_and_sine_and_is_wrong_by_the_shorter_way():
    head = task_heads.angle(())
    found, said, (wrong, _) = head_values(head, [[0.0, 2.0], [-1.0, -1e-9], [3**0.5, -1.0]], [90.0, 170.0, -20.0])
    np.testing.assert_allclose(said, [90, -180, -30], atol=1e-4)
    np.testing.assert_allclose(wrong, [0, 10, 10], atol=1e-3)
    c, s = np.cos(np.radians(170)), np.sin(np.radians(170))
    np.testing.assert_allclose(found[:2], [0.5, ((-1 - c) ** 2 + s**2) / 2], rtol=1e-4)
    far, _, (most, _) = head_values(head, [[1.0, 0.0]], [180.0])
    assert float(most[0]) == pytest.approx(180) and float(far[0]) == pytest.approx(2)


@pytest.mark.curriculum("I12")
def test_landmarks_that_are_hidden_do_not_count():
    """In an image of 10 pixels; z = 0 is its middle. The first point is off by (3, 4), the second cannot be seen."""
    head = task_heads.landmarks((3, 3), visible="v", size=10.0)
    truth = np.array([[[8.0, 9.0, 7.0], [0.0, 0.0, 7.0], [5.0, 5.0, 7.0]]])
    found, said, (far, weight) = head_values(head, np.zeros((1, 6)), truth, [[1.0, 0.0, 1.0]])
    assert said.shape == (1, 3, 2) and (np.asarray(said) == 5).all()
    assert float(found[0]) == pytest.approx((0.3**2 + 0.4**2) / (2 * 3)) and (float(far[0]), weight[0]) == (5.0, 2)
    swapped, _, _ = head_values(head, [[0.3, 0.4, 0, 0, 0, 0]], truth, [[1.0, 0.0, 1.0]])
    assert float(swapped[0]) == pytest.approx(0, abs=1e-6)  # x first
    found, _, (_, weight) = head_values(task_heads.landmarks((3, 3), size=10.0), np.zeros((1, 6)), truth)
    assert float(found[0]) == pytest.approx((0.25 + 0.5) / 6) and weight[0] == 3


# One loss -------------------------------------------------------------------------------------------------------------

LOSSES = {"a": jnp.asarray([1.0, 2.0, np.nan, 8.0]), "b": jnp.asarray([10.0, np.inf, 30.0, 5.0])}
KNOWN = {"a": jnp.asarray([1.0, 1.0, 0.0, 1.0]), "b": jnp.asarray([1.0, 0.0, 1.0, 1.0])}
REAL = jnp.asarray([1.0, 1.0, 1.0, 0.0])  # the fourth is padding


@pytest.mark.curriculum("I9")
def test_weights_are_fixed():
    """2 (1 + 2) + 0.5 (10 + 30) over three examples: what is missing is no loss."""
    total, count = losses.weighted(LOSSES, KNOWN, {"a": 2.0, "b": 0.5}, REAL)
    assert (float(total), float(count)) == (26.0, 3.0)
    nothing = {name: jnp.zeros(4) for name in KNOWN}
    assert [float(x) for x in losses.weighted(LOSSES, nothing, {"a": 2.0, "b": 0.5}, REAL)] == [0.0, 3.0]


@pytest.mark.curriculum("I9")
def test_weights_are_learned():
    """a is a squared error: exp(-s) (1 + 2) / 2 + 2 s / 2; b is not: exp(-s) 40 + 2 s / 2."""
    s = {"a": jnp.asarray(0.7), "b": jnp.asarray(-0.3)}
    squares = {"a": True, "b": False}
    function = lambda s: losses.uncertain(LOSSES, KNOWN, s, squares, REAL)[0]  # noqa: E731
    expected = np.exp(-0.7) * 3 / 2 + 0.7 + np.exp(0.3) * 40 - 0.3
    assert float(function(s)) == pytest.approx(expected, rel=1e-6)
    slopes = jax.grad(function)(s)
    assert float(slopes["a"]) == pytest.approx(1 - 1.5 * np.exp(-0.7), rel=1e-5)
    best = {"a": jnp.log(jnp.asarray(1.5)), "b": jnp.log(jnp.asarray(2 * 20.0))}  # sigma^2 = 2 c mean
    assert all(abs(float(x)) < 1e-5 for x in jax.tree.leaves(jax.grad(function)(best)))
    nothing = {name: jnp.zeros(4) for name in KNOWN}
    assert float(losses.uncertain(LOSSES, nothing, s, squares, REAL)[0]) == 0  # s neither


# The experiment -------------------------------------------------------------------------------------------------------

SPEC = {
    "image": jax.ShapeDtypeStruct((4, 2, 2, 1), jnp.float32),
    "label": jax.ShapeDtypeStruct((4,), jnp.int32),
    "angle": jax.ShapeDtypeStruct((4,), jnp.float32),
    "has": jax.ShapeDtypeStruct((4,), jnp.int32),
    "points": jax.ShapeDtypeStruct((4, 3, 2), jnp.float32),
    "seen": jax.ShapeDtypeStruct((4, 3), jnp.float32),
}
DIGIT = {"name": "classification", "entry": "label", "classes": 2, "weight": 3.0}
ANGLE = {"name": "regression", "entry": "angle", "mask": "has"}


@pytest.mark.curriculum("I9")
def test_the_sums_are_those_of_the_labels_that_there_are():
    """Four examples, the last padding; one angle of the three is missing, and holds no number."""
    tasks = shared_trunk.jobs({"digit": DIGIT, "angle": ANGLE}, SPEC)
    batch = {
        "label": jnp.asarray([0, 1, 1, 0]), "angle": jnp.asarray([1.0, np.nan, -2.0, 9.0]),
        "has": jnp.asarray([1, 0, 1, 1]), "mask": jnp.asarray([1.0, 1.0, 1.0, 0.0]),
    }  # fmt: skip
    p = np.array([0.9, 0.6, 0.2, 0.5])
    outputs = {"digit": jnp.log(jnp.asarray(np.stack([p, 1 - p], -1))), "angle": jnp.zeros((4, 1))}
    judge = lambda *args: multi_task.as_sums(tasks, multi_task.Balance(), *args)  # noqa: E731
    state = State(jnp.int32(0), {"model": {}}, {}, {"batch_stats": {}})
    out = multi_task.evaluation_step(lambda state, batch: outputs, tasks, judge, state, batch, None)
    entropy = -np.log([0.9, 0.4, 0.8]).sum()
    expected = {
        "loss": (3 * entropy + 1 + 4, 3), "digit/loss": (entropy, 3), "digit/accuracy": (2, 3), "angle/loss": (5, 2),
        "angle/mae": (3, 2),
    }  # fmt: skip
    for name, pair in expected.items():
        np.testing.assert_allclose([float(x) for x in out[name]], pair, rtol=1e-5, err_msg=name)
    assert out["angle/known"].tolist() == [1, 0, 1, 0] and out["digit/known"].tolist() == [1, 1, 1, 0]
    rows = {name: np.asarray(out[name])[:3] for name in ("digit/known", "angle/known")}
    metrics = multi_task.finalise({"digit/accuracy": 2 / 3, "angle/mae": 1.5}, rows)
    assert metrics["angle/labels"] == 2 and metrics["digit/labels"] == 3
    assert metrics["digit/accuracy_low"] < 2 / 3 < metrics["digit/accuracy_high"]

    def total(z):
        views = shared_trunk.looks(tasks, {**outputs, "angle": z}, batch, batch["mask"])
        return judge(0.0, {}, views, batch["mask"])["loss"][0]

    slope = jax.grad(total)(outputs["angle"])
    np.testing.assert_allclose(slope[:, 0], [-2, 0, 4, 0], rtol=1e-6)  # not NaN where the label is


def of_an_age(average=()):
    """A task whose loss is 0.08 at first and 1 - exp(-2) at the end (see above), its sums in training and evaluation.

    Args:
        average: entries of `extra`.

    Returns:
        ({step: loss of training}, {step: loss of an evaluation}), of a run of 10 steps.
    """
    section = {"name": "age", "entry": "angle", "sigma": 2.0, "centre": 30.0, "scale": 10.0}
    tasks = shared_trunk.jobs({"age": section}, SPEC)
    judge = lambda *args: multi_task.as_sums(tasks, multi_task.Balance(), *args)  # noqa: E731
    batch = {"image": jnp.ones((4, 2, 2, 1)), "angle": jnp.full(4, 30.0), "mask": jnp.ones(4)}

    class Constant(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            z = self.param("z", lambda _: jnp.asarray(0.4))
            return {"age": jnp.full((len(x), 1), z)}, {}

    look, losses_of_training, losses_of_evaluation = (lambda x: x), {}, {}
    outputs_fn = lambda state, batch: multi_task.outputs_of(Constant(), look, state, batch)  # noqa: E731
    for step in (0, 10):
        state = State(
            jnp.int32(step), {"model": {"z": jnp.asarray(0.4)}}, {}, {"batch_stats": {"model": {}}, **dict(average)}
        )
        _, sums = multi_task.training_loss(Constant(), look, tasks, judge, 10, state, batch, jax.random.key(0))
        losses_of_training[step] = float(sums["loss"][0] / sums["loss"][1])
        out = multi_task.evaluation_step(outputs_fn, tasks, judge, state, batch, None)
        losses_of_evaluation[step] = float(out["loss"][0] / out["loss"][1])
    return losses_of_training, losses_of_evaluation


@pytest.mark.curriculum("I12")
def test_a_loss_that_changes_in_training_is_the_last_one_in_evaluations():
    """Else the first checkpoint would be selected, whose loss is another function."""
    training, evaluation = of_an_age()
    assert training == pytest.approx({0: 0.08, 10: 1 - np.exp(-2.0)}, rel=1e-5)
    assert evaluation == pytest.approx({0: 1 - np.exp(-2.0), 10: 1 - np.exp(-2.0)}, rel=1e-5)


@pytest.mark.curriculum("I9")
def test_evaluations_are_of_the_averaged_weights():
    """An average that is right: no loss, whatever the weights themselves say."""
    training, evaluation = of_an_age({"ema": {"model": {"z": jnp.asarray(0.0)}}})
    assert training[10] > 0.8 and evaluation == {0: 0, 10: 0}


@pytest.mark.curriculum("I9")
def test_the_averaged_logarithms_of_variances_weigh_the_losses_of_an_evaluation():
    tasks = shared_trunk.jobs({"digit": {**DIGIT, "weight": 1.0}}, SPEC)
    judge = lambda *args: multi_task.as_sums(tasks, multi_task.Balance("uncertainty"), *args)  # noqa: E731
    batch = {"label": jnp.asarray([0, 1, 1, 0]), "mask": jnp.ones(4)}
    outputs, losses = {"digit": jnp.zeros((4, 2))}, []
    for params, average in ((0.5, 0.5), (0.0, 0.5)):
        raw, mean = ({"model": {}, "log_variances": {"digit": jnp.asarray(s)}} for s in (params, average))
        state = State(jnp.int32(0), raw, {}, {"batch_stats": {}, "ema": mean})
        total, count = multi_task.evaluation_step(lambda *_: outputs, tasks, judge, state, batch, None)["loss"]
        losses.append(float(total / count))
    assert losses[0] == losses[1] == pytest.approx(np.exp(-0.5) * np.log(2) + 0.25, rel=1e-5)


@pytest.fixture(scope="module")
def learned():
    """A built run that learns its weights, with its state."""
    built = build(configs.load("configs/regimes/digits_angle.py:weights=uncertainty,smoke", []))
    batch = {name: jnp.zeros(x.shape, x.dtype) for name, x in built.info.spec.items()}
    return SimpleNamespace(built=built, state=create_state(built.task, jax.random.key(0), batch))


@pytest.mark.curriculum("I9")
def test_the_learned_weights_are_parameters_that_a_step_changes(learned):
    params = learned.state.params
    assert set(params) == {"model", "log_variances"} and set(params["log_variances"]) == {"digit", "angle"}
    assert set(params["model"]) == {"trunk", "head_digit", "head_angle"}
    assert params["model"]["head_angle"]["kernel"].shape == (16, 2)
    split = learned.built.data.splits["train"]
    batch = split.batch(np.arange(16))
    batch = {**batch, "image": jnp.asarray(batch["image"], jnp.float32) / 255}
    state, _, sums = jax.jit(learned.built.task.train.update)(learned.state, batch, jax.random.key(1))
    moved = {name: float(x) for name, x in state.params["log_variances"].items()}
    assert all(x != 0 for x in moved.values()) and float(sums["angle/log_variance"][0]) == 0
    assert float(sums["digit/loss"][1]) == 16
    predicted = learned.built.task.predict(state, {"image": batch["image"]})
    assert predicted["digit"].shape == predicted["angle"].shape == (16,)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--config.tasks.angle.entry=angel"], "config.tasks.angle.entry='angel' is not an entry of the data; did you"),
        (["--config.tasks.angle.mask=knwon"], "config.tasks.angle.mask='knwon' is not an entry of the data"),
        (["--config.tasks.angle.mask=image"], "must be one number for each example"),
        (["--config.tasks.angle.name=angel"], "did you mean 'angle'"),
        (["--config.tasks.digit.entry=image"], "needs a class, []; its entry is [16, 16, 1]"),
        (["--config.tasks.digit.weight=-1.0"], "config.tasks.digit.weight=-1.0 must be"),
        (["--config.tasks.digit.clases=3"], "did you mean 'classes'"),
        (["--config.tasks={}"], "config.tasks is empty"),
        (["--config.balance.weights=uncertainty", "--config.tasks.digit.weight=2.0"], "learns the weights"),
        (["--config.balance.log_variance=1.0"], "has an effect where"),
        (["--config.augment=mixup"], "'mixup' blends images, and would leave the labels of task"),
        (["--config.augment=flip"], "'flip' may move the image and would leave the labels of task 'angle'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(overrides, words):
    with pytest.raises(ConfigError) as error:
        build(configs.load(CONFIG, overrides))
    assert words in str(error.value)


def test_points_need_as_many_flags():
    task = {"name": "landmarks", "entry": "points", "visible": "seen"}
    assert shared_trunk.jobs({"face": task}, SPEC)["face"].head.outputs == 6
    with pytest.raises(ConfigError, match="visible='has' must be an entry with one number for each of the points"):
        shared_trunk.jobs({"face": {**task, "visible": "has"}}, SPEC)


# The digits -----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("I10")
def test_scans_are_turned_counterclockwise():
    scan = np.asarray(load("digits", train="train").splits["train"].arrays["image"])[5, ..., 0]
    np.testing.assert_array_equal(rotated_digits.rotated(scan, 0, 11)[2:9, 2:9].shape, (7, 7))
    for degrees in (30, -50, 170):
        found = rotated_digits.rotated(scan, degrees, 22).astype(float)
        big = Image.fromarray(np.pad(scan, 8)).resize((48, 48), Image.BILINEAR).rotate(degrees, Image.BILINEAR)
        assert abs(found - np.asarray(big, float)[13:35, 13:35]).mean() < 6  # the mirrored ones differ by more than 25
    quarter = rotated_digits.rotated(scan, 90, 22)
    np.testing.assert_allclose(quarter.astype(int), np.rot90(rotated_digits.rotated(scan, 0, 22)), atol=1)


@pytest.mark.curriculum("I10")
def test_each_scan_is_turned_several_times_in_its_own_split():
    data = load("rotated_digits(copies=2, turn=20)", validation="validation")
    digits = load("digits", validation="validation")
    for split, copies in (("train", 2), ("validation", 1)):
        scans, made = digits.splits[split].arrays, data.splits[split].arrays
        np.testing.assert_array_equal(made["label"], np.repeat(scans["label"], copies))
        assert np.abs(made["angle"]).max() == 20 and len(set(np.asarray(made["angle"]).tolist())) == 41
        for i in (0, 7):
            expected = rotated_digits.rotated(
                np.asarray(scans["image"])[i // copies, ..., 0], int(made["angle"][i]), 16
            )
            np.testing.assert_array_equal(np.asarray(made["image"])[i, ..., 0], expected)
    with pytest.raises(ConfigError, match=r"rotated_digits\(turn=181\) must be between 1 and 180"):
        load("rotated_digits(turn=181)")


@pytest.mark.long
@pytest.mark.curriculum("I9", "I10")
def test_both_tasks_are_learned(tmp_path):
    run = tmp_path / "run"
    flags = [
        "--config=configs/regimes/digits_angle.py", f"--workdir={run}", "--config.total_steps=300",
        "--config.batch_size=64", "--config.log.tensorboard=False",
        "--config.model={'name': 'mlp', 'hidden': (128,)}", "--config.data.test=",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    metrics = read_json(run / "results.json")["metrics"]
    assert metrics["validation/digit/accuracy"] > 0.6 and metrics["validation/angle/error_degrees"] < 22


# Combined runs --------------------------------------------------------------------------------------------------------

SMALL = ["config.model={'name': 'mlp', 'hidden': (8,)}", "config.log.tensorboard=False", "config.data.test=test[:20]"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs of the two tasks, which keep the labels of their own alone, the second an average of its weights, too; a
    third of the angle, on the frozen trunk of the first; a fourth of other data. The last test batch is padded.
    """
    root = tmp_path_factory.mktemp("combined")
    frozen = [f"config.init_from={root / 'digit'}", "config.init.include=trunk",
              "config.optim.lr_factors=(('model/trunk/.*', 0.0),)"]  # fmt: skip
    runs_of = {
        "digit": ("digit", ["config.data.features=('image', 'label')"]),
        "angle": ("angle", ["config.seed=1", "config.data.features=('image', 'angle')", "config.ema.decay=0.5"]),
        "on_trunk": ("angle", ["config.seed=1", *frozen]),
        "larger": ("angle", ["config.data.name=rotated_digits(copies=1, size=12)"]),
    }  # fmt: skip
    for name, (task, more) in runs_of.items():
        runs.train(f"configs/regimes/digits_angle.py:task={task},smoke", root / name, [*SMALL, *more])
    return root


@pytest.mark.curriculum("I11")
def test_combined_runs_say_what_each_says(folders):
    both = combining.combine([str(folders / "digit"), str(folders / "angle")])
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    said = both.predict(images)
    for task in ("digit", "angle"):
        alone, state, _ = runs.load(folders / task)
        np.testing.assert_allclose(said[task], alone.predict(state, {"image": images})[task], rtol=1e-5, atol=1e-4)
    measured = both.measure("test")
    for task, name in (("digit", "accuracy"), ("angle", "error_degrees")):
        results = read_json(folders / task / "results.json")["metrics"]
        assert measured[f"{task}/{name}"] == pytest.approx(results[f"test/{task}/{name}"], rel=1e-4)
        assert measured[f"{task}/loss"] == pytest.approx(results[f"test/{task}/loss"], rel=1e-4)
    with pytest.raises(ConfigError, match="split='tset' is not one of the runs' data; did you mean 'test'"):
        both.measure("tset")


@pytest.mark.curriculum("I11")
def test_another_look_at_the_test_set_is_refused(folders, monkeypatch):
    """The checkpoints of the end were looked at when the runs ended; others would be chosen by their test figures."""
    workdirs = [str(folders / "digit"), str(folders / "angle")]
    load_built = combining.runs.load_built
    monkeypatch.setattr(combining.runs, "load_evaluated", lambda *args, **more: (*load_built(*args, **more)[:2], 99))
    other = combining.combine(workdirs)
    with pytest.raises(ConfigError, match=r"'test' of .*digit was evaluated .*step 99, raw weights"):
        other.measure("test")
    assert set(other.measure("validation")) == {"digit/loss", "digit/accuracy", "angle/loss", "angle/error_degrees"}


@pytest.mark.curriculum("I11")
def test_a_task_is_measured_by_the_labels_of_its_own_run(folders):
    """Two runs may call different entries by one name (config.data.label)."""
    workdirs = [str(folders / "digit"), str(folders / "angle")]
    first, second = combining.load(workdirs)
    split = first.built.data.splits["validation"]
    other = replace(split, arrays={**split.arrays, "angle": np.full(split.size, 33.0, np.float32)})
    data = replace(first.built.data, splits={**first.built.data.splits, "validation": other})
    parts = [first._replace(built=first.built._replace(data=data)), second]
    variables, outputs_of = combining.separate(parts)
    measured = combining._measured(parts, lambda batch: outputs_of(variables, batch["image"] / 255), "validation")
    assert measured == pytest.approx(combining.combine(workdirs).measure("validation"), rel=1e-4)


@pytest.mark.curriculum("I11")
def test_a_trunk_that_computes_something_else_is_not_shared(folders):
    """The weights agree, and the head of the second was trained on other features."""
    first, second = combining.load([str(folders / "digit"), str(folders / "on_trunk")])
    config = second.built.config.copy_and_resolve_references()
    config.model.activation = "tanh"
    with pytest.raises(ConfigError, match=r"on_trunk has config\.model\.activation='tanh' and .*digit None"):
        combining.shared([first, second._replace(built=second.built._replace(config=config))])


@pytest.mark.curriculum("I11")
def test_a_frozen_trunk_is_kept_once(folders):
    own = combining.combine([str(folders / "digit"), str(folders / "on_trunk")])
    one = combining.combine([str(folders / "digit"), str(folders / "on_trunk")], trunk="shared")
    trunk = 256 * 8 + 8
    assert own.parameters - one.parameters == trunk and one.parameters == trunk + 9 * 10 + 9 * 2
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    for task, said in own.predict(images).items():
        np.testing.assert_allclose(one.predict(images)[task], said, rtol=1e-5, atol=1e-4)
    with pytest.raises(ConfigError, match=r"angle and .*digit differ in params/trunk/"):
        combining.combine([str(folders / "digit"), str(folders / "angle")], trunk="shared")


@pytest.mark.curriculum("I11")
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("digit",), "name the workdirs of two or more runs"),
        (("angle", "on_trunk"), "both have the task 'angle'"),
        (("digit", "larger"), "has name='rotated_digits(copies=1, size=12)'"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(folders, names, words):
    with pytest.raises(ConfigError) as error:
        combining.combine([str(folders / name) for name in names])
    assert words in str(error.value)


@pytest.mark.curriculum("I11")
def test_another_normalisation_is_refused(folders):
    first, second = combining.load([str(folders / "digit"), str(folders / "angle")])
    fitted = second.built.fitted.copy_and_resolve_references()
    fitted.normalise = {"mean": (0.25,), "std": (1.0,)}
    other = second._replace(built=second.built._replace(fitted=fitted))
    combining.check_alike([first, second])
    with pytest.raises(ConfigError, match=r"the normalisation of .*angle has mean=\[0.25\] and that of .*digit"):
        combining.check_alike([first, other])


def test_runs_of_other_kinds_are_refused(monkeypatch):
    config = configs.ConfigDict({"experiment": "classify", "batch_stats": "running"})
    monkeypatch.setattr(combining.runs, "load_evaluated", lambda *_, **__: (SimpleNamespace(config=config), None, 0))
    with pytest.raises(ConfigError, match="one is a run of experiment 'classify'"):
        combining.load(["one", "two"])
    config.tasks, config.batch_stats = {"digit": {"name": "classification"}}, "exact"
    with pytest.raises(ConfigError, match=r"one has config.batch_stats='exact'"):
        combining.load(["one", "two"])
    with pytest.raises(ConfigError, match="trunk='both' must be 'own' or 'shared'"):
        combining.combine(["one", "two"], trunk="both")
