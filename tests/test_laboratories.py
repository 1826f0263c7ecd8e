"""What `docs/laboratories.md` promises, end to end: train, tune, transfer, evaluate, read the same figures again."""

import json
import re

import jax
import numpy as np
import pytest

import launch
from cvdl_jax.metrics import classification
from cvdl_jax.workdir import predictions
from cvdl_jax.workdir.checkpoint import committed_steps, read_step

pytestmark = [pytest.mark.long, pytest.mark.curriculum("W20")]
QUIET = ("--config.log.tensorboard=False",)


def run(workdir, config, *flags):
    assert launch.main([f"--config={config}", f"--workdir={workdir}", *QUIET, *flags]) == 0
    assert (workdir / "DONE").exists() and (workdir / "report.html").stat().st_size > 1000
    return workdir


def evaluated(workdir, split):
    out = workdir / f"{split}.json"
    assert launch.main(["--mode=eval", f"--workdir={workdir}", f"--split={split}", f"--out={out}", "--again"]) == 0
    return json.loads(out.read_text())["metrics"]


def params(workdir):
    folder = workdir / "checkpoints"
    return read_step(folder / str(committed_steps(folder)[-1]))["state"]["params"]


def test_a_softmax_classifier_and_its_evaluation(tmp_path):
    """It learns; accuracy, its interval and the confusion matrix of the page are those of the stored predictions."""
    workdir = run(tmp_path / "softmax", "configs/classify/softmax.py", "--config.total_epochs=15")
    metrics = evaluated(workdir, "test")
    assert metrics["test/accuracy"] > 0.85
    stored = predictions.read(workdir / "predictions" / "test.npz")
    guess = np.asarray(stored["scores"]).argmax(-1)
    counts = classification.confusion_matrix(stored["label"], guess, 10)
    assert np.trace(counts) / counts.sum() == pytest.approx(metrics["test/accuracy"])
    page = (workdir / "report.html").read_text()
    assert "confusion" in page.lower() and f"{100 * metrics['test/accuracy']:.2f}" in page


def test_a_convolutional_network_is_tuned_and_transferred(tmp_path, capsys):
    """The sweep reports each trial; frozen layers keep the source's weights to the bit, the others move away."""
    sweep = "configs/sweeps/digits_lenet5_random.py:smoke"
    assert launch.main([f"--sweep={sweep}", f"--workdir={tmp_path / 'sweep'}"]) == 0
    assert len(json.loads((tmp_path / "sweep" / "results.json").read_text())["rows"]) == 2
    config = "configs/classify/lenet5.py"
    source = run(tmp_path / "source", config, "--config.total_epochs=3")
    tuned = run(
        tmp_path / "tuned", config, "--config.total_epochs=2", f"--config.init_from={source}",
        "--config.optim.freeze=conv.*", "--config.ema={}",
    )  # fmt: skip
    before, after = params(source), params(tuned)
    conv = [name for name in after if name.startswith("conv")]
    assert len(conv) == 2
    for name in after:
        pairs = zip(jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True)
        same = all(np.array_equal(*pair) for pair in pairs)
        assert same == (name in conv), name
    first = [json.loads(line) for line in (tuned / "metrics.jsonl").read_text().splitlines()]
    accuracies = [row["validation/accuracy"] for row in first if "validation/accuracy" in row]
    alone = [json.loads(line) for line in (source / "metrics.jsonl").read_text().splitlines()]
    assert accuracies[0] > next(row["validation/accuracy"] for row in alone if "validation/accuracy" in row)


def test_a_segmenter_and_its_evaluation(tmp_path):
    """Mean IoU of the page is that of the stored counts."""
    workdir = run(tmp_path / "unet", "configs/segment/unet.py:data=shapes,smoke")
    metrics = evaluated(workdir, "test")
    pixels = predictions.read(workdir / "predictions" / "test.npz")["pixels"].sum(
        0
    )  # [right, true, predicted] of a class
    right, true, guessed = pixels.astype(np.float64)
    seen = (guessed + true) > 0
    iou = right[seen] / (guessed + true - right)[seen]
    assert metrics["test/mean_iou"] == pytest.approx(iou.mean())
    assert metrics["test/pixel_accuracy"] == pytest.approx(right.sum() / true.sum())
    assert re.search(r"class\s+pixels", (workdir / "report.html").read_text())
