"""External test sets: prepared as the run's own, refused where classes differ, compared with the development set."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import recall_score
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest
from test_test_set_ledger import FLAGS

import launch
from cvdl_jax.analysis import dataset_shift
from cvdl_jax.data import load
from cvdl_jax.engine import external
from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats.intervals import difference, homogeneity
from cvdl_jax.workdir import test_set_ledger


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("external") / "run"
    assert launch.main([*FLAGS, f"--workdir={workdir}"]) == 0
    return workdir


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Test digits enlarged to 16x20, in RGB and brighter: another device's."""
    folder = tmp_path_factory.mktemp("scans")
    arrays = load.load("digits", train="test").splits["train"].arrays
    for i, (image, label) in enumerate(zip(arrays["image"][:60, :, :, 0], arrays["label"], strict=False)):
        (folder / str(label)).mkdir(exist_ok=True)
        brighter = np.minimum(image.astype(int) + 60, 255).astype(np.uint8)
        Image.fromarray(brighter).resize((20, 16)).convert("RGB").save(folder / str(label) / f"{i:02d}.png")
    return folder


def test_difference_of_two_proportions_is_newcombes():
    """Newcombe 1998, table II, example (a): 56/70 - 48/80 = 0.2, method 10: 0.0524 to 0.3339."""
    found = difference(56, 70, 48, 80)
    np.testing.assert_allclose([found.value, found.low, found.high], [0.2, 0.0524, 0.3339], atol=5e-5)


@pytest.mark.curriculum("W19")
@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (9, 10, 3, 10), (647, 1797, 9722, 10000), (0, 10, 5, 9)])
def test_difference_is_statsmodels(counts):
    x1, n1, x2, n2 = counts
    found = difference(*counts)
    z, p = proportions_ztest([x1, x2], [n1, n2])
    ends = confint_proportions_2indep(x1, n1, x2, n2, method="newcomb")
    np.testing.assert_allclose(found, [x1 / n1 - x2 / n2, *ends, z, p], rtol=1e-9, atol=1e-12)


def test_nothing_differs_where_all_are_right():
    found = difference(7, 7, 9, 9)
    assert (found.value, found.z, found.p) == (0.0, 0.0, 1.0) and found.low < 0 < found.high
    with pytest.raises(DataError, match="got 8 of 7"):
        difference(8, 7, 1, 2)


@pytest.mark.curriculum("W19")
def test_homogeneity_is_scipys():
    first, second = np.array([30, 20, 0, 50]), np.array([20, 20, 0, 20])
    expected = stats.chi2_contingency(np.stack([first, second])[:, [0, 1, 3]], correction=False)
    found = homogeneity(first, second)
    np.testing.assert_allclose([found.chi2, found.p], [expected.statistic, expected.pvalue])
    assert found.degrees == expected.dof == 2
    assert found.distance == pytest.approx((abs(0.3 - 1 / 3) + abs(0.2 - 1 / 3) + abs(0.5 - 1 / 3)) / 2)
    assert homogeneity(np.array([0, 4]), np.array([0, 9])).p == 1.0
    with pytest.raises(DataError, match="got 0 and 3"):
        homogeneity(np.zeros(2), np.array([1, 2]))


