"""The one-stage detector: parameters, anchors and their cells, perfect answers through the evaluation, training."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops import anchors as anchors_of
from cvdl_jax.ops import boxes
from cvdl_jax.ops.losses import detection
from experiments import detect

CONFIG = "configs/detect/anchors.py"
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def tiny(**more):
    section = {"name": "anchor_detector_tiny", **more}
    return registry.create(section, "config.model", kinds=("detection",), outputs=3, dtype="float32")


@pytest.fixture(scope="module")
def tiny_variables():
    return quick_jit(partial(tiny().init, train=False))(jax.random.key(1), jnp.zeros((1, 16, 24, 3)))


@pytest.mark.curriculum("L15", "L21", "L19")
def test_an_output_belongs_to_the_anchor_of_its_place(tiny_variables):
    model = tiny()
    image = jnp.zeros((2, 16, 24, 3)).at[1, 13:15, 20:23].set(1)  # a spot at the lower right
    logits, out = quick_jit(partial(model.apply, train=False))(tiny_variables, image)
    n = 8 * 12 * 2 + 4 * 6 * 4
    assert logits.shape == (2, n, 3) and out["deltas"].shape == (2, n, 4) and out["anchors"].shape == (n, 4)
    fine, coarse = (8, 12, (0.2,)), (4, 6, (0.4, 0.5))
    expected = [anchors_of.anchor_grid(*level, (1, 2), 16 / 24) for level in (fine, coarse)]
    np.testing.assert_allclose(out["anchors"], np.concatenate(expected), atol=1e-6)
    changed = np.abs(logits[1] - logits[0]).max(-1) > 1e-9
    centres = np.asarray(boxes.to_centres(out["anchors"]))[:, :2] * [16, 24]
    near = np.abs(centres - [14, 21.5]).max(-1)
    assert changed[near < 2].all() and not changed[near > 10].any()
    assert [s.shape for s in out["stages"]] == [(2, 8, 12, 4), (2, 4, 6, 6)]


@pytest.mark.curriculum("L19")
def test_the_prior_is_the_first_score_of_every_class():
    model = tiny(prior=0.01)
    x = jnp.zeros((1, 16, 16, 3))
    logits, _ = quick_jit(partial(model.init_with_output, train=False))(jax.random.key(0), x)[0]
    np.testing.assert_allclose(jax.nn.sigmoid(logits), 0.01, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": (0, 2)}, r"levels=\(0, 2\) must name stages, 0 to 1"),
        ({"sizes": ((0.2,),)}, "a tuple of positive sizes for each of levels"),
        ({"ratios": ()}, "ratios"),
        ({"depth": 0}, "depth=0"),
    ],
)
def test_impossible_detectors_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**arguments)


# The experiment ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["focal", "hard_negatives"])
def built(request):
    """The smoke run's parts, and a batch of its validation split."""
    run = build(configs.load(f"{CONFIG}:smoke,loss={request.param}", ["--config.ema.decay=0.5"]))
    method = detect.make_method(run.config, run.info.num_classes)
    raw = run.data.splits["validation"].batch(np.arange(16))
    batch = {**raw, "image": jnp.asarray(raw["image"] / np.float32(255)), "mask": jnp.ones(16)}
    return run, method, jax.tree.map(jnp.asarray, batch)


def background(run):
    return run.config.loss.name in detection.WITH_BACKGROUND


@partial(quick_jit, static_argnums=0)
def perfect(background, batch, anchors):
    """Logits and deltas that are exactly the targets."""
    targets = jax.vmap(partial(anchors_of.anchor_targets, anchors_of.match), (0, 0, 0, None))
    label, delta = targets(batch["objects/bbox"], batch["objects/label"], batch["boxes_mask"], anchors)
    first = 0 if background else 1
    logits = jnp.stack([jnp.where(label == c, 10.0, -10.0) for c in range(first, 7)], -1)
    return logits, {"deltas": delta, "anchors": anchors}


