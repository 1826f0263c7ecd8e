"""Semantic segmentation end to end: labels that are left out, perfect answers, padding, figures, mistakes, learning."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.analysis.figures import segmentation as figures
from cvdl_jax.cli.modes import predict as predict_mode
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, unwrapped
from cvdl_jax.data.load import load
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.engine.evaluate import evaluate
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import segmentation as metrics
from cvdl_jax.ops.images import palettes
from experiments import segment

CONFIG = "configs/segment/unet.py"
SMALL = ["--config.model.widths=(4,6)", "--config.model.norm=none"]
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def built():
    """The smoke run with a label left out, its state, and a batch of its validation split."""
    run = build(configs.load(f"{CONFIG}:smoke", [*SMALL, "--config.ignore=('cross',)"]))
    raw = run.data.splits["validation"].batch(np.arange(16))
    batch = jax.tree.map(jnp.asarray, {**raw, "image": raw["image"] / np.float32(255), "mask": np.ones(16, np.float32)})
    start = quick_jit(run.task.init)(jax.random.key(0), batch)
    return run, State(jnp.int32(0), start["params"], {}, start["extra"]), batch


@pytest.mark.curriculum("M4")
def test_labels_that_are_left_out_have_no_logit_and_no_influence(built):
    run, state, batch = built
    names, table = segment.kept_classes(run.config, run.info)
    assert names == ("background", "circle", "square", "triangle", "ring", "bar")
    mask = np.asarray(batch["segmentation_mask"])[..., 0]
    assert (mask == 4).any() and mask.max() == 6
    labels = np.asarray(segment.labels_of(table, batch))
    for stored, label in {0: 0, 1: 1, 2: 2, 3: 3, 4: 255, 5: 4, 6: 5}.items():
        assert (labels[mask == stored] == label).all()
    step = quick_jit(run.task.evals["validation"].step)
    outputs = step(state, batch, None)
    assert outputs["confusion"].value.shape == (6, 6)
    assert outputs["confusion"].value.sum() == (mask != 4).sum()
    other = step(state, {**batch, "segmentation_mask": jnp.where(mask == 4, 255, mask)[..., None]}, None)
    jax.tree.map(np.testing.assert_array_equal, outputs, other)


def test_scores_that_are_no_numbers_are_no_background():
    labels = np.zeros((2, 4, 4), np.int32)
    logits = jnp.zeros((2, 4, 4, 3)).at[1, 2, 3, 1].set(jnp.nan)
    counted = metrics.counted(metrics.classes(logits), labels, 3, jnp.ones(2))
    with pytest.raises(DataError, match=r"image 1 of the split \(1 of 2 images\) .* or look for an overflow"):
        metrics.summary({"confusion": counted["confusion"].value, "pixels": counted["pixels"]})


def test_a_border_around_an_image_is_no_part_of_its_mask(built, tmp_path):
    """A 64 x 24 image in a window of 32 x 32 has 12 rows of its own in the middle: those of the CSV and the PNG."""
    run = built[0]
    Image.new("RGB", (64, 24)).save(tmp_path / "a.png")
    split = predict_mode.as_trained(run, predict_mode.files(run, [str(tmp_path / "a.png")]))
    split = replace(split, stage=replace(split.stage, crop="pad"))
    masks = np.full((1, 32, 32), 6, np.uint8)
    masks[0, 10:22] = 5
    masks[0, 10:22, :8] = 1
    outputs = predict_mode.without_borders(split, {"segmentation": masks})
    row = predict_mode.table(run, ["a"], outputs)[1]
    assert [float(x) for x in row[1:]] == [0, 0.25, 0, 0, 0, 0.75, 0]
    said = predict_mode.write_masks(run, split, outputs["segmentation"], tmp_path / "out.csv")
    with Image.open(tmp_path / "out_masks" / "a.png.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (24, 64) and (pixels[:, :16] == 1).all() and (pixels[:, 16:] == 5).all()
    assert "of the size of the images" in said
    whole = replace(split, stage=replace(split.stage, crop="none"))
    assert predict_mode.without_borders(whole, {"ids": masks})["ids"] is masks


@pytest.mark.curriculum("M4", "N28")
def test_evaluations_add_whole_matrices_over_padded_batches(built):
    """16 images in batches of 5: the matrix of a split is that of its images, one by one."""
    run, _, batch = built
    run.config.eval_batch_size = 5
    program = make_program(run)
    for name in ("create", "eval validation"):
        program.jobs()[name]()
    state = program.create()
    metrics, rows = evaluate(program, "validation", state, run.data.splits["validation"], 0)
    rows = unwrapped(rows)
    whole = quick_jit(run.task.evals["validation"].step)(state, batch, None)
    np.testing.assert_array_equal(rows["confusion"], whole["confusion"].value)
    np.testing.assert_array_equal(rows["pixels"], whole["pixels"])
    assert metrics["examples"] == 16 and metrics["mean_iou_low"] <= metrics["mean_iou"] <= metrics["mean_iou_high"]
    np.testing.assert_allclose(metrics["loss"], whole["loss"][0] / whole["loss"][1], rtol=1e-4)
    assert {f"iou/{name}" for name in segment.kept_classes(run.config, run.info)[0]} <= metrics.keys()
    run.config.eval_batch_size = 0


@pytest.mark.curriculum("N28", "N29")
def test_perfect_answers_have_every_measure_1_and_figures_show_them(built):
    run, state, batch = built
    names, table = segment.kept_classes(run.config, run.info)
    labels = segment.labels_of(table, batch)
    perfect = jax.nn.one_hot(labels, 6) * 30.0
    step = partial(segment.evaluation_step, lambda state, batch: perfect)
    loss = configs.named(segment.segmentation, run.config.loss, "config.loss", "logits", "labels")
    outputs = unwrapped(quick_jit(partial(step, loss, table))(state, batch, None))
    rows = {name: np.asarray(outputs[name]) for name in ("confusion", "pixels")}
    metrics = segment.finalise(names, {"loss": 0.0}, rows)
    assert {metrics[k] for k in ("mean_iou", "mean_dice", "pixel_accuracy", "frequency_weighted_iou")} == {1.0}
    drawn = run.task.evals["validation"].draw(metrics, rows)
    first = drawn["validation_classes"].splitlines()
    assert first[0].split() == ["class", "pixels", "accuracy", "iou", "dice"] and len(first) == 8
    assert first[2].split()[0] == "background" and first[2].count("100.0 %") == 3
    assert [t.get_text() for t in drawn["validation_confusion"].axes[0].get_yticklabels()] == list(names)
    figure = run.task.report(state, {k: v for k, v in batch.items() if k != "mask"}, None)["segmentation"]
    assert len(figure.axes) == 18 and figure.get_label() == "examples"


def test_predictions_are_masks_with_the_labels_and_colours_of_the_data_set(built, tmp_path):
    run = built[0]
    names, table = segment.kept_classes(run.config, run.info)
    stored = metrics.stored(table, jnp.arange(6))
    assert stored.tolist() == [0, 1, 2, 3, 5, 6] and stored.dtype == jnp.uint8  # the cross, 4, is never said
    masks = np.zeros((1, 32, 32), np.uint8)
    masks[0, :8], masks[0, 8] = 5, 6
    state = built[1]
    broken = built[2]["image"].at[2].set(jnp.nan)  # its scores are no numbers
    told = segment.predictions(
        lambda state, batch: jnp.repeat(broken.sum(-1, keepdims=True), 6, -1), table, state, None
    )
    assert np.flatnonzero(told["undefined"]).tolist() == [2]
    with pytest.raises(DataError, match=r"1 of 16 images have no probabilities, im2 first"):
        predict_mode.refuse_undefined([f"im{i}" for i in range(16)], dict(told))
    whole = {"segmentation": masks, "undefined": np.zeros(1, bool)}
    predict_mode.refuse_undefined(["a"], whole)
    assert whole.keys() == {"segmentation"}
    assert predict_mode.table(run, ["a"], {"segmentation": masks})[1][1:] == [
        "0.718750", *["0.000000"] * 4, "0.250000", "0.031250"
    ]  # fmt: skip
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    split = predict_mode.as_trained(run, predict_mode.files(run, [str(tmp_path / "a.png")]))
    predict_mode.write_masks(run, split, masks, tmp_path / "out.csv")
    with Image.open(tmp_path / "out_masks" / "a.png.png") as picture:
        assert picture.size == (64, 48) and set(np.unique(picture)) == {0, 5, 6}
        colours = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(colours[0, 0], palettes.voc(6)[names.index("ring")])  # as in the run's report
    assert run.task.predict is not None


def test_overlays_show_the_worst_and_the_best_in_the_colours_of_the_legend():
    labels = np.zeros((5, 4, 6), int)
    labels[:, :, 3:] = 1
    labels[4] = 255  # nothing to measure: not shown
    guesses = labels * (labels != 255)
    guesses[2] = 0
    guesses[1, :, :4] = 0
    palette = palettes.voc(3)
    figure = figures.overlays(np.ones((5, 4, 6, 1)), labels, guesses, palette, ("a", "b", "c"), examples=1)
    rows = [axis.get_title() for axis in figure.axes]
    assert rows == ["mean IoU 0.25", "truth", "prediction", "mean IoU 1.00", "", ""]
    shown = np.asarray(figure.axes[1].images[0].get_array())
    np.testing.assert_allclose(shown[0, 5], 0.6 * palette[1] / 255 + 0.4)
    legend = figure.legends[0]
    assert [t.get_text() for t in legend.get_texts()] == ["a", "b"]
    assert legend.get_patches()[1].get_facecolor() == pytest.approx((*(palette[1] / 255), 1))
    assert (figures.palette_of("camvid", 11) == palettes.CAMVID).all() and len(figures.palette_of("camvid", 12)) == 12


@pytest.mark.curriculum("M20")
def test_a_driving_scene_has_the_palette_of_eleven_classes():
    """Its colours name the classes: what a figure shows can be read back."""
    config = configs.load("configs/segment/unet.py")
    names = [name for name in config.data.classes if name not in config.ignore]
    palette = figures.palette_of(config.palette, len(names))
    colours = dict(zip(names, map(tuple, palette.tolist()), strict=True))
    assert len(names) == 11 and colours["road"] == (128, 64, 128) and colours["car"] == (64, 0, 128)
    labels = np.random.default_rng(0).integers(0, 11, (6, 7))
    np.testing.assert_array_equal(palettes.labels_of(palettes.colours_of(labels, palette), palette), labels)


@pytest.mark.curriculum("M20")
def test_a_figure_gives_the_second_of_two_classes_another_hue():
    """Lesions, a medical question of one class: where the network is sure of one, grey becomes blue."""
    names = configs.load("configs/segment/unet.py:data=lesions,smoke").data.classes
    assert names == ("healthy", "lesion")
    logits = np.zeros((2, 4, 4, 2), np.float32)
    logits[..., 1] = np.where(np.arange(4) < 2, 50.0, -50.0)
    batch = {"image": np.full((2, 4, 4, 3), 0.5, np.float32), "segmentation_mask": np.ones((2, 4, 4, 1), np.uint8)}
    draw = partial(segment.report, lambda state, batch: jnp.asarray(logits), np.arange(256), names, "voc", None)
    figure = draw(batch, None)["recoloured"]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["image", "mask", "recoloured"]
    shown = np.asarray(figure.axes[2].images[0].get_array())
    np.testing.assert_allclose(shown[:, 2:], 0.5, atol=1e-6)
    assert (shown[:, :2, 2] > 0.6).all() and (shown[:, :2, 1] < 0.4).all()
    assert "recoloured" not in draw({**batch, "image": batch["image"][..., :1]}, None)  # grey has no hue


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.data.classes=()", r"needs the entries \('image', 'segmentation_mask'\), and the names of the masks"),
        ("--config.data.features=('image',)", "config.data.classes names the labels of 'segmentation_mask', which"),
        ("--config.data.classes=('a','a')", "must be at most 255 different names"),
        ("--config.data.classes=('back','circle')", r"has the label \d, config.data.classes names 0 to 1, and 255 is"),
        ("--config.ignore=('crss',)", "config.ignore: 'crss' is no label's name; did you mean 'cross'"),
        ("--config.model.name=resnet18", "is of kind 'backbones', expected 'segmentation'"),
        ("--config.loss.name=dise", "did you mean 'dice'"),
        ("--config.loss.weights=(1.0,)", "config.loss.weights=(1.0,) must be 7 numbers, one for each class"),
        ("--config.model.padding=valid", "the network must return the size of the masks"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    more = ["--config.loss.name=cross_entropy"] if "weights" in override else []
    message = message.replace("(1.0,)", r"\(1.0,\)")
    with pytest.raises((ConfigError, DataError), match=message):
        run = build(configs.load(f"{CONFIG}:smoke", [*SMALL, override, *more]))
        make_program(run)


def test_a_mask_of_another_size_than_its_image_is_refused():
    split = load("shapes(size=32, train=4, validation=4, test=4)", classes=tuple("abcdefg")).splits["train"]
    raw = split.source[0]
    good = split._finish(raw, 0, 0, 0)
    assert good["segmentation_mask"].shape == (32, 32, 1)
    with pytest.raises(DataError, match=r"example train/0 of shapes.*'segmentation_mask' has 16x32 pixels, its image"):
        split._finish({**raw, "segmentation_mask": raw["segmentation_mask"][:16]}, 0, 0, 0)
    ignored = split._finish({**raw, "segmentation_mask": np.full((32, 32, 1), 255, np.uint8)}, 0, 0, 0)
    assert (ignored["segmentation_mask"] == 255).all()


def test_the_labels_of_masks_are_the_classes_of_the_set():
    named = load("shapes(size=32, train=4, validation=4, test=4)", features=("image", "segmentation_mask", "label"),
                 classes=tuple("abcdefg"))  # fmt: skip
    assert named.class_names == tuple("abcdefg") and named.num_classes == 7
    assert load("shapes(size=32, train=4, validation=4, test=4)").num_classes == 6


@pytest.mark.long
@pytest.mark.curriculum("M3", "M14")
def test_it_learns_to_segment_shapes(tmp_path):
    data = "shapes(size=32, objects=2, classes=1, clutter=0, train=400, validation=60, test=16)"
    flags = [
        f"--config={CONFIG}:data=shapes", f"--workdir={tmp_path / 'run'}", f"--config.data.name={data}",
        "--config.data.classes=('background','circle')", "--config.total_steps=80", "--config.optim.lr=0.01",
        "--config.eval.every_percent=100", "--config.log.tensorboard=False",
        "--config.model.widths=(8,16,32)",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["validation/mean_iou"] > 0.8 and metrics["validation/iou/circle"] > 0.7
    names = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"segmentation.png", "validation_classes.txt", "validation_confusion.png", "test_classes.txt"} <= names
