"""Instance segmentation end to end: perfect and empty answers, padding, figures, masks in files, mistakes, learning."""

import csv
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.cli.modes import predict as predict_mode
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError, DataError
from experiments import instances

CONFIG = "configs/segment/nuclei.py"
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def built():
    """The smoke run, its state, and a batch of its validation split."""
    run = build(configs.load(f"{CONFIG}:smoke", []))
    raw = run.data.splits["validation"].batch(np.arange(16))
    batch = jax.tree.map(jnp.asarray, {**raw, "image": raw["image"] / np.float32(255), "mask": np.ones(16, np.float32)})
    start = quick_jit(run.task.init)(jax.random.key(0), batch)
    return run, State(jnp.int32(0), start["params"], {}, start["extra"]), batch


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def rows_of(batch, **answers):
    """The arrays of an evaluation whose answers are the truth, but for what is given."""
    truth = {name: np.asarray(x) for name, x in instances.truth_of(batch).items()}
    same = {"ids": truth["ids"], "classes": truth["classes"], "mask": truth["mask"], "scores": truth["mask"] * 0.9,
            "left": np.zeros(16)}  # fmt: skip
    return {**same, **answers, **{f"true_{name}": x for name, x in truth.items()}}


@pytest.mark.curriculum("M18", "N30")
def test_perfect_answers_have_every_measure_1_and_none_0(built):
    run, _, batch = built
    names = run.info.class_names
    perfect = instances.finalise(names, {"loss": 0.5}, rows_of(batch))
    ones = {"pq", "sq", "rq", "mask_ap", "mask_ap50", "mask_ap75", "box_ap", "box_ap50", "box_ap75"}
    assert {k for k, x in perfect.items() if x == pytest.approx(1)} >= ones and perfect["loss"] == 0.5
    assert {f"pq/{name}" for name in names} <= perfect.keys() and perfect["left"] == 0
    zero = np.zeros_like(np.asarray(batch["boxes_mask"]))
    nothing = rows_of(batch, ids=np.zeros((16, 32, 32), np.int16), mask=zero, scores=zero, left=np.full(16, 2.0))
    measures = instances.finalise(names, {}, nothing)
    assert {measures[name] for name in ones} == {0} and measures["left"] == 32
    table = instances.drawn("validation", names, {}, rows_of(batch))["validation_segments"].splitlines()
    assert table[0].split() == ["class", "pq", "sq", "rq", "right", "extra", "missed"] and len(table) == 8
    assert sum(int(line.split()[-3]) for line in table[2:]) == np.asarray(batch["boxes_mask"]).sum()


def test_the_evaluation_step_leaves_padding_out_of_losses_and_gives_rows_of_all(built):
    run, state, batch = built
    step = quick_jit(run.task.evals["validation"].step)
    first = np.arange(16) < 10
    one, other, whole = (step(state, {**batch, "mask": jnp.asarray(m, jnp.float32)}, None)
                         for m in (first, ~first, np.ones(16)))  # fmt: skip
    for a, b, total in zip(one["loss"], other["loss"], whole["loss"], strict=True):
        assert float(a) + float(b) == pytest.approx(float(total), rel=1e-5) and float(b) > 0
    assert one["loss"][1] == 10 and whole["ids"].shape == (16, 32, 32) and whole["mask"].shape == (16, 20)
    np.testing.assert_array_equal(whole["true_ids"], batch["instance_mask"][..., 0])
    rows = {name: np.asarray(x) for name, x in whole.items() if name != "loss"}
    measures = instances.finalise(run.info.class_names, {"loss": 1.0}, rows)
    assert 0 <= measures["pq"] <= 1 and measures["left"] == rows["left"].sum()


@pytest.mark.curriculum("M18")
def test_the_figure_shows_the_worst_and_the_best_with_what_became_of_their_objects(built):
    from cvdl_jax.analysis.figures import instances as figures

    run, _, batch = built
    rows, truth = rows_of(batch), {k: np.asarray(x) for k, x in instances.truth_of(batch).items()}
    rows["ids"] = rows["ids"].copy()
    rows["ids"][3] = 0  # everything missed
    figure = figures.overlays(batch["image"], rows, truth, run.info.class_names, examples=1)
    assert [axis.get_title() for axis in figure.axes] == ["PQ 0.00", "truth", "prediction", "PQ 1.00", "", ""]
    edges = [{tuple(np.round(p.get_edgecolor()[:3], 3)) for p in axis.patches} for axis in figure.axes]
    from matplotlib.colors import to_rgb

    colour = {name: tuple(np.round(to_rgb(c), 3)) for name, (c, _) in figures.OUTCOMES.items()}
    assert edges[1] == {colour["missed"]} and edges[2] == set()
    assert edges[4] == {colour["found"]} and edges[5] == {colour["right"]}
    assert len(figure.legends[0].get_texts()) == 4 and figure.get_label() == "examples"
    plain = figures.overlays(batch["image"], rows, truth, examples=1, stuff=range(len(run.info.class_names)))
    assert not any(axis.patches for axis in plain.axes)  # stuff has no box, and a paler colour
    at = np.argwhere(np.asarray(truth["ids"][3]) == 1)[:, None] + [[0, 1], [1, 0], [0, -1], [-1, 0], [0, 0]]
    inner = next(p[-1] for p in at if (np.asarray(truth["ids"][3])[tuple(np.clip(p, 0, 31).T)] == 1).all())
    pale, full = (np.asarray(f.axes[1].images[0].get_array())[tuple(inner)] for f in (plain, figure))
    image = np.asarray(batch["image"][3])[tuple(inner)]
    np.testing.assert_allclose((pale - image) * 3, full - image, atol=1e-6)


