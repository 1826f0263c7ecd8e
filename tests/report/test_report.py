"""Pages of runs: everything that a run wrote is there, as text, and nothing is fetched from anywhere."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from reports_for_tests import NASTY, Tree, checked, classifier, decoded, failed, rows, start, write_rows
from sklearn import metrics as oracle

import launch
from cvdl_jax.cli.modes import train
from cvdl_jax.core.task import Task
from cvdl_jax.data import load as data_load
from cvdl_jax.engine import finish
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.context import FinishedRun, RunContext
from cvdl_jax.errors import UserError
from cvdl_jax.report.pages import curves, provenance, run_page
from cvdl_jax.workdir.folder import Workdir

ROOT = Path(__file__).resolve().parents[2]


# Runs -----------------------------------------------------------------------------------------------------------------


def test_page_of_a_finished_run(tmp_path):
    folder = classifier(tmp_path / "a & b")
    tree = checked(run_page.write(folder))
    text = tree.text("body")
    assert tree.text("h1") == "a & b done" and "selected step 100 of 300 (by validation/accuracy)" in text
    assert "50.00 %[37.00, 63.00] 95 % interval, 60 examples" in text
    assert [has["data-copy"] for _, has, _ in tree.find("button", aria_label="copy command")] == [
        "python launch.py --config 'a b.py'"
    ]
    assert {"c" * 40, "f" * 64, "0123456789abcdef"} <= {has.get("data-copy") for _, has, _ in tree.find("button")}
    assert "and uncommitted changes" in text and "2 × cpu (cpu)" in text
    for name in NASTY:
        assert name in text  # as text
    titles = [text for _, _, text in tree.find("h2")]
    assert titles == [
        "Results", "Test sets", "Curves", "Classes: test", "Subgroups: test", "Classes: validation",
        "Subgroups: validation", "Parameters", "Time", "Configuration", "Provenance", "Files",
    ]  # fmt: skip
    assert [text for _, _, text in tree.find("a")][1:] == titles
    assert "optim.lr" in text and "Switched off or unset: adversary" in text and "50.0 %" in text


def test_class_names_stay_text(tmp_path):
    tree = checked(run_page.write(classifier(tmp_path / "run")))
    assert not tree.find("b")
    assert [has.get("type") for _, has, text in tree.find("script")] == ["application/json", None, None]
    assert all("alert" not in text for _, _, text in tree.find("script"))


def test_the_confusion_matrix_of_a_page_is_that_of_its_predictions(tmp_path):
    folder = classifier(tmp_path / "run")
    tree = checked(run_page.write(folder))
    body = re.search(r'<table class="matrix">.*?</table>', (folder / "report.html").read_text())[0]
    cells = Tree(body).find("td")
    with np.load(folder / "predictions" / "test.npz") as saved:
        label, guess = saved["label"], saved["scores"].argmax(1)
    counts = oracle.confusion_matrix(label, guess)
    shares = oracle.confusion_matrix(label, guess, normalize="true")
    expected = [
        f"{n}{100 * share:.1f} %" for row in range(3) for n, share in zip(counts[row], shares[row], strict=True)
    ]
    shown = [text for _, has, text in cells if "sum" not in has["class"]]
    assert shown == expected and (counts > 0).all()
    sums = [text for _, has, text in cells if "sum" in has["class"]]
    assert sums == [str(x) for x in [*counts.sum(1), *counts.sum(0), 60]]
    assert "true classes" in tree.find("table", class_="matrix")[0][2]


def test_many_classes_get_a_picture_and_the_worst_pairs(tmp_path):
    folder = classifier(tmp_path / "run", class_names=[f"class {i}" for i in range(40)], n=300)
    tree = checked(run_page.write(folder))
    pictures = tree.find("img", class_="matrix-picture")
    assert len(pictures) == 2 and not tree.find("table", class_="matrix")
    shown = decoded(pictures[0][1]["src"].partition("base64,")[2])
    with np.load(folder / "predictions" / "test.npz") as saved:
        expected = oracle.confusion_matrix(saved["label"], saved["scores"].argmax(1), labels=range(40))
    assert shown.shape == (40, 40)
    np.testing.assert_array_equal(shown < 255, expected > 0)
    assert "Confused most often" in tree.text("main")


def test_numbers_that_are_not_finite_are_said(tmp_path):
    tree = checked(run_page.write(classifier(tmp_path / "run", bad=True)))
    assert "NaN" in tree.text("section", id="results")
    data = json.loads(tree.find("script", id="curves-data")[0][2])
    assert data["plots"][0]["series"][0]["y"][3] == "nan" and data["selected"] == 100


def test_page_of_a_failed_run(tmp_path):
    tree = checked(run_page.write(failed(tmp_path / "run")))
    assert tree.text("h1") == "run failed"
    shown = tree.text("section", id="failure")
    assert "NonFiniteLoss at step 36, then" in shown and "not finite at step 21 <&>\nlower it" in shown
    assert "error: <it>" in shown and "last logged step 40 of 800" in tree.text("header")
    assert "At step 40; not the final metrics." in tree.text("header")


def test_page_of_a_run_that_was_stopped(tmp_path):
    folder = start(tmp_path / "a run")
    write_rows(folder, rows(3))
    tree = checked(run_page.write(folder))
    assert tree.text("h1") == "a run partial" and not tree.find("section", id="failure")
    copies = [has["data-copy"] for _, has, _ in tree.find("button", aria_label="copy command")]
    assert copies[1] == f"python launch.py --workdir '{folder}'"
    assert "The split is written when a run ends." in tree.text("section", id="time")


def test_page_of_a_run_that_wrote_its_configuration_only(tmp_path):
    folder = start(tmp_path / "run")
    (folder / "meta.json").unlink()
    tree = checked(run_page.write(folder))
    assert "Nothing was logged." in tree.text("main") and "The run has not been started." in tree.text("main")


def test_a_half_written_last_row_is_no_row(tmp_path):
    folder = start(tmp_path / "run")
    write_rows(folder, rows(3))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "train/lo')
    assert "last logged step 30" in checked(run_page.write(folder)).text("header")


def test_a_command_line_that_is_no_text(tmp_path):
    folder = start(tmp_path / "run", starts=[{"argv": ["python", "caf\udce9"]}])
    assert b"caf\\udce9" in run_page.write(folder).read_bytes()


def test_a_folder_without_a_run(tmp_path, capsys):
    with pytest.raises(UserError, match=r"config.json does not exist; is .* the --workdir of a run"):
        run_page.write(tmp_path)
    assert launch.main(["--mode=report", f"--workdir={tmp_path}"]) == 2
    assert "config.json does not exist" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_mode_writes_the_page_and_takes_no_configuration(tmp_path, capsys):
    folder = classifier(tmp_path / "run")
    assert launch.main(["--mode=report", f"--workdir={folder}"]) == 0
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    (folder / "report.html").unlink()
    assert launch.main(["--mode=report", f"--workdir={folder}", "--config.seed=1"]) == 2
    assert "has no effect in --mode report" in capsys.readouterr().err and not (folder / "report.html").exists()


def test_a_large_run_has_a_small_page(tmp_path):
    """As many rows and examples as a long run on MNIST; 24 mistakes of each split with their images."""
    folder = classifier(tmp_path / "run", class_names=[str(i) for i in range(10)], n=10_000)
    rng = np.random.default_rng(0)
    names = [f"{split}/{m}" for split in ("train", "validation") for m in ("loss", "accuracy", "norm", "other")]
    write_rows(folder, [{"step": i, **dict(zip(names, rng.random(8).tolist(), strict=True))} for i in range(1, 5001)])
    path = run_page.write(folder)
    assert path.stat().st_size < 2e6
    tree = checked(path)
    data = json.loads(tree.find("script", id="curves-data")[0][2])
    assert all(len(s["x"]) <= curves.MOST_POINTS + 2 for plot in data["plots"] for s in plot["series"])
    assert "here up to 5,000" in tree.text("section", id="curves")


def test_time_split_and_its_phases():
    split = {"train": 0.5, "data_wait": 0.1, "evaluate": 0.2, "save": 0.1, "compile": 0.1}
    tree = Tree(provenance.time_split(split, 100.0))
    assert [(has["data-value"], text) for _, has, text in tree.find("td")] == [
        ("0.5", "50.0 %"), ("0.1", "10.0 %"), ("0.2", "20.0 %"), ("0.1", "10.0 %"), ("0.1", "10.0 %"),
    ]  # fmt: skip
    assert "1 min 40 s until the last row" in tree.text("section")


# The end of a run -----------------------------------------------------------------------------------------------------


def test_a_task_reports_figures_and_texts(tmp_path):
    from matplotlib.figure import Figure

    text = "to be\n\nor not to be ä\n"
    shown = {"samples_cold": text, "samples": Figure(figsize=(1, 1))}
    task = Task(None, None, report=lambda state, batch, key: shown)
    built = Run(ConfigDict({"seed": 0}), None, None, task)
    finish.draw(FinishedRun(RunContext(Workdir(tmp_path), built, None, None), 3, None, None), None)
    assert (tmp_path / "figures" / "samples_cold.txt").read_bytes() == text.encode()
    with Image.open(tmp_path / "figures" / "samples.png") as image:
        assert image.size[0] > 10
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["dark", "samples.png", "samples_cold.txt"]


def test_a_page_that_cannot_be_written_does_not_undo_the_run(tmp_path, monkeypatch, capsys):
    def broken(workdir):
        raise OSError("No space left on device")

    monkeypatch.setattr(run_page, "write", broken)
    finish.try_page(Workdir(tmp_path), train.write_page)
    said = capsys.readouterr().out
    assert "report.html could not be written (OSError: No space left on device)" in said
    assert f"python launch.py --mode report --workdir {tmp_path}" in said


# Processes ------------------------------------------------------------------------------------------------------------

WRITE = """
import sys
import launch
assert launch.main(["--mode=report", "--workdir", sys.argv[1]]) == 0
loaded = sorted({"jax", "flax", "optax", "orbax", "tensorflow_datasets", "matplotlib"} & set(sys.modules))
assert not loaded, loaded
"""


@pytest.mark.long
def test_the_mode_needs_no_jax(tmp_path, clean_environment):
    folder = classifier(tmp_path / "run")
    command = [sys.executable, "-c", WRITE, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checked(folder / "report.html")


@pytest.mark.long
def test_runs_are_read_and_compared_without_jax(clean_environment):
    modules = ["workdir.run_state", "workdir.predictions", "report.verdicts", "report.ensembles", "report.compare.text",
               "report.pages.run_page", "report.pages.table_page", "report.pages.ensemble_page"]  # fmt: skip
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n"
    code += "    importlib.import_module(f'cvdl_jax.{name}')\n    assert 'jax' not in sys.modules, name"
    command = [sys.executable, "-c", code, *modules]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_run_ends_with_its_page(tmp_path, capsys):
    folder = tmp_path / "run"
    assert launch.main(["--config=configs/classify/mlp.py:smoke", f"--workdir={folder}"]) == 0
    assert "report.html" in capsys.readouterr().out
    tree = checked(folder / "report.html")
    assert tree.text("h1") == "run done"
    facts = json.loads((folder / "figures" / "report.json").read_text())
    assert {leaf["name"] for leaf in facts["parameters"]} >= {"dense0/kernel", "head/bias"}
    worst = facts["mistakes"]["test"]
    arrays = data_load.load("digits", test="test", train="").splits["test"].arrays
    for each in worst:
        i = int(each["id"].partition("/")[2])
        assert arrays["label"][i] == each["label"]
        np.testing.assert_array_equal(decoded(each["image"]), arrays["image"][i, :, :, 0])
    assert len(tree.find("img")) >= len(worst) > 0


@pytest.mark.long
def test_texts_that_a_model_samples_are_on_its_page(tmp_path):
    folder = tmp_path / "run"
    assert launch.main(["--config=configs/sequence/char_rnn.py:smoke", f"--workdir={folder}"]) == 0
    texts = sorted((folder / "figures").glob("samples_temperature_*.txt"))
    assert len(texts) == 3 and (folder / "figures" / "samples.png").exists()
    shown = [text for _, _, text in checked(folder / "report.html").find("pre")]
    assert {path.read_text() for path in texts} <= set(shown)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, capsys, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EROFS, "Read-only file system", str(tmp_path / "report.html"))

    monkeypatch.setattr(run_page, "write", refuse)
    assert launch.main([f"--workdir={tmp_path}", "--mode=report"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: the page of {tmp_path} cannot be written: Read-only file system: ")
