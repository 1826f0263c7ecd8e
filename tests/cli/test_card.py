"""`--mode card`: what a run's files say is in its card, what they do not is a blank, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest

import launch
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.report import model_card
from cvdl_jax.workdir import predictions

STORED = Path(__file__).resolve().parents[1] / "stored" / "runs_before_the_rooms"


@pytest.fixture
def run(tmp_path):
    """A finished run of digits, without its checkpoints."""
    folder = tmp_path / "whole"
    shutil.copytree(STORED / "whole", folder, ignore=shutil.ignore_patterns("checkpoints"))
    return folder


def section(card, title):
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.curriculum("X17")
def test_the_card_says_what_the_files_say(run, capsys):
    assert launch.main(["--mode=card", f"--workdir={run}"]) == 0
    card = (run / "MODEL_CARD.md").read_text()
    blanks = card.count("FILL IN")
    assert f"{blanks} blanks are left" in capsys.readouterr().out and blanks >= 10
    meta, results = (json.loads((run / name).read_text()) for name in ("meta.json", "results.json"))
    assert "- parameters: 618" in card and f"- commit: {meta['starts'][-1]['commit']}" in card
    assert "- step: 8 of 8, by validation/accuracy" in card and f"- licence of the weights: {model_card.BLANK}" in card
    data = section(card, "Data statement")
    assert f"- fingerprint: {meta['data']['fingerprint']}" in data and "- version: 1.0.0" in data
    assert "- test split: `test` (359 examples evaluated)" in data and f"{model_card.BLANK} licence of the data" in data
    assert "| `config.optim.lr` | `0.002` |" in section(card, "Training")
    assert "| test/accuracy | 0.2284 | [0.188, 0.2746] | 359 |" in section(card, "Metrics")
    assert results["metrics"]["validation/examples"] == 289
    assert "| validation/loss | 2.328 |  | 289 |" in section(card, "Metrics")


@pytest.mark.curriculum("X17")
def test_classes_are_groups_with_their_intervals(run):
    arrays = predictions.read(run / "predictions" / "test.npz")
    scores = next(arrays[name] for name in ("scores", "logits", "probabilities") if name in arrays)
    of = arrays["label"] == 3
    right, n = int((scores[of].argmax(1) == 3).sum()), int(of.sum())
    low, high = wilson(right, n)
    want = f"| test: accuracy of class 3 | {right / n:.4g} | [{low:.4g}, {high:.4g}] | {n} |"
    assert want in section(model_card.text(run), "Groups")


@pytest.mark.curriculum("X17")
def test_every_number_of_the_card_is_one_of_the_run(run):
    """Beside those of the classes, which are counted from predictions."""
    card = model_card.text(run)
    card = card.replace(section(card, "Groups"), "")
    known = " ".join((run / name).read_text() for name in ("meta.json", "results.json", "config.json"))
    numbers = [f"{float(x):.4g}" for x in re.findall(r"(?<![\w.-])\d+\.?\d*(?:e-?\d+)?(?![\w.])", known)]
    for x in re.findall(r"(?<![\w.-])\d+\.\d+(?![\w.])", card):
        assert f"{float(x):.4g}" in numbers, x


def test_limits_follow_the_run(run):
    results = json.loads((run / "results.json").read_text())
    assert "Not evaluated on a test split" not in model_card.text(run)
    results["metrics"] = {k: v for k, v in results["metrics"].items() if not k.startswith("test/")}
    results["metrics"] |= {"validation/iou/changed": 0.5, "validation/iou/changed_low": 0.25,
                           "validation/iou/changed_high": 0.75}  # fmt: skip
    (run / "results.json").write_text(json.dumps(results))
    meta = json.loads((run / "meta.json").read_text())
    meta["starts"][0]["dirty"] = True
    (run / "meta.json").write_text(json.dumps(meta))
    card = model_card.text(run)
    assert "Not evaluated on a test split" in section(card, "Limits") and "uncommitted changes" in section(
        card, "Limits"
    )
    assert "| validation/iou/changed | 0.5 | [0.25, 0.75] | 289 |" in section(card, "Groups")
    assert "iou" not in section(card, "Metrics")


def test_refusals(run, tmp_path, capsys):
    (run / "MODEL_CARD.md").write_text("mine")
    assert launch.main(["--mode=card", f"--workdir={run}"]) == 2
    assert "exists, and what is filled in would be lost" in capsys.readouterr().err
    assert (run / "MODEL_CARD.md").read_text() == "mine"
    stopped = tmp_path / "stopped"
    shutil.copytree(STORED / "stopped", stopped)
    assert launch.main(["--mode=card", f"--workdir={stopped}"]) == 2
    error = capsys.readouterr().err
    assert "at step 6; a card describes a finished run" in error
    assert not (stopped / "MODEL_CARD.md").exists()
    assert launch.main(["--mode=card", f"--workdir={tmp_path / 'nothing'}"]) == 2
