"""Objects of one run and stuff of another: whose labels go where, what a run may be, and mistakes."""

import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core import studies
from cvdl_jax.engine import runs
from cvdl_jax.errors import ConfigError
from experiments.studies import panoptic

SMALL = ["--config.total_steps=1", "--config.model.widths=(2,4)", "--config.augment=", "--config.ema={}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The workdirs of a run of either kind, and the section of the study."""
    folder = tmp_path_factory.mktemp("runs")
    paths = {"semantic": "configs/segment/unet.py:data=shapes,smoke", "instances": "configs/segment/nuclei.py:smoke"}
    for name, path in paths.items():
        runs.train(path, folder / name, SMALL)
    section = configs.to_plain(configs.load("configs/studies/panoptic.py:smoke", []).study)
    return {name: str(folder / name) for name in paths}, section


def measured(section, **more):
    return panoptic.measure(configs.call(panoptic.Study, {**section, **more}, "config.study"))


@pytest.mark.curriculum("M19")
def test_labels_give_1_and_a_run_changes_its_own_part_only(made, monkeypatch):
    (folders, section), given = made, {}
    assert measured(section)[0]["pq"] == 1
    real = panoptic.predicted

    def kept(study, path, workdir, images):
        given[path] = real(study, path, workdir, images)
        return given[path]

    monkeypatch.setattr(panoptic, "predicted", kept)
    semantic = measured(section, semantic=folders["semantic"])[0]
    assert semantic["things_pq"] == 1 and semantic["stuff_pq"] < 1
    instances, shown = measured(section, instances=folders["instances"])
    assert instances["things_pq"] < 1 and instances["pq/background"] == instances["stuff_pq"]
    both, shown = measured(section, **folders)
    assert both["things_pq"] == instances["things_pq"]
    made, names, counts = shown[1], shown[3], shown[4]
    ids, labels = given["instances"][0]["ids"], given["semantic"][0]["segmentation"]
    assert len(labels) == 16 == len(ids) and names[-1] == "background" and len(counts.iou) == 7
    np.testing.assert_array_equal(made["ids"] == 0, (ids == 0) & (labels != 0))  # free, and taken for things
    np.testing.assert_array_equal(made["ids"][ids > 0], ids[ids > 0])
    assert both["void"] == pytest.approx(((ids == 0) & (labels != 0)).mean())
    drawn = panoptic.draw(shown)
    assert len(drawn["study_segments"].splitlines()) >= 8 and drawn["panoptic"].axes


@pytest.mark.parametrize(
    "change,message",
    [
        ({"stuff": ("background", "sky")}, "'sky' is no label of the masks without objects"),
        ({"stuff": ("background", "ring")}, "'ring' is no label of the masks without objects"),
        ({"stuff": ()}, r"the labels \['background'\] of the masks are neither objects"),
        ({"data.classes": ()}, "config.study.data.classes must name the labels of the masks"),
        ({"data.features": ("image", "objects/bbox", "objects/label")}, r"delivers no \['instance_mask'"),
        ({"split": "held_out"}, "config.study.data.held_out is missing"),
    ],
)
def test_mistakes(made, change, message):
    section = {**made[1], "data": dict(made[1]["data"])}
    for key, value in change.items():
        if key.startswith("data."):
            section["data"][key[5:]] = value
        else:
            section[key] = value
    if "data.features" in change:
        section["data"].pop("classes")
    with pytest.raises(ConfigError, match=message):
        measured(section)


def test_runs_of_another_kind_or_with_other_classes_are_refused(made):
    folders, section = made
    with pytest.raises(ConfigError, match=r"config.study.semantic=.* is a run of experiment 'instances'; name one of"):
        measured(section, semantic=folders["instances"])
    with pytest.raises(ConfigError, match=r"config.study.instances=.* is a run of experiment 'segment'; name one of"):
        measured(section, instances=folders["semantic"])
    other = {**section["data"], "classes": (*section["data"]["classes"][:-2], "bar", "ring")}
    with pytest.raises(ConfigError, match=r"config.study.semantic knows the classes"):
        measured({**section, "data": other}, semantic=folders["semantic"])
    study = studies.base("panoptic")
    study.total_steps = 3
    with pytest.raises(ConfigError, match="takes no steps"):
        panoptic.make(study, None)