@pytest.mark.curriculum("L17", "L21", "N24")
def test_perfect_answers_cost_nothing_and_find_everything(built):
    run, method, batch = built
    anchors = jnp.asarray(anchors_of.anchor_grid(16, 16, (0.15, 0.21, 0.28, 0.38), (0.5, 1.0, 2.0)))
    logits, out = perfect(background(run), batch, anchors)
    parts, positives = quick_jit(partial(detect.losses, method))(logits, out, batch)
    assert parts["class_loss"].max() < 1e-2 and parts["box_loss"].max() == 0 and positives.min() >= 1
    rows = quick_jit(partial(detect.detect, method))(logits, out)
    rows |= {f"true_{name}": x for name, x in detect.truth_of(batch).items()}
    found = detect.finalise(6, (32, 32), {"loss": 0.0}, jax.tree.map(np.asarray, rows))
    assert found["voc_ap50"] == pytest.approx(1) and found["coco_ap50"] == pytest.approx(1)
    assert found["voc_map"] > 0.999 and found["loss"] == 0


@pytest.mark.curriculum("L17", "L19")
def test_padding_has_no_influence(built):
    run, method, batch = built
    anchors = jnp.asarray(anchors_of.anchor_grid(8, 8, (0.2, 0.4)))
    logits, out = perfect(background(run), batch, anchors)
    noise = jax.random.normal(jax.random.key(0), logits.shape)
    real = np.asarray(batch["boxes_mask"]) > 0
    spoiled = np.where(real[..., None], batch["objects/bbox"], np.float32([0, 0, 0.3, 0.3]))
    labels = np.where(real, batch["objects/label"], 5)
    other = {**batch, "objects/bbox": jnp.asarray(spoiled), "objects/label": jnp.asarray(labels)}
    losses = quick_jit(partial(detect.losses, method))
    jax.tree.map(np.testing.assert_array_equal, losses(noise, out, batch), losses(noise, out, other))
    grad = quick_jit(jax.grad(lambda d: detect.losses(method, noise, {**out, "deltas": d}, batch)[0]["loss"].sum()))
    assert np.isfinite(grad(out["deltas"])).all()


