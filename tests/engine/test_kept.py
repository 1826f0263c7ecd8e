"""A finished run means the same later, though its folder of images was renamed, extended, moved or removed."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.data import opened, text
from cvdl_jax.engine import finish, kept, runs, train
from cvdl_jax.engine.build import build
from cvdl_jax.errors import CheckpointError, DataError
from cvdl_jax.workdir import data_facts, test_set_ledger
from cvdl_jax.workdir.checkpoint import read_step
from cvdl_jax.workdir.folder import Workdir, read_json, write_json

GREY = {"cat": 40, "dog": 120, "eel": 200}
FLAGS = [
    "--config=configs/classify/softmax.py", "--config.total_steps=40", "--config.batch_size=9",
    "--config.select.metric=",
    "--config.log.every_steps=20", "--config.log.tensorboard=False", "--config.optim={'name': 'sgd', 'lr': 1.0}",
    "--config.normalise={'fit': 'standardise'}", "--config.checkpoint.keep=3",
    "--config.class_weights=balanced",
]  # fmt: skip
DATA = {"train": "train", "validation": "", "test": "test", "channels": 1}


def command(name="folder:images"):
    """Trains on the images of the working directory."""
    return [*FLAGS, f"--config.data={ {'name': name, **DATA} }"]


def fill(folder, grey, rows):
    """Flat 3x2 images of one grey, each a little brighter than the one before."""
    folder.mkdir(parents=True)
    for i in rows:
        Image.new("L", (2, 3), grey + i).save(folder / f"{i:02d}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on three classes that a grey tells apart, its images, and what it predicts of others."""
    root = tmp_path_factory.mktemp("kept")
    for split, rows in (("train", range(12)), ("test", range(12, 16))):
        for name, grey in GREY.items():
            fill(root / "images" / split / name, grey, rows)
    for name, grey in GREY.items():
        fill(root / "new" / name, grey, range(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(finish, "draw", lambda run, state: None)  # figures take half of the time
        assert launch.main([*command(), "--workdir=run"]) == 0
        assert launch.main(["--mode=predict", "--workdir=run", "--input=new", "--out=before.csv"]) == 0
    return root


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of all that, as working directory: the run knows its images by a relative path."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(finish, "draw", lambda run, state: None)
    return tmp_path / "copy"


def rename(place):
    for split in ("train", "test"):
        (place / "images" / split / "cat").rename(place / "images" / split / "zebra")


def extend(place):
    fill(place / "images" / "train" / "dog" / "more", 255 - 30, range(30))


def reorder(place):
    """A new class, first in the alphabet, that only the training split has."""
    fill(place / "images" / "train" / "aal", 10, range(3))


def remove(place):
    shutil.rmtree(place / "images")


def resize(place):
    for file in (place / "images" / "train").rglob("*.png"):
        Image.open(file).resize((5, 5)).save(file)


CHANGES = [rename, extend, reorder, remove, resize]


def errors(capsys, *flags):
    capsys.readouterr()
    assert launch.main(flags) == 2
    return capsys.readouterr().err


def test_the_run_tells_the_classes_apart(made):
    assert read_json(made / "run" / "results.json")["metrics"]["test/accuracy"] == 1
    rows = (made / "before.csv").read_text().splitlines()[1:]
    assert [row.split("/")[0] for row in rows] == [row.split(",")[2] for row in rows] and len(rows) == 9


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_predictions_stay_what_they_were(place, change):
    """Names, their order, and mean and deviation are the run's."""
    change(place)
    assert launch.main(["--mode=predict", "--workdir=run", "--input=new", "--out=after.csv"]) == 0
    assert (place / "after.csv").read_text() == (place / "before.csv").read_text()


def test_a_loaded_run_needs_no_data(place):
    remove(place)
    task, state, config = runs.load("run")
    grey = np.stack([np.full((3, 2, 1), value + 5, np.uint8) for value in GREY.values()])
    assert np.asarray(task.predict(state, {"image": grey})["scores"]).argmax(-1).tolist() == [0, 1, 2]
    built, _, _ = runs.load_built("run")
    assert built.info.class_names == tuple(GREY) and built.info.sizes == {"train": 36, "test": 12}
    assert built.info.spec["image"].shape == (9, 3, 2, 1) and built.info.steps_per_epoch == 4
    assert config.normalise.fit == "standardise" and built.fitted.normalise.mean == pytest.approx([125.5 / 255])
    with pytest.raises(DataError, match="not opened by what needs only the run's model"):
        built.data.splits["train"].batch(np.arange(2))


@pytest.mark.parametrize("change", [extend, reorder, resize], ids=lambda change: change.__name__)
def test_what_happens_to_the_training_images_changes_no_figure_of_the_test_split(place, change):
    change(place)
    assert launch.main(["--mode=eval", "--workdir=run", "--split=test", "--out=metrics.json"]) == 0
    metrics, then = read_json(place / "metrics.json")["metrics"], read_json(place / "run" / "results.json")["metrics"]
    assert metrics == pytest.approx({key: value for key, value in then.items() if key.startswith("test/")})


def test_changed_examples_are_not_evaluated(place, capsys):
    extend(place)
    message = errors(capsys, "--mode=eval", "--workdir=run", "--split=train")
    assert "'train' of folder:images in images is not what the run was made with (its fingerprint was" in message
    assert "--external NAME" in message
    rename(place)
    assert "'test' of folder:images" in errors(capsys, "--mode=eval", "--workdir=run")
    assert test_set_ledger.looks("run")[0]["time"] == "at the end of the run" and len(test_set_ledger.looks("run")) == 1


def test_images_that_have_moved_are_the_same_images(place, capsys):
    """Their place is no change of the run: the test split is not looked at a second time."""
    shutil.move("images", "elsewhere")
    assert "images does not exist" in errors(capsys, "--mode=eval", "--workdir=run")
    moved = "--config.data.name=folder:elsewhere"
    assert launch.main(["--mode=eval", "--workdir=run", "--split=test", moved, "--out=metrics.json"]) == 0
    assert read_json(place / "metrics.json")["metrics"]["test/accuracy"] == 1
    assert "has been evaluated once" in capsys.readouterr().out
    shutil.copytree("elsewhere", "painted")
    Image.new("L", (2, 3), 77).save("painted/test/cat/12.png")
    painted = ["--mode=eval", "--workdir=run", "--split=test", "--config.data.name=folder:painted"]
    assert "'test' of folder:painted in painted is not what the run was made with" in errors(capsys, *painted)


def test_other_classes_in_the_same_files_are_refused_by_name(place, capsys):
    """Labels are matched by name for splits that the run has not seen, too."""
    fill(place / "images" / "later" / "zebra", 40, range(2))
    fill(place / "images" / "later" / "dog", GREY["dog"], range(2))
    shutil.copytree("images", "others/images")
    (place / "others" / "images" / "train" / "cat" / "00.png").unlink()
    Image.new("L", (2, 3), 77).save("others/images/test/cat/12.png")
    keep = "--config.data.empty_classes=keep"  # else a class that is only evaluated is refused before
    other = ["--config.data.name=folder:others/images", "--config.data.validation=later", "--split=validation", keep]
    message = errors(capsys, "--mode=eval", "--workdir=run", *other)  # nothing says that these are of the run's images
    assert "'later' of folder:images in others/images is not what the run was made with (it was made with" in message
    message = errors(
        capsys, "--mode=eval", "--workdir=run", "--split=validation", "--config.data.validation=later", keep
    )
    assert "has examples of the class 'zebra', which the run does not know; its classes are cat, dog, eel" in message
    shutil.rmtree(place / "images" / "later" / "zebra")
    reorder(place)  # dog is class 2 of the folder now
    flags = ["--split=validation", "--config.data.validation=later", "--out=metrics.json"]
    assert launch.main(["--mode=eval", "--workdir=run", *flags]) == 0
    assert read_json(place / "metrics.json")["metrics"]["validation/accuracy"] == 1


def stop(workdir, monkeypatch, name="folder:images"):
    """Starts the run and ends it after 20 steps."""
    original = train.Loop._advance

    def advance(loop):
        original(loop)
        if loop.step >= 20:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(train.Loop, "_advance", advance)
        assert launch.main([*command(name), f"--workdir={workdir}"]) == 75


def test_a_run_that_continues_is_told_where_its_data_are_now(place, monkeypatch, capsys):
    stop("stopped", monkeypatch)
    shutil.move("images", "elsewhere")
    assert "images does not exist" in errors(capsys, "--workdir=stopped")
    shutil.copytree("elsewhere", "painted")
    Image.new("L", (2, 3), 77).save("painted/test/cat/12.png")
    told = "--config.data.name=folder:"
    assert "the data have changed since stopped was started" in errors(capsys, "--workdir=stopped", f"{told}painted")
    assert read_json("stopped/config.json")["data"]["name"] == "folder:images"
    assert launch.main(["--workdir=stopped", f"{told}elsewhere"]) == 0
    assert read_json("stopped/config.json")["data"]["name"] == "folder:elsewhere"
    for one, other in zip(
        *(jax.tree.leaves(read_step(f"{run}/checkpoints/40")["state"]["params"]) for run in ("run", "stopped")),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    capsys.readouterr()
    assert launch.main(["--workdir=stopped", f"{told}elsewhere"]) == 0  # as after any finished run
    assert "is finished" in capsys.readouterr().out
    assert "holds a run of another configuration (data.name" in errors(capsys, "--workdir=stopped", f"{told}painted")


def test_a_run_without_kept_facts_takes_them_from_its_data_with_a_word(place, capsys):
    (place / "run" / "data.json").unlink()
    flags = ["--mode=predict", "--workdir=run", "--input=new", "--out=after.csv"]
    assert launch.main(flags) == 0
    out = capsys.readouterr().out
    assert "run was made before runs kept what they need of their data; it comes from folder:images as it is now" in out
    assert "WARNING" not in out and (place / "after.csv").read_text() == (place / "before.csv").read_text()
    rename(place)
    assert launch.main(flags) == 0
    assert "WARNING: its fingerprint is" in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"cat"', '"car"'), lambda text: text.replace("0.4", "0.5", 1), lambda text: "[]",
        lambda text: text[:-9], lambda text: "{}",
    ],
)  # fmt: skip
def test_damaged_facts_are_refused(place, damage):
    path = place / "run" / "data.json"
    text = path.read_text()
    path.write_text(damage(text))
    assert path.read_text() != text
    with pytest.raises(Exception, match=r"data\.json (has changed since it was written|is damaged)"):
        runs.load("run")


def test_written_otherwise_the_facts_are_the_same(place):
    facts = data_facts.read("run")
    path = place / "run" / "data.json"
    path.write_text(json.dumps(dict(reversed(read_json(path).items()))))
    assert data_facts.read("run") == facts and data_facts.class_names("run") == tuple(GREY)
    with pytest.raises(CheckpointError):
        write_json(path, {**read_json(path), "fitted": {}})
        data_facts.read("run")


@pytest.mark.parametrize("layout", [{"mode": "jit", "fsdp": 4}, {"mode": "pmap", "fsdp": 1}], ids=str)
def test_a_run_is_loaded_on_other_devices_than_it_was_trained_on(place, layout):
    config = read_json("run/config.json")
    write_json(place / "run" / "config.json", {**config, "parallel": layout, "steps_per_call": 7})
    assert launch.main(["--mode=predict", "--workdir=run", "--input=new", "--out=after.csv"]) == 0
    assert (place / "after.csv").read_text() == (place / "before.csv").read_text()
    assert launch.main(["--mode=eval", "--workdir=run", "--split=test"]) == 0


@pytest.mark.parametrize(
    ("devices", "fsdp", "sizes", "expected"),
    [
        (8, 4, (16, 16), (8, 4)),
        (8, 4, (12, 20), (4, 4)),
        (8, 8, (12, 18), (6, 2)),
        (3, 4, (9, 9), (3, 1)),
        (2, 1, (7, 7), (1, 1)),
    ],
)
def test_batches_and_parameters_are_spread_as_far_as_they_can_be(monkeypatch, devices, fsdp, sizes, expected):
    monkeypatch.setattr(jax, "devices", lambda: list(range(devices)))
    monkeypatch.setattr(parallel, "make_mesh", lambda chosen, fsdp: (len(chosen), fsdp))
    assert parallel.fitting_mesh(fsdp, sizes) == expected


def test_a_text_that_has_changed_is_refused(tmp_path, monkeypatch):
    """An experiment that opens data by itself: a language model, whose vocabulary is that of its text."""
    pages = {"train": "to be\nor not", "validation": "to be", "test": "or not"}
    monkeypatch.setattr(text, "_read", lambda name, split, data_dir: pages[split])
    config = configs.load("configs/sequence/char_rnn.py:smoke", ["config.text.name=play", "config.batch_size=4"])
    built, workdir = build(config), Workdir(tmp_path)
    write_json(workdir.config, configs.to_plain(config))
    kept.record(workdir, built, 1, [])
    workdir.done.touch()
    assert kept.open_run(tmp_path).opened == built.opened and list(built.opened) == ["play"]
    assert built.opened["play"]["vocabulary"] == "\n benort" and built.opened["play"]["sizes"]["validation"] == 5
    assert kept.open_run(tmp_path, with_data=False).opened == built.opened
    pages["train"] = "to be\nor not at all"
    for again in (lambda: kept.open_run(tmp_path), lambda: kept.build_on(workdir, config)):
        with pytest.raises(DataError, match=r"play is not what .* was made with \(its fingerprint was"):
            again()


def test_a_language_model_is_loaded_without_its_text_and_cannot_read_it(tmp_path, monkeypatch):
    pages = {"train": "to be\nor not", "validation": "to be", "test": "or not"}
    monkeypatch.setattr(text, "_read", lambda name, split, data_dir: pages[split])
    runs.train(
        "configs/sequence/char_rnn.py:smoke", tmp_path / "run",
        ["config.text.name=play", "config.batch_size=4", "config.sample.prompt=to", "config.model.units=4"],
    )  # fmt: skip
    whole = runs.load(tmp_path / "run")
    pages.clear()
    task, state, _ = runs.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, state.params, whole[1].params)
    samples = [t.report(s, {}, jax.random.key(0)) for t, s in ((task, state), whole[:2])]
    assert {k: v for k, v in samples[0].items() if isinstance(v, str)} == {
        k: v for k, v in samples[1].items() if isinstance(v, str)
    }
    for read, error in (
        (task.evals["test"].step, DataError),
        (task.train.update, Exception),
    ):  # JAX's own of a callback
        with pytest.raises(error, match="the text of play is not opened by what needs only the run's model"):
            jax.block_until_ready(read(state, {}, jax.random.key(0)))


def test_notes_of_what_is_opened():
    assert opened.note("nobody", "listens") is None
    with opened.noting() as outer:
        opened.note("a", "1")
        with opened.noting() as inner:
            opened.note("b", "2")
        opened.note("c", "3", size=4)
    assert (outer, inner) == ({"a": "1", "c": {"fingerprint": "3", "size": 4}}, {"b": "2"})
    assert opened.remembered("c") is None
    with opened.noting(outer):
        assert opened.remembered("c") == outer["c"] and opened.remembered("a") is opened.remembered("x") is None
    assert [opened.fingerprint_of(kept) for kept in outer.values()] == ["1", "3"]


def test_a_place_is_no_change(tmp_path):
    overrides = ["--config.data.name=folder:b", "--config.data.data_dir=/x", "--config.data.test=test[:5]"]
    assert kept.changes(tmp_path, overrides) == overrides  # nothing is known of its data
    (tmp_path / "data.json").touch()
    assert kept.changes(tmp_path, overrides) == overrides[2:]
