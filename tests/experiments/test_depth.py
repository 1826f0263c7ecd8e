"""Depth from one image end to end: units, unknown pixels, padding, perfect answers, figures, mistakes, learning."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, step_function
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import depth as losses
from experiments import depth

CONFIG = "configs/regimes/depth.py"
SMALL = ["--config.model.widths=(4,6)", "--config.model.norm=none"]
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def built():
    """The smoke run, its state, and a batch of its validation split whose last row is padding."""
    run = build(configs.load(f"{CONFIG}:smoke", SMALL))
    raw = run.data.splits["validation"].batch(np.arange(4))
    mask = np.asarray([1, 1, 1, 0], np.float32)
    batch = jax.tree.map(jnp.asarray, {**raw, "image": raw["image"] / np.float32(255), "mask": mask})
    start = quick_jit(run.task.init)(jax.random.key(0), batch)
    return run, State(jnp.int32(0), start["params"], {}, start["extra"]), batch


@pytest.mark.curriculum("X1")
def test_millimetres_become_metres_and_0_is_unknown(built):
    _, _, batch = built
    depths, known = depth.truth(0.001, batch)
    stored = np.asarray(batch["depth"])[..., 0]
    np.testing.assert_allclose(depths, stored / 1000, rtol=1e-6)
    np.testing.assert_array_equal(known, stored > 0)
    assert 0.3 < known.mean() < 0.95 and 1 < depths[known].min() and depths.max() <= 30


@pytest.mark.curriculum("X1")
def test_an_evaluation_counts_known_pixels_of_real_rows(built):
    run, state, batch = built
    step = quick_jit(run.task.evals["validation"].step)
    outputs = step(state, batch, None)
    known = np.asarray(batch["depth"])[..., 0] > 0
    np.testing.assert_array_equal(outputs["depth"][:, 0], known.sum((1, 2)))
    logs = np.log(np.asarray(run.task.predict(state, batch)["depth"], np.float64))
    d = logs - np.log(np.where(known, np.asarray(batch["depth"])[..., 0] / 1000, 1))
    want = [np.mean(d[i][known[i]] ** 2) - 0.5 * np.mean(d[i][known[i]]) ** 2 for i in range(3)]
    assert float(outputs["loss"][0]) == pytest.approx(sum(want), rel=1e-4) and outputs["loss"][1] == 3
    unknown = jnp.where(batch["depth"] > 0, 0.0, 1.0)  # the loss of the colours of the sky
    slope = jax.grad(lambda x: losses.l2(x, *depth.truth(0.001, batch))[0].sum())(jnp.zeros(known.shape))
    assert (slope * unknown[..., 0] == 0).all()


def test_the_training_loss_is_that_of_the_batch_and_descends(built):
    run, state, batch = built
    batch = {k: v for k, v in batch.items() if k != "mask"}
    model = depth.registry.create(run.config.model, "config.model", num_classes=1, dtype="float32", remat=False)
    loss = partial(depth.training_loss, model, lambda x: x, losses.scale_invariant, 0.001)
    _, sums = quick_jit(loss)(state, batch, jax.random.key(0))
    logs = model.apply({"params": state.params}, batch["image"], False)[0][..., 0]
    total, weight = losses.scale_invariant(logs, *depth.truth(0.001, batch))  # weighs images, delta1 pixels
    np.testing.assert_allclose(sums["loss"], (total.sum(), weight.sum()), rtol=1e-4)
    depths, known = (np.asarray(x) for x in depth.truth(0.001, batch))
    ratio = np.exp(np.asarray(logs))[known] / depths[known]
    close = np.maximum(ratio, 1 / ratio) < 1.25
    np.testing.assert_allclose(sums["delta1"], (close.sum(), known.sum()), atol=1)
    after, _ = quick_jit(step_function(run.task, 0))(depth_state(run, batch), batch)
    assert after.step == 1


def depth_state(run, batch):
    from cvdl_jax.core.task import create_state

    return quick_jit(partial(create_state, run.task))(jax.random.key(0), batch)


@pytest.mark.curriculum("X1")
def test_perfect_answers_and_the_figure(built):
    _, state, batch = built
    depths, known = depth.truth(0.001, batch)
    perfect = jnp.log(jnp.where(known, depths, 1))
    step = partial(depth.evaluation_step, lambda state, batch: perfect, losses.scale_invariant, 0.001)
    outputs = quick_jit(step)(state, batch, None)
    metrics = depth.finalise({"loss": 0.0}, {"depth": np.asarray(outputs["depth"])[:3]})
    assert metrics["abs_rel"] < 1e-6 and metrics["delta1"] == 1 and metrics["rmse"] < 1e-4 and metrics["examples"] == 3
    figure = depth.report(lambda state, batch: perfect + jnp.log(1.5), 0.001, state, batch, None)["depth"]
    assert [axis.get_title() for axis in figure.axes[:4]] == ["image", "depth", "prediction", "relative error"]
    wrong = np.ma.masked_invalid(np.asarray(figure.axes[3].images[0].get_array(), float))
    np.testing.assert_allclose(wrong.compressed(), 0.5, atol=1e-5)
    assert wrong.count() == int(known[0].sum())
    assert figure.axes[1].images[0].get_clim() == figure.axes[2].images[0].get_clim()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "--config.augment=flip | random_resized_crop",
            "random_resized_crop changes the scale of images or mixes them",
        ),
        ("--config.augment=mixup", "mixup changes the scale"),
        ("--config.data.features=('image',)", r"needs the entries \('image', 'depth'\)"),
        ("--config.depth_unit=0.0", "config.depth_unit=0.0 must be the metres of one unit"),
        ("--config.data.image_size=(16,16)", r"depth maps have \(32, 32\) pixels, images \(16, 16\)"),
        ("--config.model.name=resnet18", "is of kind 'backbones', expected 'segmentation'"),
        ("--config.loss.name=l3", "did you mean 'l"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{CONFIG}:smoke", [*SMALL, override]))


@pytest.mark.long
@pytest.mark.curriculum("X1")
def test_it_learns_how_far_things_are(tmp_path):
    flags = [
        f"--config={CONFIG}", f"--workdir={tmp_path / 'run'}", "--config.total_steps=150",
        "--config.data.name=depth_scenes(size=32, train=300, validation=60, test=16)", "--config.optim.lr=0.01",
        "--config.eval.every_percent=100", "--config.log.tensorboard=False", "--config.model.widths=(8,16,32)",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["validation/abs_rel"] < 0.25 and metrics["validation/delta1"] > 0.6
    assert (tmp_path / "run" / "figures" / "depth.png").exists()