@pytest.mark.curriculum("L17")
def test_crowds_and_difficult_boxes_are_no_targets_and_need_not_be_found(built):
    """A box with a flag trains as if it were padding, and reaches the metrics with its flag."""
    run, method, batch = built
    anchors = jnp.asarray(anchors_of.anchor_grid(16, 16, (0.15, 0.21, 0.28, 0.38), (0.5, 1.0, 2.0)))
    mask, rows = np.asarray(batch["boxes_mask"]), np.arange(16)[:, None]
    first = (mask.sum(1, keepdims=True) > 1) & (np.arange(5)[None] == 0)  # of several
    flags = {"objects/is_crowd": first & (rows % 2 == 0), "objects/is_difficult": first & (rows % 2 == 1)}
    assert all(flag.sum() > 1 for flag in flags.values())
    without = {**batch, "boxes_mask": jnp.asarray(mask * ~first)}
    with_flags = {**batch, **jax.tree.map(jnp.asarray, flags)}
    logits, out = perfect(background(run), without, anchors)
    noise = jax.random.normal(jax.random.key(0), logits.shape)
    losses = quick_jit(lambda *args: jax.tree.leaves(detect.losses(method, *args)))
    for expected, found, plain in zip(*(losses(noise, out, b) for b in (without, with_flags, batch)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert not np.allclose(found, plain, rtol=1e-4)
    rows = quick_jit(partial(detect.detect, method))(logits, out)  # finds all but the flagged ones
    truth = jax.tree.map(np.asarray, {f"true_{name}": x for name, x in detect.truth_of(with_flags).items()})
    metrics = lambda *left_out: detect.finalise(  # noqa: E731
        6, (32, 32), {}, {**jax.tree.map(np.asarray, rows), **{k: v for k, v in truth.items() if k not in left_out}}
    )
    assert metrics()["voc_ap50"] == pytest.approx(1) and metrics()["coco_ap50"] == pytest.approx(1)
    for name in ("true_crowd", "true_difficult"):
        assert metrics(name)["voc_ap50"] < 0.99 and metrics(name)["coco_ap50"] < 0.99


@pytest.mark.curriculum("L19")
def test_evaluation_leaves_padded_rows_out_and_draws(built):
    run, method, batch = built
    start = quick_jit(run.task.init)(jax.random.key(0), batch)
    state = State(jnp.int32(0), start["params"], {}, start["extra"])
    step = quick_jit(partial(detect.evaluation_step, method))
    whole = step(state, batch, None)
    half = step(state, {**batch, "mask": jnp.float32([1] * 8 + [0] * 8)}, None)
    first = step(state, {name: jnp.concatenate([x[:8], x[:8]]) for name, x in batch.items()}, None)
    np.testing.assert_allclose(half["loss"][0] * 2, first["loss"][0], rtol=1e-4)
    assert half["loss"][1] < whole["loss"][1]
    assert whole["boxes"].shape == (16, 20, 4) and whole["true_boxes"].shape == (16, 5, 4)
    figures = run.task.report(state, {k: v for k, v in batch.items() if k != "mask"}, None)
    assert len(figures["detections"].axes) == 16
    predicted = quick_jit(run.task.predict)(state, {"image": batch["image"]})
    np.testing.assert_allclose(predicted["scores"], whole["scores"], rtol=1e-5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.data={'name': 'digits'}", r"'digits' delivers no \['objects/bbox'.*max_boxes=N"),
        ("--config.model.name=anchor_detectr", "did you mean 'anchor_detector'"),
        ("--config.nms.keeps=3", "did you mean 'keep'"),
        ("--config.loss.name=focl", "did you mean 'focal'"),
        ("--config.boxes.betta=3", "did you mean 'beta'"),
        ("--config.test_time={'views': 'flip'}", r"config\.test_time\.views is not an argument of at_scales"),
        ("--config.data.proposals={'count': 3}", r"'anchor_detector' reads no regions; set config\.data\.proposals={}"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{CONFIG}:smoke", [override]))


def test_a_detector_of_given_regions_asks_for_them():
    with pytest.raises(ConfigError, match=r"'fast_rcnn_small' judges regions .*data\.proposals={'count': 200}"):
        build(configs.load("configs/detect/fast_rcnn.py:smoke", ["--config.data.proposals={}"]))


@pytest.mark.curriculum("L31")
def test_every_size_of_the_images_is_looked_at():
    """What is thinned in one suppression are the boxes of both sizes: anchors of half the image are a quarter."""
    run = build(configs.load(f"{CONFIG}:smoke", ["--config.test_time.scales=(0.5, 1.0)"]))
    method = detect.make_method(run.config, 6)._replace(thin=lambda boxes, scores: {"boxes": boxes, "scores": scores})
    batch = {"image": jnp.zeros((2, 32, 32, 3))}
    start = jax.eval_shape(run.task.init, jax.random.key(0), batch)
    state = State(jnp.int32(0), start["params"], {}, start["extra"])
    seen = jax.eval_shape(partial(detect.detect_in, method), state, batch)
    one = jax.eval_shape(partial(detect.detect_in, method._replace(scales=None)), state, batch)
    assert seen["boxes"].shape[1] == one["boxes"].shape[1] * 5 // 4 and seen["scores"].shape[2] == 6


@pytest.mark.long
@pytest.mark.curriculum("L18", "L19", "L21")
def test_it_learns_to_find_shapes(tmp_path):
    """Three classes, at most two objects; an untrained detector has an AP50 near 0."""
    data = "shapes(size=32, objects=2, classes=3, clutter=0, train=800, validation=60, test=16)"
    flags = [
        f"--config={CONFIG}:loss=hard_negatives", f"--workdir={tmp_path / 'run'}", f"--config.data.name={data}",
        "--config.total_steps=700", "--config.eval.every_percent=100", "--config.log.tensorboard=False",
        "--config.model.widths=(16, 32, 32)",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["validation/voc_ap50"] > 0.45
    assert abs(metrics["validation/coco_ap50"] - metrics["validation/voc_ap50"]) < 0.05
    assert (tmp_path / "run" / "figures" / "detections.png").exists()