@pytest.mark.curriculum("W19")
def test_a_comparison_by_hand():
    """Development: 8 of 10 right; external: 3 of 6, without any of class 2."""
    eye = np.eye(3)
    label1, guess1 = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]), np.array([0, 0, 0, 0, 1, 1, 0, 2, 2, 1])
    label2, guess2 = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 1, 2])
    sets = [dataset_shift.performance(a, eye[b]) for a, b in ((label1, guess1), (label2, guess2))]
    assert [(each["right"], each["n"]) for each in sets] == [(8, 10), (3, 6)]
    pixels = {"mean": [0.5], "std": [0.25], "bins": [1.0] + [0.0] * 15}
    shifted = {"mean": [0.75], "std": [0.25], "bins": [0.5, 0.5] + [0.0] * 14}
    found = dataset_shift.compare(
        {"name": "own test", **sets[0], "pixels": pixels}, {"name": "external x", **sets[1], "pixels": shifted},
        ("cat", "dog", "eel"),
    )  # fmt: skip
    assert found["difference"]["value"] == pytest.approx(3 / 6 - 8 / 10)
    recalls = [[each[side]["recall"] for each in found["classes"]] for side in ("development", "external")]
    np.testing.assert_allclose(recalls[0], recall_score(label1, guess1, average=None))
    np.testing.assert_allclose(recalls[1][:2], recall_score(label2, guess2, average=None, labels=[0, 1]))
    assert recalls[1][2] is None and found["classes"][2]["p"] is None
    assert found["pixels"] == {"shift": [1.0], "distance": 0.5}
    text = "\n".join(dataset_shift.lines(found))
    assert "external - development: -30.00 points" in text and "recall of 'cat': 100.0 % -> 33.3 %" in text
    with pytest.raises(DataError, match="without examples"):
        dataset_shift.performance(np.zeros(0, int), np.zeros((0, 3)))
    with pytest.raises(DataError, match=r"labels are in 0\.\.5, and there are scores of the classes 0\.\.2"):
        dataset_shift.performance(np.array([0, 5]), np.eye(3)[:2])
    assert dataset_shift.performance(np.array([0, 0, 1]), np.full((3, 2), np.nan))["right"] == 0


def test_pixel_statistics_are_numpys():
    split = load.load("digits", train="test").splits["train"]
    x = split.arrays["image"] / 255
    found = dataset_shift.pixels(split)
    np.testing.assert_allclose([found["mean"][0], found["std"][0]], [x.mean(), x.std()])
    np.testing.assert_allclose(found["bins"], np.histogram(x, 16, (0, 1))[0] / x.size)
    assert dataset_shift.pixels(load.load("blobs").splits["train"]) is None


