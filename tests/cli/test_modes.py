"""What is done with a finished run: evaluate, predict, profile, load in a notebook. One tiny run serves all tests."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import ExifTags, Image

import launch
from cvdl_jax.cli.modes import predict as predict_mode
from cvdl_jax.cli.modes import profile
from cvdl_jax.data import load as data_load
from cvdl_jax.engine import kept, runs
from cvdl_jax.errors import UserError
from cvdl_jax.workdir.checkpoint import read_step

FLAGS = [
    "--config=configs/classify/mlp.py", "--config.total_steps=12", "--config.batch_size=32",
    "--config.eval.every_steps=4", "--config.log.every_steps=4", "--config.log.tensorboard=False",
    "--config.model.hidden=(16,)", "--config.ema.decay=0.8", "--config.checkpoint.keep=3",
    "--config.optim.lr=0.02", "--config.optim.schedule={}", "--config.normalise={'mean':(0.3,),'std':(0.4,)}",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("modes") / "run"
    assert launch.main([*FLAGS, f"--workdir={workdir}"]) == 0
    return workdir


@pytest.fixture(scope="module")
def digits():
    return data_load.load("digits", validation="validation", test="test")


def evaluated(run, tmp_path, *flags: str) -> dict[str, float]:
    """The metrics of `--mode eval`, however often the split was looked at before."""
    out = tmp_path / "metrics.json"
    assert launch.main(["--mode=eval", f"--workdir={run}", f"--out={out}", "--again", *flags]) == 0
    return json.loads(out.read_text())["metrics"]


def refused(capsys, *flags: str) -> str:
    capsys.readouterr()
    assert launch.main(flags) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    return message


def by_hand(params, arrays) -> dict[str, np.ndarray]:
    """The perceptron in NumPy: accuracy, mean cross-entropy and scores."""
    x = (arrays["image"].astype(np.float64).reshape(len(arrays["image"]), -1) / 255 - 0.3) / 0.4
    hidden = np.maximum(x @ np.float64(params["dense0"]["kernel"]) + np.float64(params["dense0"]["bias"]), 0)
    scores = hidden @ np.float64(params["head"]["kernel"]) + np.float64(params["head"]["bias"])
    label = arrays["label"]
    logsumexp = np.log(np.exp(scores - scores.max(-1, keepdims=True)).sum(-1)) + scores.max(-1)
    return {
        "accuracy": (scores.argmax(-1) == label).mean(),
        "loss": (logsumexp - scores[np.arange(len(label)), label]).mean(),
        "scores": scores,
    }


def test_eval_equals_the_results_of_the_run(run, tmp_path, capsys):
    results = json.loads((run / "results.json").read_text())
    assert evaluated(run, tmp_path) == results["metrics"]  # bit for bit: the same program, state and order
    out = capsys.readouterr().out
    assert f"checkpoints/{results['selected_step']}, weights auto" in out
    assert re.search(r"test/accuracy = [\d.]+ %, 95 % interval \[[\d.]+, [\d.]+\] \(Wilson, 359 examples\)", out)


@pytest.mark.parametrize("step", [4, 12])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_eval_of_any_checkpoint_and_split_equals_numpy(run, digits, tmp_path, step, split):
    state = read_step(run / "checkpoints" / str(step))["state"]
    found = {}
    for weights, params in {"ema": state["extra"]["ema"], "raw": state["params"]}.items():
        metrics = evaluated(run, tmp_path, f"--checkpoint={step}", f"--split={split}", f"--weights={weights}")
        expected = by_hand(params, digits.splits[split].arrays)
        assert {name.partition("/")[0] for name in metrics} == {split}
        np.testing.assert_allclose(metrics[f"{split}/accuracy"], expected["accuracy"], rtol=1e-6)
        np.testing.assert_allclose(metrics[f"{split}/loss"], expected["loss"], rtol=1e-5)
        assert metrics[f"{split}/examples"] == digits.splits[split].size
        found[weights] = metrics[f"{split}/loss"]
    assert abs(found["ema"] - found["raw"]) > 1e-3


def test_eval_takes_the_latest_checkpoint_and_other_examples(run, digits, tmp_path):
    latest = evaluated(run, tmp_path, "--checkpoint=latest", "--split=test")
    assert latest == evaluated(run, tmp_path, "--checkpoint=12", "--split=test")
    part = evaluated(run, tmp_path, "--checkpoint=12", "--split=test", "--config.data.test=test[10:50]")
    ema = read_step(run / "checkpoints" / "12")["state"]["extra"]["ema"]
    expected = by_hand(ema, {name: x[10:50] for name, x in digits.splits["test"].arrays.items()})
    assert part["test/examples"] == 40
    np.testing.assert_allclose(part["test/loss"], expected["loss"], rtol=1e-5)


def test_eval_of_the_training_split(run, digits, tmp_path):
    """Of the examples themselves, without augmentation: what the gap to the test loss is measured from."""
    metrics = evaluated(run, tmp_path, "--checkpoint=12", "--split=train", "--weights=raw")
    expected = by_hand(read_step(run / "checkpoints" / "12")["state"]["params"], digits.splits["train"].arrays)
    assert metrics["train/examples"] == 1149
    np.testing.assert_allclose(metrics["train/loss"], expected["loss"], rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--split=tset"], ["--split='tset'", "did you mean 'test'"]),
        (["--split=all"], ["--split='all'", "known: test, validation"]),
        (["--checkpoint=5"], ["no checkpoint of step 5", "[4, 8, 12]"]),
        (["--checkpoint=newest"], ["--checkpoint='newest'", "'best', 'latest' or a step"]),
        (["--weights=avg"], ["--weights='avg'", "'auto', 'ema' or 'raw'"]),
        (["--config.data.tst=x"], ["config.data.tst", "did you mean 'test'"]),
        (["--config.model.hidden=(17,)"], ["another configuration"]),
        (["--out=/nowhere/metrics.json"], ["--out", "/nowhere/metrics.json"]),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else None,
)
def test_eval_refuses_by_name(run, capsys, flags, words):
    message = refused(capsys, "--mode=eval", f"--workdir={run}", *flags)
    assert all(word in message for word in words), message


def test_a_run_without_an_average(run):
    state = runs.load(run)[1]
    without = state._replace(extra={"batch_stats": {}})
    assert runs.with_weights(without, "raw") is without and runs.with_weights(without, "auto") is without
    with pytest.raises(UserError, match=r"--weights=ema.*config\.ema is empty.*--weights=raw"):
        runs.with_weights(without, "ema")


# Predictions ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path, digits):
    """Six test digits as PNG: grey and RGB, of the trained size and of others, in sub-folders."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    images = digits.splits["test"].arrays["image"][:6, :, :, 0]
    for i, name in enumerate(["b.png", "a.png", "sub/c.png"]):
        Image.fromarray(images[i]).convert("RGB" if i == 1 else "L").save(folder / name)
    for i, (name, size) in enumerate({"large.png": (16, 16), "wide.png": (24, 8), "small.png": (4, 4)}.items(), 3):
        Image.fromarray(images[i]).resize(size, Image.Resampling.NEAREST).save(folder / name)
    return folder


