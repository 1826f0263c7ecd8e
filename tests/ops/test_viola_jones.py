"""The detector of Viola and Jones against worked numbers and loops."""

import numpy as np
import pytest

from cvdl_jax.data import face_scenes
from cvdl_jax.errors import DataError
from cvdl_jax.ops.classical import viola_jones as vj

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("X9")
def test_four_numbers_of_the_integral_image_are_the_sum_of_a_rectangle():
    x = RNG.random((2, 7, 9))
    table = vj.integral(x)
    assert table.shape == (2, 8, 10)
    for y, left, h, w in ((0, 0, 7, 9), (2, 3, 4, 1), (6, 8, 1, 1)):
        np.testing.assert_allclose(vj.rectangle(table, y, left, h, w), x[:, y : y + h, left : left + w].sum((1, 2)))


@pytest.mark.curriculum("X9")
def test_features_are_differences_of_rectangles():
    """Two rectangles stand in a line of 6 at 5 + 3 + 1 places, three at 4 + 1, one at 21."""
    assert len(vj.haar_features(6, 1, 1).weights) == 2 * 21 * 9 + 2 * 21 * 5 + 9 * 9
    features = vj.haar_features(6, 1, 2)
    windows = RNG.random((3, 6, 6))
    values, x = vj.responses(features, windows), vj.normalised(windows)
    np.testing.assert_allclose(x.mean((1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(x.std((1, 2)), 1)
    patterns = set()
    for j in range(len(features.weights)):
        mask = np.zeros((7, 7))
        np.add.at(mask, tuple(features.corners[j].T), features.weights[j])
        mask = mask[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1][1:, 1:]  # weights of pixels
        np.testing.assert_allclose(values[:, j], (x * mask[None]).sum((1, 2)), atol=1e-9)
        patterns.add(tuple(map(tuple, mask.astype(int))))
    assert len(patterns) == len(values[0]) and all(np.sum(mask) == 0 for mask in patterns)
    two = np.zeros((6, 6), int)
    two[1:3, 1:3], two[1:3, 3:5] = 1, -1
    assert tuple(map(tuple, two)) in patterns
    with pytest.raises(DataError, match="a window of 1 pixels has no feature"):
        vj.haar_features(1, 1, 2)


@pytest.mark.curriculum("X9")
def test_the_best_stump_is_that_of_all_thresholds():
    for _ in range(20):
        values = RNG.integers(0, 5, size=(9, 3)).astype(float)  # with ties
        label, weight = RNG.random(9) < 0.5, RNG.random(9)
        label[:2], weight = (True, False), weight / weight.sum()
        feature, threshold, polarity, error = vj.best_stump(values, np.argsort(values, 0), label, weight)
        errors = [
            weight[(values[:, j] * p > t * p) != label].sum()
            for j in range(3) for t in np.arange(-0.5, 5) for p in (1, -1)
        ]  # fmt: skip
        assert error == pytest.approx(min(errors), abs=1e-12)
        got = values[:, feature] * polarity > threshold * polarity
        assert weight[got != label].sum() == pytest.approx(error, abs=1e-12)


@pytest.mark.curriculum("X9")
def test_boosting_by_hand():
    """Values 1 2 3 4 5, faces at 1, 2 and 5. The first stump calls 1 and 2 faces and misses 5: e = 1/6, as all faces
    have 1/6 and others 1/4. The weights of the rest shrink to 1/5, so that 5 has half of all, 1 and 2 have 1/10, 3 and
    4 have 3/20. The second one calls what is above 4.5 a face: it misses 1 and 2, e = 1/5."""
    values, label = np.arange(1.0, 6)[:, None], np.asarray([True, True, False, False, True])
    seen = []
    final = vj.boost(values, label, lambda stumps: seen.append(stumps), 3)
    np.testing.assert_allclose(seen[0].alpha, [np.log(5)])
    assert (seen[0].threshold[0], seen[0].polarity[0]) == (2.5, -1)
    np.testing.assert_allclose(seen[1].alpha[1], np.log(4))
    assert (seen[1].threshold[1], seen[1].polarity[1]) == (4.5, 1)
    assert final.cut == pytest.approx(final.alpha.sum() / 2) and len(final.alpha) == 3
    np.testing.assert_array_equal(vj.votes(final, values) >= final.cut, label)
    with pytest.raises(DataError, match="examples of both classes"):
        vj.boost(values, np.ones(5, bool), lambda stumps: None, 3)


@pytest.mark.curriculum("X9")
def test_training_error_stays_below_its_bound():
    """Freund and Schapire: at most prod_t 2 sqrt(e_t (1 - e_t)), of the weights at the beginning."""
    values = RNG.normal(size=(80, 6))
    label = values[:, 0] * values[:, 1] + values[:, 2] > 0
    start = np.where(label, 0.5 / label.sum(), 0.5 / (~label).sum())
    bounds = []

    def check(stumps):
        errors = 1 / (1 + np.exp(stumps.alpha))
        wrong = (vj.votes(stumps, values) >= stumps.cut) != label
        bounds.append((start[wrong].sum(), np.prod(2 * np.sqrt(errors * (1 - errors)))))

    vj.boost(values, label, check, 25)
    assert all(error <= bound + 1e-9 for error, bound in bounds) and bounds[-1][0] < bounds[0][0] / 2


@pytest.mark.curriculum("X9")
def test_votes_of_a_window_do_not_depend_on_its_company():
    """A cut is the votes of some face; a sum that rounds otherwise for other numbers of windows would lose it."""
    values, t = RNG.normal(size=(300, 50)), 30
    stumps = vj.Stumps(RNG.integers(50, size=t), np.zeros(t), RNG.choice([-1, 1], t), RNG.random(t), 0.0)
    whole = vj.votes(stumps, values)
    assert [vj.votes(stumps, values[i : i + 1])[0] for i in range(300)] == whole.tolist()
    np.testing.assert_allclose(whole[0], stumps.alpha[values[0, stumps.feature] * stumps.polarity > 0].sum())
    with pytest.raises(ValueError, match=r"scale=1.0 must be above 1"):
        vj.detect(None, [], np.zeros((9, 9)), 4, 1.0)


@pytest.fixture(scope="module")
def trained():
    features = vj.haar_features(16, 2, 2)
    faces = face_scenes.face_windows(0, 90, 16), face_scenes.face_windows(5000, 60, 16)
    others = face_scenes.other_windows(0, 500, 16), face_scenes.other_windows(9000, 300, 16)
    cascade, rates = vj.train_cascade(features, faces, others, 3, 0.98, 0.3, 12, 400)
    return features, cascade, rates, faces, others


@pytest.mark.curriculum("X9")
def test_stages_keep_their_rates_on_held_out_windows(trained):
    features, cascade, rates, faces, others = trained
    passed = [np.ones(len(x), bool) for x in (faces[1], others[1])]
    values = [vj.responses(features, x) for x in (faces[1], others[1])]
    for stage, rate in zip(cascade, rates, strict=True):
        here = [vj.votes(stage, v) >= stage.cut for v in values]
        assert rate.detection == pytest.approx(here[0][passed[0]].mean()) and rate.detection >= 0.97
        assert rate.false_positive == pytest.approx(here[1][passed[1]].mean())
        assert rate.false_positive <= 0.3 or rate.stumps == 12
        assert stage.cut <= stage.alpha.sum() / 2  # lowered where faces would be lost, and never raised
        passed = [p & h for p, h in zip(passed, here, strict=True)]
    np.testing.assert_array_equal(vj.classify(features, cascade, others[1]), passed[1])
    assert passed[0].mean() > 0.9 and passed[1].mean() < 0.15


@pytest.mark.curriculum("X9")
def test_scanning_an_image_is_classifying_its_windows(trained):
    features, cascade, *_ = trained
    scene = face_scenes.scene(77, 64, 1, 15, 20)
    corners, margin, looked = vj.scan(features, cascade, scene.image, 16, 3)
    places = [(y, x) for y in range(0, 49, 3) for x in range(0, 49, 3)]
    windows = np.stack([scene.image[y : y + 16, x : x + 16] for y, x in places])
    passing = vj.classify(features, cascade, windows)
    assert [tuple(c) for c in corners.tolist()] == [p for p, good in zip(places, passing, strict=True) if good]
    assert looked[0] == len(places) and looked[-1] < looked[0] / 2 and (margin >= 0).all()


@pytest.mark.curriculum("X9")
def test_a_stage_is_trained_on_so_many_others(monkeypatch):
    seen, plain = [], vj.boost
    monkeypatch.setattr(vj, "boost", lambda values, label, *more: seen.append(label) or plain(values, label, *more))
    windows = RNG.random((60, 6, 6))
    vj.train_cascade(
        vj.haar_features(6), (windows[:9], windows[9:18]), (windows[18:40], windows[40:]), 1, most=1, limit=7
    )
    assert seen[0].tolist() == [True] * 9 + [False] * 7


def test_a_cascade_without_a_stage_refuses_no_window():
    assert vj.classify(None, [], np.zeros((3, 4, 4))).tolist() == [True] * 3


@pytest.mark.curriculum("X9")
def test_the_cut_of_a_stage_is_never_raised():
    """Where one stump tells faces from others, every face has all votes, and half of them are still enough."""
    faces = np.zeros((20, 6, 6)) + (np.arange(6) < 3)[None, None] + 0.1 * RNG.random((20, 6, 6))
    stages, rates = vj.train_cascade(vj.haar_features(6), (faces[:9], faces[9:]), (-faces[:9], -faces[9:]), 1)
    assert rates[0].stumps == 1 and stages[0].cut == stages[0].alpha[0] / 2
    assert (vj.votes(stages[0], vj.responses(vj.haar_features(6), faces)) == stages[0].alpha[0]).all()


@pytest.mark.curriculum("X9")
def test_windows_of_smaller_images_are_larger_boxes(monkeypatch):
    """41x63 pixels are 20x32 at half the size: a window of 10 there is 20.5 high and 19.7 wide."""
    seen = []

    def scan(features, cascade, image, window, step):
        seen.append(image.shape)
        return np.asarray([[2, 4]] if image.shape == (20, 32) else np.zeros((0, 2), int)), None, []

    monkeypatch.setattr(vj, "scan", scan)
    boxes, counts = vj.detect(None, [], RNG.random((41, 63)), 10, 2.0, least=1)
    assert seen == [(41, 63), (20, 32), (10, 16)] and counts.tolist() == [1]
    down, across = 41 / 20, 63 / 32
    np.testing.assert_allclose(boxes, [[2 * down, 4 * across, 12 * down, 14 * across]])


@pytest.mark.curriculum("X9")
def test_windows_that_overlap_become_one_face():
    boxes = np.asarray(
        [[0, 0, 10, 10], [1, 1, 11, 11], [0, 2, 10, 12], [40, 40, 50, 50], [70, 0, 80, 10], [70, 0, 80, 12.0]]
    )
    means, counts = vj.merged(boxes, 0.5, 2)
    np.testing.assert_allclose(means, [boxes[:3].mean(0), boxes[4:].mean(0)])
    assert counts.tolist() == [3, 2]
    assert vj.merged(np.zeros((0, 4)), 0.5, 1)[0].shape == (0, 4)


@pytest.mark.curriculum("X9")
def test_scenes_know_their_faces():
    scene = face_scenes.scene(3, 128, 3)
    assert scene.image.shape == (128, 128) and 1 <= len(scene.boxes) <= 3
    np.testing.assert_array_equal(scene.image, face_scenes.scene(3, 128, 3).image)
    empty = face_scenes.scene(3, 128, 0)
    changed = np.argwhere(scene.image != empty.image)
    sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
    inside = (scene.boxes[:, None, :2] - 25 <= changed[None]) & (changed[None] <= scene.boxes[:, None, 2:] + 25)
    assert inside.all(-1).any(0).mean() > 0.97  # the head and its hair around the face
    assert (sides > 16).all() and (sides < 50).all()
