"""Classes of one data set as those of another, by name: orders, sets that lack some, and classes that nobody knows."""

from dataclasses import replace

import numpy as np
import pytest

from cvdl_jax.data import relabel
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Interval, Source
from cvdl_jax.data.split import Split
from cvdl_jax.errors import DataError


class Listed(Source):
    """Labels as they are listed."""

    def __init__(self, labels, names, shape=()):
        self.name, self.version, self.split, self.location = "listed", "", "all", ""
        self.listed, self.intervals = labels, [Interval("all", 0, len(labels))]
        self.features = {"label": Feature("label", shape, "int32", len(names) or 3, tuple(names))}

    def read(self, indices):
        return [{"label": np.asarray(self.listed[i], np.int32)} for i in indices]

    def fingerprint(self):
        return "listed"


def split(labels, names, resident=False, shape=()):
    source = Listed(labels, names, shape)
    arrays = {"label": np.asarray(labels, np.int32)} if resident else None
    return Split("test", source, HostStage(), source.features, arrays)


def ours(*names):
    return {"label": Feature("label", (), "int32", len(names), names)}


@pytest.mark.parametrize("resident", [False, True])
def test_another_order_by_hand(resident):
    """Theirs: 0 eel, 1 cat, 2 dog. Ours: 0 ant, 1 cat, 2 dog, 3 eel."""
    found = relabel.by_name(
        split([0, 1, 2, 2, 0], ["eel", "cat", "dog"], resident), ours("ant", "cat", "dog", "eel"), "x"
    )
    assert found.batch(np.arange(5))["label"].tolist() == [3, 1, 2, 2, 3]
    assert [int(found.example(i)["label"]) for i in (0, 2)] == [3, 2]
    assert found.features["label"].class_names == ("ant", "cat", "dog", "eel")
    assert found.ids[4] == "all/4" and found.source.fingerprint() == "listed" and found.size == 5


@pytest.mark.parametrize("resident", [False, True])
def test_a_class_that_is_not_known_is_refused_if_it_has_examples(resident):
    theirs = ["bee", "cat", "dog", "fly"]
    found = relabel.by_name(split([1, 2, 1], theirs, resident), ours("cat", "dog"), "x")
    assert found.batch(np.arange(3))["label"].tolist() == [0, 1, 0]
    words = "x has examples of the class 'bee' and 1 more, which the run does not know; its classes are cat, dog"
    with pytest.raises(DataError, match=words):
        relabel.by_name(split([1, 0, 3], theirs, resident), ours("cat", "dog"), "x")


def test_labels_of_objects_are_matched_and_an_unknown_class_is_refused_without_reading():
    boxes = split([[0, 1], [1, 1]], ["dog", "cat"], shape=(None,))
    found = relabel.by_name(boxes, {"label": replace(ours("cat", "dog")["label"], shape=(None,))}, "x")
    assert found.example(0)["label"].tolist() == [1, 0]
    with pytest.raises(DataError, match="the class 'dog', which"):
        relabel.by_name(boxes, {"label": replace(ours("cat", "eel")["label"], shape=(None,))}, "x")


def test_what_is_no_class_of_the_table_stays_unknown():
    new = relabel.table(["b", "a"], ["a", "b"])
    assert new.tolist() == [1, 0]
    assert relabel.renamed(new, np.array([-1, 0, 1, 2], np.int32)).tolist() == [-1, 1, 0, -1]
    with pytest.raises(DataError, match="'label' is -1, outside 0 to 1"):  # an example without a label is none of 'a'
        relabel.by_name(split([0, -1], ["b", "a"]), ours("a", "b"), "x").example(1)


def test_classes_without_names_are_compared_by_their_number():
    same = split([0, 1], ["cat", "dog", "eel"])
    assert relabel.by_name(same, {"label": Feature("label", (), "int32", 3)}, "x").batch(np.arange(2))[
        "label"
    ].tolist() == [0, 1]
    with pytest.raises(DataError, match="x has 3 classes, the run was trained on 4; name a set with the same classes"):
        relabel.by_name(same, {"label": Feature("label", (), "int32", 4)}, "x")
