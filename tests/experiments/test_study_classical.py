"""The studies of classical vision: what is chosen on which data, and that methods find what is there."""

import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from experiments.studies import descriptors, early_vision, viola_jones

DIGITS = {"name": "digits", "train": "train", "validation": "validation", "test": "test", "image_size": (28, 28)}
SMALL = {**DIGITS, "image_size": (8, 8)}


@pytest.mark.curriculum("X10")
def test_gradients_classify_digits_and_the_cost_is_chosen_on_validation(monkeypatch):
    study = descriptors.Descriptors(data=DIGITS, limit=250, costs=(1e-6, 1.0))
    metrics, shown = descriptors.measure(study, 0)
    assert metrics["features"] == 9 * 36 and metrics["test_accuracy"] > 0.9
    curve = {cost: value for cost, _, value in shown[0]}
    assert metrics["validation_accuracy"] == max(curve.values()) == curve[metrics["cost"]]
    assert descriptors.draw(shown).keys() == {"costs", "answers"}
    # A test split of which all labels differ changes the accuracy on it and nothing else.
    whole = descriptors.recipe.whole_splits

    def other(*args):
        data, splits = whole(*args)
        splits["test"]["label"] = (np.asarray(splits["test"]["label"]) + 1) % 10
        return data, splits

    monkeypatch.setattr(descriptors.recipe, "whole_splits", other)
    changed, _ = descriptors.measure(study, 0)
    assert changed.pop("test_accuracy") < 0.1 < metrics.pop("test_accuracy") and changed == metrics
    with pytest.raises(ConfigError, match=r"config.study.costs=\(\) leaves nothing"):
        descriptors.measure(study._replace(costs=()), 0)


@pytest.mark.curriculum("X8")
def test_fisher_vectors_classify_digits():
    study = descriptors.Descriptors("fisher", DIGITS, 200, components=8, mixture=4, costs=(1.0,))
    metrics, _ = descriptors.measure(study, 0)
    assert metrics["features"] == 2 * 4 * 8 and metrics["test_accuracy"] > 0.8


@pytest.mark.curriculum("X8", "X10")
def test_all_channels_are_described(monkeypatch):
    """The same digits in green alone: a descriptor of the first channel would see black images."""
    study = descriptors.Descriptors("pixels", SMALL, 150, costs=(1.0,))
    whole, grey = descriptors.recipe.whole_splits, descriptors.measure(study, 0)[0]

    def coloured(*args):
        data, splits = whole(*args)
        empty = np.zeros_like(splits["train"]["image"][:1])
        green = lambda x: np.concatenate([np.broadcast_to(empty, x.shape), x, np.broadcast_to(empty, x.shape)], -1)  # noqa: E731
        return data, {name: {**split, "image": green(split["image"])} for name, split in splits.items()}

    monkeypatch.setattr(descriptors.recipe, "whole_splits", coloured)
    metrics, _ = descriptors.measure(study, 0)
    assert metrics.pop("features") == 3 * grey.pop("features") and metrics == pytest.approx(grey)
    images = {"train": np.random.default_rng(0).random((3, 14, 14, 1))}
    three = {"train": np.concatenate([0 * images["train"], 3 * images["train"], 0 * images["train"]], -1)}
    few = study._replace(descriptor="fisher", components=2, mixture=1, step=2)
    got, want = (descriptors.features_of(few, 0, x)["train"] for x in (three, images))
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.curriculum("X8")
def test_components_and_mixture_are_of_the_training_images():
    study = descriptors.Descriptors("fisher", DIGITS, components=2, mixture=2, step=2)
    train, *tests = np.random.default_rng(0).random((3, 4, 14, 14, 1))
    one, other = (descriptors.features_of(study, 0, {"train": train, "test": x}) for x in tests)
    np.testing.assert_array_equal(one["train"], other["train"])
    assert abs(one["test"] - other["test"]).max() > 0.01


@pytest.mark.curriculum("X10")
def test_of_costs_that_are_as_good_the_smallest_is_chosen(monkeypatch):
    fit = descriptors.linear_svm.fit
    monkeypatch.setattr(descriptors.linear_svm, "fit", lambda x, label, classes, cost: fit(x, label, classes, 1.0, 2))
    study = descriptors.Descriptors("pixels", SMALL, 120, costs=(3.0, 1.0, 2.0))
    assert descriptors.measure(study, 0)[0]["cost"] == 1.0


