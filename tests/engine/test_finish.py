"""The end of a run: a damaged selected checkpoint, and what evaluations and the task draw."""

import types

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from cvdl_jax.analysis.figures import curves, images
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import finish
from cvdl_jax.engine.context import FinishedRun, RunContext
from cvdl_jax.errors import CheckpointError
from cvdl_jax.workdir.folder import Workdir


def test_a_damaged_selected_step_says_what_is_left_to_do(tmp_path, monkeypatch):
    def damaged(path, abstract):
        raise CheckpointError(f"checkpoint {path} is damaged")

    monkeypatch.setattr(finish, "restore_step", damaged)
    program, checkpoints = (
        types.SimpleNamespace(abstract_tree=dict),
        types.SimpleNamespace(folder=tmp_path / "checkpoints"),
    )
    context = RunContext(Workdir(tmp_path), None, program, checkpoints)
    with pytest.raises(CheckpointError) as error:
        finish.select(FinishedRun(context, 24, None, best_step=16))
    assert f"checkpoint {tmp_path / 'checkpoints' / '16'} is damaged" in str(error.value)
    assert f"--mode eval --workdir {tmp_path} --checkpoint latest" in str(error.value)
    assert finish.select(FinishedRun(context, 24, None, best_step=24)) == (24, None)
    assert finish.select(FinishedRun(context, 24, None, best_step=None)) == (24, None)


def test_an_evaluation_draws_what_it_measured(tmp_path, monkeypatch):
    """`Eval.draw` gets the metrics and the arrays of its own evaluation; an interruption draws nothing."""
    results = {"first": ({"loss": 2.0}, {}), "second": ({"loss": 3.0}, {"label": np.arange(4)})}

    def evaluated(program, name, state, split, step, interrupted, on_batch):
        return None if interrupted() else results[name]

    def shown(metrics, rows):
        return {"sentence": f"loss {metrics['loss']} of {len(rows['label'])}"}

    monkeypatch.setattr(finish, "evaluate", evaluated)
    evals = {"first": Eval(None, data=1), "second": Eval(None, data=1, draw=shown)}
    built = types.SimpleNamespace(task=Task(None, None, evals))
    context = RunContext(Workdir(tmp_path), built, None, None)
    metrics = finish.evaluate_all(context, 0, None, lambda: False, lambda examples: None)
    assert metrics == {"first/loss": 2.0, "second/loss": 3.0}
    assert (tmp_path / "figures" / "sentence.txt").read_text() == "loss 3.0 of 4"
    assert sorted(path.name for path in (tmp_path / "predictions").iterdir()) == ["second.npz"]
    assert finish.evaluate_all(context, 0, None, lambda: True, lambda examples: None) is None


def test_figures_say_of_which_split_and_fit_a_dark_page(tmp_path):
    photos = np.full((2, 4, 4, 1), 0.0)
    figures = {"examples": images.image_grid(photos, [0, 1], [0, 0]), "samples": images.mosaic(photos)}
    finish.save_figures(Workdir(tmp_path), figures, "the first examples of validation")
    light, dark = (Image.open(tmp_path / "figures" / folder / "examples.png") for folder in ("", "dark"))
    assert light.text["Description"] == "the first examples of validation"
    with Image.open(tmp_path / "figures" / "samples.png") as generated:
        assert "Description" not in generated.info  # of no split
    light, dark = (np.asarray(picture.convert("RGB")).astype(int) for picture in (light, dark))
    assert light[0, 0].tolist() == [255, 255, 255] and dark[0, 0].tolist() == [0x18, 0x1D, 0x23]  # the margins
    photo = np.all(dark == 0, -1)  # of the dark figure only the photos are black
    assert 0.1 < photo.mean() < 0.9
    title = dark[: light.shape[0] // 5]
    assert title.max() > 200  # its text is light


def test_what_is_dark_over_a_photo_stays_and_axes_turn():
    figure = images.box_grid(
        np.zeros((1, 4, 4, 3)),
        {
            "boxes": np.zeros((1, 0, 4)),
            "classes": np.zeros((1, 0)),
            "scores": np.zeros((1, 0)),
            "mask": np.zeros((1, 0)),
        },
        {"boxes": np.asarray([[[0.1, 0.1, 0.9, 0.9]]]), "mask": np.ones((1, 1))},
    )
    images.darken(figure)
    assert figure.axes[0].patches[0].get_edgecolor() == (1, 1, 1, 1) and figure.get_facecolor()[:3] != (1, 1, 1)
    figure, axes = curves.panels([("title", "x", "y")])
    axes[0].plot([0, 1], [0, 1], "k:")
    axes[0].scatter([0, 1], [0, 1], color="tab:blue", edgecolor="black")
    axes[0].legend(["chance"])
    images.darken(figure)
    light = to_rgba(images.DARK["black"])
    shown = [axes[0].title, axes[0].xaxis.label, axes[0].lines[0], axes[0].get_legend().get_texts()[0]]
    shown += [*axes[0].get_xticklabels()]
    assert {to_rgba(artist.get_color()) for artist in shown} == {light}
    assert {spine.get_edgecolor() for spine in axes[0].spines.values()} == {light}
    points = axes[0].collections[0]
    assert to_rgba(points.get_edgecolor()[0]) == light and to_rgba(points.get_facecolor()[0]) == to_rgba("tab:blue")
    assert axes[0].get_facecolor() == axes[0].get_legend().get_frame().get_facecolor()[:3] + (1.0,)
