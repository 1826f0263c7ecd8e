"""Faults of disks, machines and people: a clear sentence, nothing lost, and the same command continues."""

import errno
import json
import os
import re
import subprocess
import sys

import forks
import pytest
from runs_for_tests import CHILD, ROOT, assert_same_run, environment, finished, leaves, rows, start

import launch
from cvdl_jax.engine import train
from cvdl_jax.workdir import folder as workdir
from cvdl_jax.workdir.checkpoint import committed_steps
from cvdl_jax.workdir.folder import Workdir

TINY = [
    "--config=configs/classify/mlp.py", "--config.total_steps=12", "--config.batch_size=16",
    "--config.model.hidden=(8,)", "--config.eval.every_steps=4", "--config.log.every_steps=2",
    "--config.log.tensorboard=False",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("faults") / "whole"
    done = start(folder, "perceptron")
    assert done.returncode == 0, done.stderr
    return folder


def assert_one_error(done: subprocess.CompletedProcess, *words: str) -> None:
    """Exit code 2, and one line that begins with "error:" and holds these words."""
    assert done.returncode == 2, f"{done.stdout}{done.stderr}"
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"


# One writer -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_second_process_is_refused_while_the_first_runs(tmp_path):
    first = Workdir(tmp_path / "run")
    first.lock()
    try:
        done = start(first.path, "perceptron")
        assert "Traceback" not in done.stderr
        assert_one_error(done, f"pid {os.getpid()}", str(first.path), "another --workdir")
        assert sorted(p.name for p in first.path.iterdir()) == [".lock"]  # it touched nothing
    finally:
        first.unlock()


@pytest.mark.long
def test_the_lock_ends_with_its_process(tmp_path):
    """Even with one that was killed: the file stays, the lock does not."""
    script = (
        "import os, signal, sys; from cvdl_jax.workdir.folder import Workdir\n"
        "Workdir(sys.argv[1]).lock(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], cwd=ROOT, check=False)
    assert killed.returncode == -9 and (tmp_path / "run" / ".lock").exists()
    again = Workdir(tmp_path / "run")
    again.lock()
    assert (again.path / ".lock").read_text() == str(os.getpid())
    again.unlock()


# Disks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_full_disk_while_saving(tmp_path, monkeypatch):
    """Rows and small files fit under the limit on a file's size, the arrays of a checkpoint do not."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")  # nor would its entries: they are shared with others

    def child(folder, *hook):
        flags = [
            "--config=configs/classify/mlp.py", "--config.total_steps=12", "--config.eval.every_steps=4",
            "--config.log.every_steps=2", "--config.log.tensorboard=False", "--config.model.hidden=(200,)",
        ]  # fmt: skip
        return finished(forks.start([str(CHILD), *hook, *flags, f"--workdir={folder}"], environment()), 300)

    assert child(tmp_path / "whole", "none").returncode == 0
    folder = tmp_path / "run"
    assert child(folder, "term@step:4").returncode == 75
    assert committed_steps(folder / "checkpoints") == [4]
    before = {p: p.read_bytes() for p in (folder / "checkpoints" / "4").rglob("*") if p.is_file()}
    assert max(len(data) for data in before.values()) > 45_000
    # Less than the one array of 64 x 200 numbers: how many arrays share a file is Orbax's threads' affair.
    full = child(folder, "files", str(40_000))
    assert "Traceback" not in full.stderr and not list((folder / "checkpoints").glob("*tmp*"))
    assert_one_error(full, str(folder / "checkpoints"), "step 8", "file too large", "step 4 is intact", "same command")
    assert committed_steps(folder / "checkpoints") == [4]
    assert all(p.read_bytes() == data for p, data in before.items())
    failure = json.loads((folder / "FAILED.json").read_text())
    assert failure["error"] == "CheckpointError" and "file too large" in failure["message"]
    again = child(folder, "none")
    assert again.returncode == 0, again.stderr
    assert "restored step 4" in again.stdout
    assert not (folder / "FAILED.json").exists()
    assert_same_run(tmp_path / "whole", folder)
    assert not list((folder / "checkpoints").glob("*tmp*"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_the_error_survives_a_disk_too_full_to_write_it_down(tmp_path, monkeypatch, capsys, code):
    """FAILED.json cannot be written either; what the user sees is still the sentence about the checkpoint."""
    original = workdir.write_json

    def write_json(path, value):
        if path.name == "FAILED.json":
            raise OSError(code, os.strerror(code), str(path))
        original(path, value)

    def full(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(workdir, "write_json", write_json)
    monkeypatch.setattr("cvdl_jax.workdir.checkpoint.ocp.CheckpointManager.save", full)
    assert launch.main([*TINY, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "the checkpoint of step 4 could not be written" in error and "Free space" in error


@pytest.mark.parametrize("place", ["row", "results"])
def test_a_full_disk_anywhere_else_is_a_sentence_too(tmp_path, monkeypatch, capsys, place):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "run" / place))

    monkeypatch.setattr(*{"row": (train.Writers, "row"), "results": (train, "finish")}[place], full)
    assert launch.main([*TINY, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "No space left" in error and str(tmp_path / "run") in error and "same command" in error


def flip_a_bit(step) -> None:
    """In the middle of the largest file of a checkpoint."""
    largest = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 8
    largest.write_bytes(data)


@pytest.mark.long
def test_a_flipped_bit_in_the_newest_checkpoint(whole, tmp_path):
    folder = tmp_path / "run"
    assert start(folder, "perceptron", "term@step:20").returncode == 75
    *_, previous, newest = committed_steps(folder / "checkpoints")
    assert newest == 20 and previous == 16
    flip_a_bit(folder / "checkpoints" / "20")
    again = start(folder, "perceptron")
    assert again.returncode == 0, again.stderr
    assert "checkpoint 20 is damaged" in again.stderr and "has changed since it was written" in again.stderr
    assert str(folder / "checkpoints_bad" / "20.0") in again.stderr
    assert f"restored step {previous}" in again.stdout
    assert (folder / "checkpoints_bad" / "20.0").is_dir()
    assert rows(whole) == rows(folder)
    first, second = leaves(whole), leaves(folder)
    for name, x in first[24].items():
        assert (x == second[24][name]).all(), name


@pytest.mark.long
def test_the_best_checkpoint_survives_a_restart(tmp_path):
    """It is the first of all, one is kept besides, and the run is stopped twice after it."""
    flags = ["--config.select.metric=validation/loss", "--config.select.mode=max", "--config.checkpoint.keep=1"]
    assert start(tmp_path / "whole", "perceptron", "none", *flags).returncode == 0
    best = json.loads((tmp_path / "whole" / "results.json").read_text())["selected_step"]
    folder = tmp_path / "run"
    for place, kept in (("term@step:14", 15), ("term@step:20", 20)):
        assert start(folder, "perceptron", place, *flags).returncode == 75
        assert committed_steps(folder / "checkpoints") == sorted({8, kept})
    again = start(folder, "perceptron", "none", *flags)
    assert again.returncode == 0, again.stderr
    results = json.loads((folder / "results.json").read_text())
    assert results["selected_step"] == best == 8
    assert 8 in committed_steps(folder / "checkpoints")
    assert_same_run(tmp_path / "whole", folder)


# Crashes and missing data ---------------------------------------------------------------------------------------------


def test_a_crash_leaves_failed_json_and_the_next_start_removes_it(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    original = train.evaluate

    def broken(program, name, state, split, step, *rest):
        if step == 8:
            raise ZeroDivisionError("a bug")
        return original(program, name, state, split, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(train, "evaluate", broken)
        with pytest.raises(ZeroDivisionError):  # a crash keeps its traceback
            launch.main([*TINY, f"--workdir={folder}"])
    failure = json.loads((folder / "FAILED.json").read_text())
    assert (failure["error"], failure["message"], failure["step"]) == ("ZeroDivisionError", "a bug", 8)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", failure["time"])
    page = (folder / "report.html").read_text()  # written while the run still held its lock
    assert '<span class="badge failed">failed</span>' in page and "a bug" in page and "ZeroDivisionError" in page
    assert not (folder / "DONE").exists()
    assert launch.main([*TINY, f"--workdir={folder}"]) == 0
    assert "restored step 4" in capsys.readouterr().out
    assert not (folder / "FAILED.json").exists() and (folder / "DONE").exists()
    assert len(json.loads((folder / "meta.json").read_text())["starts"]) == 2
    assert launch.main([*TINY, f"--workdir={tmp_path / 'whole'}"]) == 0
    assert rows(folder) == rows(tmp_path / "whole")


def test_missing_data_name_everything_that_is_needed(tmp_path, capsys):
    (tmp_path / "data" / "something_else").mkdir(parents=True)
    flags = ["--config=configs/classify/softmax.py:data=mnist", f"--config.data.data_dir={tmp_path / 'data'}"]
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    looked, expected = str(tmp_path / "data"), str(tmp_path / "data" / "mnist" / "<version>" / "dataset_info.json")
    for words in ("'mnist'", looked, f"expected {expected}", "found: something_else", "tfds build mnist --data_dir"):
        assert words in error, error


def test_data_that_changed_since_the_start_are_noticed(tmp_path, monkeypatch, capsys):
    """Another order, other labels: the continued run would not be the one that was begun."""
    import shutil

    import numpy as np
    from PIL import Image

    images, folder = tmp_path / "images", tmp_path / "run"
    for label in range(2):
        (images / f"class{label}").mkdir(parents=True)
        for i in range(20):
            pixels = np.full((8, 8), 90 * label + i, np.uint8)
            Image.fromarray(pixels).save(images / f"class{label}" / f"{i}.png")
    data = (
        f"--config.data={{'name':'folder:{images}','train':'train','channels':1}}",
        "--config.data.split.fractions=0.8,0.2",
    )
    original = train.Loop._advance

    def advance(loop):
        original(loop)
        loop.signals.exit_code = 75

    with monkeypatch.context() as patch:
        patch.setattr(train.Loop, "_advance", advance)
        assert launch.main([*TINY, *data, f"--workdir={folder}"]) == 75
    shutil.move(images / "class0" / "3.png", images / "class1" / "99.png")
    capsys.readouterr()
    assert launch.main([*TINY, *data, f"--workdir={folder}"]) == 2
    error = capsys.readouterr().err
    assert "data have changed" in error and str(folder) in error and "another --workdir" in error