@pytest.mark.parametrize(
    ("part", "override", "message"),
    [
        ("hog", "step=2", "config.study.step has no effect with descriptor='hog'; leave it out"),
        ("fisher", "cell=2", "config.study.cell has no effect with descriptor='fisher'"),
        ("pixels", "mixture=2", "config.study.mixture has no effect with descriptor='pixels'"),
    ],
)
def test_settings_of_other_descriptors_are_refused(part, override, message):
    config = configs.load(f"configs/studies/classical.py:part={part},smoke", [f"--config.study.{override}"])
    with pytest.raises(ConfigError, match=message):
        build(config)


@pytest.mark.curriculum("X9")
def test_detections_are_judged_once():
    truth = np.asarray([[0, 0, 10, 10], [20, 20, 30, 30.0]])
    boxes = np.asarray([[0, 0, 10, 10], [1, 0, 11, 10], [22, 20, 32, 30], [50, 50, 60, 60.0]])
    assert viola_jones.judged(boxes, truth) == (2, 2)
    assert viola_jones.judged(boxes, np.zeros((0, 4))) == (0, 4) and viola_jones.judged(boxes[:0], truth) == (0, 0)
    scene = viola_jones.face_scenes.Scene(np.zeros((9, 9)), truth)
    counts = np.asarray([9, 7, 3, 1])
    assert viola_jones.rates([(scene, boxes, counts)], 2) == pytest.approx((2 / 3, 1, 4 / 5))
    assert viola_jones.rates([(scene, boxes, counts)], 8) == pytest.approx((1, 1 / 2, 2 / 3))
    assert viola_jones.rates([(scene, boxes, counts)], 10) == (0, 0, 0)
    with pytest.raises(ConfigError, match=r"config.study.scale=1.0 must be above 1"):
        viola_jones.measure(viola_jones.Faces(scale=1.0), 0)
    with pytest.raises(ConfigError, match=r"features=5000 is more than \d+, which a window of 8 pixels has"):
        viola_jones.measure(viola_jones.Faces(window=8, features=5000), 0)


@pytest.mark.curriculum("X9")
def test_cuts_and_votes_are_chosen_where_nothing_is_tested(monkeypatch):
    study = viola_jones.Faces(window=8, features=30, faces=3, others=4, scenes=1)
    features, faces, others = viola_jones.drawn(study, 0)
    scenes = viola_jones.face_scenes
    assert [len(x) for x in (*faces, *others)] == [3, 2, 4, 2] and len(features.weights) == 30
    np.testing.assert_array_equal(faces[0], scenes.face_windows(0, 3, 8))
    np.testing.assert_array_equal(faces[1], scenes.face_windows(viola_jones.HELD, 2, 8))
    np.testing.assert_array_equal(others[1], scenes.other_windows(viola_jones.HELD, 2, 8))
    truth = np.asarray([[0, 0, 10, 10.0]])
    boxes = np.asarray([[0, 0, 10, 10], [50, 50, 60, 60.0]])
    scene = scenes.Scene(np.full((9, 9), 0.5), truth)
    chosen, tested = ([(scene, boxes, np.asarray(counts))] for counts in ((5, 3), (6, 6)))
    # Four votes are best where they are chosen; where it is tested they keep a wrong box, as seven would none.
    answers = {viola_jones.CHOSEN_ON: chosen, viola_jones.TESTED_ON: tested}
    stage = viola_jones.vj.Rates(2, 1.0, 0.5)
    monkeypatch.setattr(viola_jones, "drawn", lambda study, seed: (features, faces, others))
    monkeypatch.setattr(viola_jones.vj, "train_cascade", lambda *args, **more: ([None], [stage]))
    monkeypatch.setattr(viola_jones.vj, "scan", lambda *args: (None, None, [4]))
    monkeypatch.setattr(viola_jones, "detections", lambda study, features, cascade, start: answers[start])
    metrics, _ = viola_jones.measure(study, 0)
    assert metrics["votes"] == 4 and (metrics["precision"], metrics["recall"]) == (0.5, 1.0)
    half, less = np.asarray([[0, 0, 10, 5.0]]), np.asarray([[0, 0, 10, 4.9]])  # of the face
    assert viola_jones.judged(half, truth) == (1, 0) and viola_jones.judged(less, truth) == (0, 1)