def predicted(run, folder, out, *flags) -> list[dict[str, str]]:
    assert launch.main(["--mode=predict", f"--workdir={run}", f"--input={folder}", f"--out={out}", *flags]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_writes_a_row_for_each_image_in_order(run, photos, tmp_path, capsys):
    rows = predicted(run, photos, tmp_path / "preds.csv")
    assert "6 images predicted by step" in capsys.readouterr().out
    assert [row["file"] for row in rows] == ["a.png", "b.png", "large.png", "small.png", "sub/c.png", "wide.png"]
    names = [f"p({c})" for c in range(10)]
    assert list(rows[0]) == ["file", "label", "name", "probability", *names]
    p = np.array([[float(row[name]) for name in names] for row in rows])
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    for row, each in zip(rows, p, strict=True):
        assert int(row["label"]) == each.argmax() and row["name"] == row["label"]
        assert float(row["probability"]) == each.max()
    with np.load(run / "predictions" / "test.npz") as file:  # what the run itself said of these digits
        scores = file["scores"].astype(np.float64)
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    at = {row["file"]: each for row, each in zip(rows, p, strict=True)}
    for i, name in enumerate(["b.png", "a.png", "sub/c.png"]):
        np.testing.assert_allclose(at[name], expected[i], atol=2e-6)
    assert not (tmp_path / "preds.csv.tmp").exists()


def test_predict_resizes_as_the_run_did(run, digits, photos, tmp_path):
    """A digit enlarged by whole pixels and shrunk again by Pillow's box of the same filter is the digit, nearly."""
    rows = {row["file"]: row for row in predicted(run, photos, tmp_path / "preds.csv", "--checkpoint=latest")}
    with Image.open(photos / "large.png") as image:
        small = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
    ema = read_step(run / "checkpoints" / "12")["state"]["extra"]["ema"]
    scores = by_hand(ema, {"image": small[None, :, :, None], "label": np.zeros(1, int)})["scores"][0]
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose([float(rows["large.png"][f"p({c})"]) for c in range(10)], expected, atol=2e-6)


@pytest.mark.curriculum("G3", "G4")
@pytest.mark.parametrize("statistics", ["exact", "batch"])
def test_predict_normalises_as_the_evaluations_did(tmp_path, digits, statistics, monkeypatch, capsys):
    """The test digits as files: the run's own probabilities, also in the padded last batch, without its data."""
    run, folder = tmp_path / "run", tmp_path / "photos"
    overrides = [f"--config.batch_stats={statistics}", "--config.model.norm=batch(momentum=0.01)"]
    config = ["--config=configs/classify/mlp.py", "--config.model.hidden=(8,)", "--config.total_epochs=0.5"]
    sizes = ["--config.eval_batch_size=50"]
    assert launch.main([*config, *overrides, *sizes, f"--workdir={run}"]) == 0
    folder.mkdir()
    images = digits.splits["test"].arrays["image"][..., 0]
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    with monkeypatch.context() as patch:
        patch.setattr(kept, "load_data", None)
        rows = predicted(run, folder, tmp_path / "preds.csv")
        task, state, _ = runs.load(run)
    with np.load(run / "predictions" / "test.npz") as file:
        scores = file["scores"].astype(np.float64)
    expected = np.exp(scores - scores.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    found = np.array([[float(row[f"p({c})"]) for c in range(10)] for row in rows])
    assert len(rows) % 50 != 0
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if statistics == "batch":
        return
    loaded = task.predict(state, {"image": digits.splits["test"].arrays["image"]})["scores"]
    np.testing.assert_allclose(loaded, scores, atol=1e-3)
    (run / "statistics.npz").unlink()  # as of a checkpoint that was not the selected one: made again of the data
    again = predicted(run, folder, tmp_path / "preds.csv")
    assert [row["label"] for row in again] == [row["label"] for row in rows]
    assert float(again[3]["probability"]) == pytest.approx(float(rows[3]["probability"]), abs=1e-4)
    capsys.readouterr()
    state = runs.load(run)[1]
    assert "predict normalises by the running averages" in capsys.readouterr().out
    assert np.abs(task.predict(state, {"image": images[:, :, :, None]})["scores"] - scores).max() > 1e-3


def test_predict_says_which_image_is_alone_in_a_batch(tmp_path, digits, capsys):
    """Statistics of the batch of one image are none: 51 images in batches of 50."""
    run, folder = tmp_path / "run", tmp_path / "photos"
    config = ["--config=configs/classify/mlp.py", "--config.model.hidden=(8,)", "--config.total_epochs=0.5"]
    norm = ["--config.model.norm=batch(track_running_stats=False)", "--config.eval_batch_size=50"]
    assert launch.main([*config, *norm, f"--workdir={run}"]) == 0
    folder.mkdir()
    for i, image in enumerate(digits.splits["test"].arrays["image"][:51, ..., 0]):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    out = tmp_path / "preds.csv"
    message = refused(capsys, "--mode=predict", f"--workdir={run}", f"--input={folder}", f"--out={out}")
    assert "1 of 51 images have no probabilities, 050.png first" in message and not out.exists()
    (folder / "050.png").unlink()
    assert len(predicted(run, folder, out)) == 50
    message = refused(capsys, "--mode=predict", f"--workdir={run}", f"--input={folder / '000.png'}", f"--out={out}")
    assert "needs two values a channel" in message and "predict more than one image" in message


def test_predict_writes_the_boxes_of_a_detector():
    """A row for each detection: its class's name, its score, its corners in 0..1."""
    found = {
        "mask": np.array([[1, 1], [0, 0], [1, 0]]), "classes": np.array([[2, 0], [1, 1], [0, 0]]),
        "scores": np.array([[0.9, 0.4], [0.1, 0.1], [0.5, 0.0]]), "boxes": np.arange(24).reshape(3, 2, 4) / 24,
    }  # fmt: skip
    heading, *rows = predict_mode.detections(["a", "b", "c"], found, ("ant", "bee", "cat"))
    assert heading == ["file", "label", "name", "score", "ymin", "xmin", "ymax", "xmax"]
    assert [row[:4] for row in rows] == [["a", 2, "cat", "0.900000"], ["a", 0, "ant", "0.400000"],
                                         ["c", 0, "ant", "0.500000"]]  # fmt: skip
    assert rows[1][4:] == [f"{k / 24:.6f}" for k in (4, 5, 6, 7)]


@pytest.mark.long
def test_predict_asks_a_detector(tmp_path):
    """Two steps of training find nothing."""
    run, folder, out = tmp_path / "run", tmp_path / "photos", tmp_path / "preds.csv"
    small = ["--config.model.widths=(4,8)", "--config.model.levels=(0,1)", "--config.model.depth=1"]
    assert launch.main(["--config=configs/detect/anchors.py:smoke", *small, f"--workdir={run}"]) == 0
    folder.mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "black.png")
    predicted(run, folder, out)
    assert out.read_text().splitlines()[0] == "file,label,name,score,ymin,xmin,ymax,xmax"


def test_predict_takes_one_image(run, photos, tmp_path):
    rows = predicted(run, photos / "a.png", tmp_path / "preds.csv")
    assert [row["file"] for row in rows] == ["a.png"]


def test_predict_takes_several_paths_and_passes_over_what_cannot_be_read(run, photos, tmp_path, capsys):
    (photos / "sub" / "broken.png").write_bytes((photos / "b.png").read_bytes()[:60])
    out = tmp_path / "preds.csv"
    paths = [str(photos / "b.png"), str(photos / "sub"), str(photos / "a.png")]  # as a shell writes *.png
    with pytest.warns(UserWarning, match=r"1 of 4 examples of 'all' .* are left out: sub/broken\.png"):
        assert launch.main(["--mode=predict", f"--workdir={run}", f"--out={out}", "--input", *paths]) == 0
    assert "3 images predicted" in (said := capsys.readouterr().out) and "; 1 could not be read and have no row" in said
    with out.open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["b.png", "sub/c.png", "a.png"]
    with np.load(run / "predictions" / "test.npz") as file:
        labels = file["scores"].argmax(1)
    assert [int(rows[name]["label"]) for name in ("b.png", "a.png", "sub/c.png")] == labels[:3].tolist()
    message = refused(capsys, "--mode=predict", f"--workdir={run}", f"--out={out}", f"--input={photos}/sub/broken.png")
    assert "1 of 1 examples of 'all'" in message and "cannot be read: broken.png" in message


def test_predict_turns_images_as_training_does(run, photos, tmp_path):
    with Image.open(photos / "b.png") as image:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(photos / "turned.png", exif=exif)
    rows = {row["file"]: row for row in predicted(run, photos, tmp_path / "preds.csv")}
    assert {k: v for k, v in rows["turned.png"].items() if k != "file"} == {
        k: v for k, v in rows["b.png"].items() if k != "file"
    }


def test_predict_refuses_by_name(run, photos, tmp_path, capsys):
    out = tmp_path / "preds.csv"
    base = ["--mode=predict", f"--workdir={run}"]
    assert "--out FILE" in refused(capsys, *base, f"--input={photos}")
    assert "--input FOLDER" in refused(capsys, *base, f"--out={out}")
    message = refused(capsys, *base, f"--input={tmp_path / 'nowhere'}", f"--out={out}")
    assert f"{tmp_path / 'nowhere'} does not exist" in message and "--input" in message
    (tmp_path / "empty").mkdir()
    message = refused(capsys, *base, f"--input={tmp_path / 'empty'}", f"--out={out}")
    assert str(tmp_path / "empty") in message and "holds no image" in message and "found: nothing" in message
    message = refused(capsys, *base, f"--input={photos}", f"--out={tmp_path / 'nowhere' / 'preds.csv'}")
    assert "nowhere/preds.csv" in message and "cannot be written" in message
    for name in ("a.png", "b.png"):  # a header, and then nothing; and not even a header
        data = (photos / name).read_bytes()
        (photos / name).write_bytes(data[: len(data) // 2] if name == "a.png" else b"this is no image")
    paths = [str(photos / "a.png"), str(photos / "b.png")]
    message = refused(capsys, *base, f"--out={out}", "--input", *paths)
    assert "2 of 2 examples" in message and "cannot be read: a.png, b.png (OSError: image file is truncated" in message
    assert not out.exists()


# Profile and notebooks ------------------------------------------------------------------------------------------------


def test_profile_writes_a_trace_and_prints_the_top_operations(run, capsys):
    before = (run / "metrics.jsonl").read_bytes(), sorted(p.name for p in (run / "checkpoints").iterdir())
    assert launch.main(["--mode=profile", f"--workdir={run}", "--steps=2"]) == 0
    out = capsys.readouterr().out
    assert list((run / "profile").glob("plugins/profile/*/*.trace.json.gz"))
    assert "trace of 2 steps in" in out
    modules = re.findall(r"^\s+([\d.]+) %  forward +([\d.]+) ms  backward +([\d.]+) ms  (.+)$", out, re.MULTILINE)
    times = {name: (float(forward), float(backward)) for _, forward, backward, name in modules}
    assert {"MLP/dense0", "MLP/head"} <= times.keys() and min(times["MLP/head"]) > 0
    assert 99 < sum(float(share) for share, *_ in modules) <= 100.5
    shares = [float(x) for x in re.findall(r"^\s+([\d.]+) %  +[\d.]+ ms +\d+ x  \S", out, re.MULTILINE)]
    assert len(shares) >= 3 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100.5
    assert before == ((run / "metrics.jsonl").read_bytes(), sorted(p.name for p in (run / "checkpoints").iterdir()))


@pytest.mark.parametrize(
    ("op_name", "module"),
    [
        ("jit(advance)/while/body/transpose(jvp(MLP))/head/dot_general", "MLP/head"),
        ("jit(advance)/jvp(ResNet)/stage1/block0/conv0/conv_general_dilated", "ResNet/stage1/block0/conv0"),
        ("jit(advance)/jvp(ViT.embed)/ViT/proj/checkpoint/dot_general", "ViT/proj"),
        ("jit(advance)/while/body/jvp(jit(take_along_axis))/add", profile.REST),
        ("jit(advance)/add", profile.REST),
        ("jit(advance)/cond/branch_1_fun/vmap(Critic)/conv/add", "Critic/conv"),
    ],
)
def test_an_operation_belongs_to_the_module_in_which_it_was_traced(op_name, module):
    assert profile.module_of(op_name) == module


def test_a_notebook_gets_the_scores_of_the_run(run, digits):
    task, state, config = runs.load(run)
    assert config.model.hidden == (16,)
    images = digits.splits["test"].arrays["image"].astype(np.float32) / 255
    with np.load(run / "predictions" / "test.npz") as file:
        np.testing.assert_allclose(task.predict(state, {"image": images})["scores"], file["scores"], atol=1e-5)
        np.testing.assert_array_equal(file["label"], digits.splits["test"].arrays["label"])
        assert list(file["ids"]) == list(digits.splits["test"].ids)
    assert int(runs.load(run, 4)[1].step) == 4 and int(runs.load(run, "latest")[1].step) == 12
    with pytest.raises(UserError, match=r"no checkpoint of step 3; it has \[4, 8, 12\]"):
        runs.load(run, 3)
    with pytest.raises(UserError, match=r"nowhere/config\.json does not exist; is .*nowhere the --workdir of a run"):
        runs.load(run / "nowhere")


def test_a_run_saved_before_a_key_existed_can_still_be_read(tmp_path):
    from cvdl_jax.config import configs
    from cvdl_jax.workdir.folder import write_json

    old = configs.to_plain(configs.load("configs/classify/mlp.py:smoke"))
    del old["adversary"]
    write_json(tmp_path / "config.json", old)
    assert configs.to_plain(kept.read_config(tmp_path))["adversary"] == {}


@pytest.mark.parametrize(
    "mode,flags", [("eval", ()), ("predict", ("--input=x", "--out=y.csv")), ("replay", ()), ("report", ())]
)
def test_modes_of_a_finished_run_refuse_another_configuration(run, capsys, mode, flags):
    base = [f"--mode={mode}", f"--workdir={run}", *flags]
    message = refused(capsys, *base, "--config=configs/classify/mlp.py")
    assert f"--config=configs/classify/mlp.py has no effect in --mode {mode}, which reads --workdir" in message
    if mode != "eval":
        assert f"--config.seed=3 has no effect in --mode {mode}" in refused(capsys, *base, "--config.seed=3")
