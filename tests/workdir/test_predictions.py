"""What is read of saved predictions: classes, numbers, and what is wrong with a file."""

import numpy as np
import pytest

from cvdl_jax.errors import DataError
from cvdl_jax.workdir import predictions


def saved(folder, **arrays):
    """The file of these predictions in the run "a run"."""
    path = folder / "a run" / "predictions" / "test.npz"
    predictions.write(path, arrays)
    return path


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path, label=np.arange(3))

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        saved(tmp_path, label=np.arange(4))
    np.testing.assert_array_equal(predictions.read(path)["label"], [0, 1, 2])
    assert predictions.files(path.parent) == [path]


def test_a_missing_and_a_damaged_file_are_named_with_what_to_type(tmp_path):
    path = saved(tmp_path, label=np.arange(3))
    np.testing.assert_array_equal(predictions.read(path)["label"], [0, 1, 2])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError) as damaged:
        predictions.read(path)
    run = path.parent.parent
    assert str(damaged.value).startswith(f"{path} cannot be read (")
    assert str(damaged.value).endswith(f"if you remove {run / 'DONE'} and type: python launch.py --workdir '{run}'")
    path.unlink()
    with pytest.raises(DataError) as missing:
        predictions.read(path)
    command = f"python launch.py --workdir '{run}'"
    assert str(missing.value) == f"{path} does not exist; a run writes it when it ends: {command}"


def test_objects_are_never_unpickled(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        predictions.read(saved(tmp_path, label=np.array([{}], object)))


def test_files_come_with_test_first_and_without_unfinished_ones(tmp_path):
    for name in ("validation", "test", "train", "train.tmp"):
        (tmp_path / f"{name}.npz").touch()
    assert [path.stem for path in predictions.files(tmp_path)] == ["test", "train", "validation"]
    assert predictions.files(tmp_path / "nothing") == []


def test_evaluations_are_those_that_classify_and_the_errors_of_others(tmp_path):
    path = saved(tmp_path, label=np.array([1, 0]), scores=np.eye(2, dtype=np.float32))
    np.savez(path.with_name("train.npz"), boxes=np.zeros((2, 4)))
    path.with_name("validation.npz").write_bytes(b"nothing")
    test, validation = predictions.evaluations(path.parent)
    assert test.name == "test" and test.guess.tolist() == [0, 1] and test.ids.tolist() == ["0", "1"]
    assert isinstance(validation, DataError) and "validation.npz cannot be read" in str(validation)


def test_what_has_no_finite_scores_or_no_label_is_counted():
    rng = np.random.default_rng(0)
    found = {"label": rng.integers(0, 3, 6), "scores": rng.normal(size=(6, 4)).astype(np.float32)}
    found["scores"][1, 2], found["scores"][4, 0], found["label"][5] = np.nan, np.inf, -1
    each = predictions.classified("test", found)
    assert each.skipped == 3 and each.index.tolist() == [0, 2, 3] and each.ids.tolist() == ["0", "2", "3"]


@pytest.mark.parametrize(
    "other",
    [
        {"scores": np.zeros((5, 20)), "boxes": np.zeros((5, 20, 4))},
        {"label": np.zeros(5, int), "points": np.zeros((5, 2))},
        {"returns": np.zeros(5)},
        {"label": np.zeros((5, 3), int), "scores": np.zeros((5, 3))},
        {"label": np.zeros(0, int), "scores": np.zeros((0, 3))},
    ],
    ids=["detection", "embedding", "q-learning", "objects", "empty"],
)
def test_other_predictions_are_no_classes(other):
    assert predictions.classified("test", other) is None
    assert predictions.answers(other) is None


def test_groups_are_those_of_the_examples_that_are_classified():
    scores = np.array([[1, 0], [np.nan, 0], [0, 1], [0, 1]], np.float32)
    label = np.array([0, 0, -1, 1], np.int32)
    arrays = {"scores": scores, "label": label, "group/place": np.array(["a", "b", "c", "d"]), "group/n": np.arange(4)}
    of = predictions.classified("test", arrays)
    assert {name: list(groups) for name, groups in of.groups.items()} == {"place": ["a", "d"], "n": ["0", "3"]}
    assert not predictions.classified("test", {"scores": scores, "label": label}).groups


def test_classes_are_answers_in_the_order_of_the_ids():
    scores = np.array([[0.1, 0.9, 0], [np.nan, 0, 0], [2, 1, 0], [np.nan, 0, 0]])
    arrays = {"ids": np.array(["b", "d", "a", "c"]), "label": np.array([1, 0, 1, -1]), "scores": scores}
    answers = predictions.answers(arrays)
    assert answers.ids.tolist() == ["a", "b", "c", "d"] and answers.truth.tolist() == [1, 1, -1, 0]
    no = predictions.NO_ANSWER
    assert answers.guess.tolist() == [0, 1, no, no] and answers.score is None and answers.classes == 3
    assert (answers.guess == answers.truth).tolist() == [False, True, False, False]  # no answer is never right


@pytest.mark.parametrize(
    ("arrays", "score", "guess"),
    [
        ({"scores": np.array([[1.0, 3.0], [2.0, 0.5]])}, [2, -1.5], [1, 0]),
        ({"score": np.array([0.5, 0.0])}, [0.5, 0], [1, predictions.NO_ANSWER]),
    ],
    ids=["two outputs", "one output"],
)
def test_two_classes_have_one_score(arrays, score, guess):
    answers = predictions.answers({"label": np.array([1, 0]), **arrays})
    assert answers.score.tolist() == score and answers.guess.tolist() == guess and answers.classes == 2


def test_numbers_are_answers_of_no_class():
    answers = predictions.answers({"target": np.zeros((12, 2), np.float32), "prediction": np.ones((12, 2), np.float32)})
    assert answers.classes == 0 and answers.truth.dtype == answers.guess.dtype == np.float64
    assert answers.ids.tolist() == sorted(answers.ids) and len(answers.ids) == 12  # places, in the order of the file