@pytest.mark.curriculum("M18")
def test_predictions_are_masks_of_the_size_of_the_images_and_rows_of_objects(built, tmp_path):
    run, state, batch = built
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, (name, size) in enumerate({"a.png": (32, 32), "sub/b.png": (64, 48)}.items()):
        Image.fromarray((np.asarray(batch["image"][i]) * 255).astype(np.uint8)).resize(size).save(folder / name)
    split = predict_mode.as_trained(run, predict_mode.files(run, [str(folder)]))
    outputs = {name: np.asarray(batch[entry][:2]) for name, entry in (("classes", "objects/label"),)}
    outputs |= {"ids": np.asarray(batch["instance_mask"][:2, ..., 0], np.int16)}
    outputs |= {"scores": np.full(outputs["classes"].shape, 0.5, np.float32)}
    rows = predict_mode.table(run, split.ids, outputs)
    real = np.asarray(batch["boxes_mask"][:2])
    assert len(rows) == 1 + real.sum() and rows[0][:4] == ["file", "id", "label", "name"]
    first = dict(zip(rows[0], rows[1], strict=True))
    np.testing.assert_allclose([float(first[k]) for k in ("ymin", "xmin", "ymax", "xmax")],
                               batch["objects/bbox"][0, 0], atol=1e-6)  # fmt: skip
    text = predict_mode.write_masks(run, split, outputs["ids"], tmp_path / "out.csv")
    assert text == f"masks of the size of the images to {tmp_path / 'out_masks'}"
    np.testing.assert_array_equal(pixels_of(tmp_path / "out_masks" / "a.png.png"), outputs["ids"][0])
    assert float(first["share"]) == pytest.approx((outputs["ids"][0] == 1).mean(), abs=1e-6)
    assert pixels_of(tmp_path / "out_masks" / "sub" / "b.png.png").shape == (48, 64)
    many = np.full((2, 4, 4), 300, np.int16)
    predict_mode.write_masks(run, split, many, tmp_path / "many.csv")
    assert (pixels_of(tmp_path / "many_masks" / "a.png.png") == 300).all()
    predicted = jax.eval_shape(run.task.predict, state, {"image": batch["image"][:2]})
    assert predicted["ids"].shape == (2, 32, 32) and set(predicted) >= {"classes", "scores", "mask"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.data.max_boxes=0", "vary in length: .* or pad boxes with config.data.max_boxes=N"),
        (
            "--config.data.features=('image','objects/bbox','objects/label')",
            "delivers no .*'instance_mask'.*needs masks",
        ),
        ("--config.data.features=('image','instance_mask')", "hold no boxes of varying number"),
        ("--config.data.max_boxes=1", r"config.data.max_boxes=1 is too small; no example has more than \d"),
        ("--config.method.name=watershd", "did you mean 'watershed'"),
        ("--config.method.leest=3", "config.method.leest is not an argument of watershed"),
        ("--config.model.name=resnet18", "is of kind 'backbones', expected 'segmentation'"),
        ("--config.loss.name=dise", "did you mean 'dice'"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises((ConfigError, DataError), match=message):
        build(configs.load(f"{CONFIG}:smoke", [override]))


@pytest.mark.long
@pytest.mark.curriculum("M18")
def test_it_learns_to_tell_circles_apart_and_predicts_masks(tmp_path):
    data = "shapes(size=32, objects=2, classes=1, clutter=0, train=400, validation=60, test=16)"
    flags = [
        f"--config={CONFIG}:data=shapes", f"--workdir={tmp_path / 'run'}", f"--config.data.name={data}",
        "--config.total_steps=120", "--config.optim.lr=0.01", "--config.eval.every_percent=100", "--config.data.test=",
        "--config.log.tensorboard=False", "--config.model.widths=(8,16,32)", "--config.augment=flip",
        "--config.data.max_boxes=2", "--config.batch_size=16", "--config.method.most=10",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["validation/pq"] > 0.6 and metrics["validation/mask_ap50"] > 0.7
    assert (tmp_path / "run" / "figures" / "instances.png").is_file()
    photo, out = tmp_path / "dark.png", tmp_path / "preds.csv"
    Image.new("RGB", (40, 40)).save(photo)
    assert launch.main(["--mode=predict", f"--workdir={tmp_path / 'run'}", f"--input={photo}", f"--out={out}"]) == 0
    with out.open(newline="") as file:
        assert next(csv.reader(file))[:2] == ["file", "id"]
    assert pixels_of(tmp_path / "preds_masks" / "dark.png.png").shape == (40, 40)
