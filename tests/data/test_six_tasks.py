"""The labels of six tasks: by hand on a small scene, and those of the drawn set against each other."""

import numpy as np
import pytest

from cvdl_jax.analysis.figures import six_tasks as figures
from cvdl_jax.config import configs
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.six_tasks import disagreements, six_tasks
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError, DataError

OBJECTS = np.array([[1, 1, 0, 0], [1, 2, 2, 0], [0, 2, 3, 3]])
LABELS = [5, 0, 5]


@pytest.mark.curriculum("X22")
def test_every_label_follows_from_the_objects():
    tasks = six_tasks(OBJECTS, LABELS)
    assert tasks.label == 5 and tasks.location.tolist() == [0, 0, 2, 2]  # the first of two objects of three pixels
    assert tasks.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 3, 4]]
    assert tasks.semantic.tolist() == [[6, 6, 0, 0], [6, 1, 1, 0], [0, 1, 6, 6]]
    assert tasks.panoptic[1, 1].tolist() == [1, 2] and tasks.panoptic[2, 3].tolist() == [6, 3]
    assert tasks.panoptic[0, 3].tolist() == [0, 0]
    np.testing.assert_array_equal(tasks.instances.sum(0), OBJECTS > 0)
    assert tasks.instances.sum((1, 2)).tolist() == [3, 3, 2]
    empty = six_tasks(np.zeros((2, 2), int), [])
    assert empty.label == -1 and empty.boxes.shape == (0, 4) and empty.instances.shape == (0, 2, 2)
    for objects, labels in ((OBJECTS, [1, 2]), (OBJECTS, [1, 2, 3, 4]), (-OBJECTS, LABELS)):
        with pytest.raises(DataError, match=r"shows the objects .* and has \d classes; number the objects"):
            six_tasks(objects, labels)


@pytest.mark.curriculum("X22")
def test_the_labels_of_drawn_scenes_agree():
    source = open_source("shapes(size=32, train=24, validation=8, test=8)", "train")
    for row in source.read(range(24)):
        assert disagreements(row) == []
    changed = {
        "label": (row["label"] + 1) % 6,
        "objects/bbox": row["objects/bbox"] + np.float32([0, 0, 1 / 32, 0]),
        "segmentation_mask": np.where(row["segmentation_mask"] == 0, 1, row["segmentation_mask"]),
    }
    for name, value in changed.items():
        assert disagreements({**row, name: value}) == [name]
    assert disagreements({k: row[k] for k in ("instance_mask", "objects/label")}) == []


def test_the_figure_has_a_column_for_each_task():
    image = np.random.default_rng(0).random((1, 3, 4, 1))
    figure = figures.six_tasks(image, [six_tasks(OBJECTS, LABELS)], tuple("abcdef"))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:3] == ["classification\nf", "localisation\nf", "detection\n"] and len(titles) == 6
    assert [len(axis.patches) for axis in figure.axes] == [0, 1, 3, 0, 0, 0]
    assert [t.get_text() for t in figure.axes[5].texts] == ["f 1", "a 2", "f 3"]
    semantic, instances, panoptic = (np.asarray(axis.images[0].get_array()) for axis in figure.axes[3:])
    np.testing.assert_array_equal(semantic[0, 0], semantic[2, 3])  # one class, whatever the pixels of the image
    assert abs(instances[0, 0] - instances[2, 3]).max() > 0.1  # two objects
    assert abs(panoptic[0, 0] - panoptic[2, 3]).max() > 0.1
    for shown in (semantic, instances, panoptic):
        np.testing.assert_allclose(shown[0, 3], np.repeat(image[0, 0, 3], 3))


def test_a_set_without_instances_is_refused():
    run = build(configs.load("configs/studies/six_tasks.py:smoke", ["--config.study.name=digits"]))
    with pytest.raises(ConfigError, match=r"config.study.name='digits' has no 'instance_mask'.*the set shapes has it"):
        run.task.report({}, {}, None)