@pytest.mark.curriculum("W3", "W19")
def test_a_run_on_another_set(run, scans, tmp_path, capsys):
    """Resized and made grey as for training: as many right as `--mode predict` says; compared, kept, in the report."""
    name, out = f"folder:{scans}", tmp_path / "metrics.json"
    assert launch.main(["--mode=eval", f"--workdir={run}", f"--external={name}", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads(out.read_text())["metrics"]
    predicted = tmp_path / "predicted.csv"
    assert launch.main(["--mode=predict", f"--workdir={run}", f"--input={scans}", f"--out={predicted}"]) == 0
    with predicted.open() as file:
        right = [row["file"].split("/")[0] == row["label"] for row in csv.DictReader(file)]
    assert len(right) == 60 == metrics["external/examples"]
    assert metrics["external/accuracy"] == pytest.approx(np.mean(right))
    assert {key.partition("/")[0] for key in metrics} == {"test", "external"}  # this checkpoint was tested before
    (kept,) = (run / "external").glob("*.json")
    found = json.loads(kept.read_text())
    assert found["external"]["right"] == sum(right) and found["development"]["n"] == 359
    assert found["pixels"]["shift"][0] > 0.3 and "points [" in printed and "chi-squared" in printed
    (look,) = test_set_ledger.looks(run, external.described(name, "all"))
    assert look["metrics"]["external/accuracy"] == metrics["external/accuracy"] and len(test_set_ledger.looks(run)) == 1
    assert launch.main(["--mode=report", f"--workdir={run}"]) == 0
    page = (run / "report.html").read_text()
    assert "Representativeness: external folder:" in page and "External minus development" in page
    assert "Test set evaluated once." in page
    other = next(step for step in (4, 8, 12) if step != look["step"])
    flags = ["--mode=eval", f"--workdir={run}", f"--external={name}", f"--checkpoint={other}"]
    assert launch.main(flags) == 2  # an external set is looked at once, too
    assert "was evaluated once" in capsys.readouterr().err
    assert launch.main([*flags, "--again"]) == 0
    assert "digits validation: accuracy" in capsys.readouterr().out  # the test split is not looked at for it


@pytest.mark.curriculum("W3")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--external=digits"], "digits: 'all' and \"the run's train split\" share examples 0 to 1148 of 'train'"),
        (["--external=blobs(num_classes=12)"], "blobs(num_classes=12) has no 'image', which the run reads"),
        (["--external=blobs(num_classes=10)"], "blobs(num_classes=10) has no 'image', which the run reads"),
        (["--external=digtis"], "did you mean 'digits'?"),
        (["--external=digits", "--split=tset"], "did you mean 'test'?"),
    ],
)
def test_external_sets_that_do_not_fit_are_refused(run, capsys, flags, words):
    assert launch.main(["--mode=eval", f"--workdir={run}", *flags]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.curriculum("W3")
def test_classes_are_compared_by_name(run, tmp_path, capsys):
    for name in "abcdefghij":
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "0.png")
    assert launch.main(["--mode=eval", f"--workdir={run}", f"--external=folder:{tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "has examples of the class 'a' and 9 more, which the run does not know; its classes are 0, 1, 2" in error


def lacking(scans, folder, *classes):
    """A copy of the scans without some classes."""
    shutil.copytree(scans, folder)
    for name in classes:
        shutil.rmtree(folder / name)
    return f"folder:{folder}"


@pytest.mark.curriculum("W3")
def test_a_set_that_lacks_classes_is_matched_by_name(run, scans, tmp_path, capsys):
    """Without 0 and 4 its class 0 is the run's 1, and so on: as many are right as `--mode predict` names rightly."""
    name, predicted = lacking(scans, tmp_path / "some", "0", "4"), tmp_path / "predicted.csv"
    out = tmp_path / "metrics.json"
    assert launch.main(["--mode=eval", f"--workdir={run}", f"--external={name}", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert f"--external={name!r} lacks 2 of the run's 10 classes, of which it tells nothing: 0, 4" in printed
    flags = [f"--input={tmp_path / 'some'}", f"--out={predicted}"]
    assert launch.main(["--mode=predict", f"--workdir={run}", *flags]) == 0
    with predicted.open() as file:
        rows = list(csv.DictReader(file))
    right = [row["file"].split("/")[0] == row["name"] for row in rows]
    metrics = json.loads(out.read_text())["metrics"]
    assert metrics["external/accuracy"] == pytest.approx(np.mean(right)) and 0 < np.mean(right) < 1
    (saved,) = (run / "predictions").glob("external_folder_*some.npz")
    with np.load(saved) as file:
        assert set(file["label"].tolist()) == set(range(10)) - {0, 4}


@pytest.mark.curriculum("W3")
def test_a_set_whose_classes_stand_in_another_order_is_matched_by_name(run, tmp_path, monkeypatch, capsys):
    """The test digits under reversed labels are as well recognised as the test digits."""
    from cvdl_jax.data.catalogue import open_source
    from cvdl_jax.data.relabel import Relabelled

    def reversed_classes(name, split, data_dir="", **more):
        source = open_source("digits", split, data_dir)
        label = replace(source.features["label"], class_names=tuple("9876543210"))
        turned = Relabelled(
            source, {"label": np.arange(9, -1, -1, dtype=np.int32)}, {**source.features, "label": label}
        )
        turned.name = name
        return turned

    monkeypatch.setattr(external, "open_source", reversed_classes)
    out = tmp_path / "metrics.json"
    flags = ["--external=turned", "--split=test", f"--out={out}"]
    assert launch.main(["--mode=eval", f"--workdir={run}", *flags]) == 0
    results = json.loads((run / "results.json").read_text())["metrics"]
    found = json.loads(out.read_text())["metrics"]
    for key in ("accuracy", "loss"):
        assert found[f"external/{key}"] == pytest.approx(results[f"test/{key}"])
    assert "lacks" not in capsys.readouterr().out


def test_names():
    assert external.file_name("external folder:/scans/b 1") == "external_folder_scans_b_1"
    assert external.described("digits", "test") == "external digits test"