@pytest.mark.curriculum("X5")
def test_edges_are_judged_by_their_distance_to_the_border(monkeypatch):
    from scipy.ndimage import binary_erosion, distance_transform_edt

    seen = np.zeros((64, 64), bool)
    seen[:32] = np.random.default_rng(1).random((32, 64)) < 0.2
    monkeypatch.setattr(early_vision.canny, "canny", lambda image: seen)
    values, (image, _) = early_vision.edges(0.0, np.random.default_rng(0))
    mask = image > 0.5
    border = mask & ~binary_erosion(mask, border_value=1)
    assert values["precision"] == pytest.approx((distance_transform_edt(~border)[seen] <= 1.5).mean())
    assert values["recall"] == pytest.approx((distance_transform_edt(~seen)[border] <= 1.5).mean())


@pytest.mark.long
@pytest.mark.curriculum("X9")
def test_faces_are_detected():
    """A small cascade finds faces far more often than where other scenes have theirs."""
    study = viola_jones.Faces(features=500, faces=200, others=4000, stages=5, stumps=20, scenes=6)
    metrics, shown = viola_jones.measure(study, 0)
    scenes, boxes, counts = zip(*shown[1], strict=True)
    elsewhere = viola_jones.rates(list(zip(scenes[1:] + scenes[:1], boxes, counts, strict=True)), metrics["votes"])
    assert metrics["recall"] > 0.3 and metrics["recall"] > 3 * elsewhere[1]
    assert metrics["precision"] > 0.1 and metrics["precision"] > 3 * elsewhere[0]
    assert metrics["stages_of_a_window"] < 0.7 * metrics["stages"]
    assert viola_jones.draw(shown).keys() == {"detections", "stages"}


@pytest.mark.curriculum("X5", "X6", "X12")
@pytest.mark.parametrize(("part", "least", "most"), [
    ("edges", {"precision": 0.85, "recall": 0.85}, {}),
    ("cuts", {"rand": 0.8}, {"segments": 5}),
    ("regions", {"regions": 1}, {"degrees": 4, "area": 0.1}),
])  # fmt: skip
def test_what_was_drawn_is_seen(part, least, most):
    means, shown = early_vision.measure(early_vision.EarlyVision(part, 3), 0)
    assert all(means[name] >= value for name, value in least.items()), means
    assert all(means[name] <= value for name, value in most.items()), means
    assert early_vision.draw(part, shown).keys() == {part}


def test_the_region_is_the_largest_of_all_however_many_there_are(monkeypatch):
    """32 specks before the ellipse, in the order of rows; noise that leaves no region is an error."""
    y, x = np.mgrid[:48, :48]
    specks, region = (y % 6 < 4) & (x % 6 < 4) & (y < 22), ((y - 34) / 9) ** 2 + ((x - 24) / 22) ** 2 < 1
    monkeypatch.setattr(early_vision, "ellipse", lambda rng, size: (region, np.pi * 9 * 22, np.pi / 2))
    monkeypatch.setattr(early_vision, "gaussian", lambda image, sigma: np.where(specks, 0.75, image))
    values, _ = early_vision.regions(0.0, np.random.default_rng(0))
    assert values["regions"] == 33 and values["area"] < 0.05 and values["degrees"] < 1
    monkeypatch.setattr(early_vision, "gaussian", lambda image, sigma: (y + x) % 2 + 0.0)
    with pytest.raises(ConfigError, match=r"config.study.noise=9.0 leaves no region of 12 pixels"):
        early_vision.regions(9.0, np.random.default_rng(0))


@pytest.mark.curriculum("X7")
def test_matches_follow_the_rotation():
    means, shown = early_vision.measure(early_vision.EarlyVision("sift", 2, 0.01), 0)
    assert means["right"] > 0.7 and means["matches"] > 10
    assert early_vision.draw("sift", shown).keys() == {"sift"}


def test_parts_of_the_config_are_studies_of_their_own():
    names = {"hog": "descriptors", "faces": "viola_jones", "cuts": "early_vision"}
    for part, name in names.items():
        assert configs.load(f"configs/studies/classical.py:part={part},smoke").experiment == f"studies.{name}"
