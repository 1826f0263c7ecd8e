"""Average precision: the worked ranking, assignment in loops, COCO's numbers against ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import detection, ranking

RANKS = np.array([1, 1, 0, 0, 0, 1, 1, 0, 0, 1])  # OR64, 5 true objects


def test_precision_and_recall_of_the_worked_ranking():
    precision, recall = ranking.precision_recall(RANKS, 5)
    np.testing.assert_allclose(precision, [1, 1, 0.666667, 0.5, 0.4, 0.5, 0.571429, 0.5, 0.444444, 0.5], atol=1e-6)
    np.testing.assert_allclose(recall, [0.2, 0.4, 0.4, 0.4, 0.4, 0.6, 0.8, 0.8, 0.8, 1])


@pytest.mark.curriculum("N23")
@pytest.mark.parametrize(
    ("form", "expected"),
    [("all_point", 0.728571), ("11_point", 0.753247), ("101_point", 0.731259), ("step", 0.714286)],
)
def test_average_precision_of_the_worked_ranking(form, expected):
    np.testing.assert_allclose(ranking.average_precision(RANKS, 5, form), expected, atol=1e-6)


@pytest.mark.curriculum("N23")
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 5))
def test_average_precision_equals_loops_and_scikit_learn(hits, missed):
    positives = sum(hits) + missed
    if positives == 0:
        assert np.isnan(ranking.average_precision(np.array(hits), 0))
        return
    precision, found = [], 0
    for i, hit in enumerate(hits):
        found += hit
        precision.append((found / (i + 1), found))
    for points in (11, 101):
        best = [max((p for p, f in precision if f * (points - 1) >= k * positives), default=0.0) for k in range(points)]
        found = ranking.average_precision(np.array(hits), positives, f"{points}_point")
        np.testing.assert_allclose(found, np.mean(best), atol=1e-12)
    exact = sum(max(p for p, _ in precision[i:]) / positives for i, hit in enumerate(hits) if hit)
    np.testing.assert_allclose(ranking.average_precision(np.array(hits), positives), exact, atol=1e-12)
    if missed == 0:  # scikit-learn knows only what was found
        step = average_precision_score(hits, -np.arange(len(hits)))
        np.testing.assert_allclose(ranking.average_precision(np.array(hits), positives, "step"), step, atol=1e-12)


def test_an_unknown_form_is_refused():
    with pytest.raises(ConfigError, match="must be all_point, 11_point"):
        ranking.average_precision(RANKS, 5, "trapezoid")


@pytest.mark.curriculum("N25")
def test_duplicates_and_low_overlaps_are_false():  # OR66
    overlaps = np.array([[0.7, 0.0], [0.9, 0.0], [0.3, 0.3], [0.6, 0.55], [0.0, 0.5]])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    # the second and the fourth overlap most with a box that is taken, although the fourth would fit another one
    assert detection.assign(overlaps, scores).tolist() == [True, False, False, False, True]
    assert detection.assign(overlaps, scores[::-1]).tolist() == [False, False, False, True, True]
    assert detection.assign(np.zeros((3, 0)), scores[:3]).tolist() == [False] * 3


# Objects that need not be found ---------------------------------------------------------------------------------------


def one_image(boxes, **more):
    """Arrays of one image and one class from a list of boxes; scores fall."""
    n = len(boxes)
    arrays = {"boxes": np.float64(boxes)[None], "classes": np.zeros((1, n), int), "mask": np.ones((1, n))}
    return arrays | {name: np.array([values]) for name, values in more.items()}


SINGLE, FAR, CROWD = [0.0, 0.0, 0.2, 0.2], [0.0, 0.5, 0.2, 0.7], [0.5, 0.0, 1.0, 1.0]


def aps(found, truth):
    ours, coco = detection.voc_metrics(found, truth, 1), detection.coco_metrics(found, truth, 1, (100, 100))
    return {name: round(value, 6) for name, value in (ours | coco).items() if name.endswith("ap50")}


@pytest.mark.curriculum("N24", "N25")
def test_detections_in_a_crowd_are_neither_right_nor_wrong():
    """Two small boxes inside a crowd and, below them, the one object: AP 1, and 1/3 were the crowd an ordinary object
    that is missed and the two false. Outside the crowd, or of another class, they are false."""
    inside = [[0.6, 0.1, 0.8, 0.3], [0.6, 0.6, 0.8, 0.8]]
    found = one_image([*inside, SINGLE], scores=[0.9, 0.8, 0.7])
    crowd = one_image([CROWD, SINGLE], crowd=[True, False])
    assert aps(found, crowd) == {"voc_ap50": 1, "voc07_ap50": 1, "coco_ap50": 1}
    ordinary = {name: x for name, x in crowd.items() if name != "crowd"}
    assert aps(found, ordinary)["coco_ap50"] == pytest.approx(1 / 6, abs=0.01)  # precision 1/3 at recalls up to 1/2
    half_out = one_image([[0.4, 0.1, 0.62, 0.3], SINGLE], scores=[0.9, 0.8])  # 55 % of it are inside: enough at IoU 0.5
    assert aps(half_out, crowd)["voc_ap50"] == aps(half_out, crowd)["coco_ap50"] == 1
    more_out = one_image([[0.3, 0.1, 0.58, 0.3], SINGLE], scores=[0.9, 0.8])
    assert aps(more_out, crowd)["voc_ap50"] == 0.5 and aps(more_out, crowd)["coco_ap50"] == pytest.approx(0.5)


@pytest.mark.curriculum("N24", "N25")
def test_detections_of_difficult_objects_are_neither_right_nor_wrong():
    """As in VOCevaldet.m: npos counts the others, and a hit on a difficult object, or a second one, changes nothing."""
    truth = one_image([FAR, SINGLE], difficult=[True, False])
    assert aps(one_image([FAR, SINGLE], scores=[0.9, 0.8]), truth) == {"voc_ap50": 1, "voc07_ap50": 1, "coco_ap50": 1}
    assert aps(one_image([SINGLE], scores=[0.8]), truth)["voc_ap50"] == 1  # it need not be found
    twice = one_image([FAR, FAR, SINGLE], scores=[0.9, 0.85, 0.8])
    assert detection.voc_metrics(twice, truth, 1)["voc_ap50"] == 1
    loose = one_image([[0.0, 0.35, 0.2, 0.55], SINGLE], scores=[0.9, 0.8])  # IoU with it is 1/7, though 1/4 is inside
    assert aps(loose, truth)["voc_ap50"] == 0.5 and aps(loose, truth)["coco_ap50"] == pytest.approx(0.5)
    inside = one_image(
        [[0.05, 0.5, 0.1, 0.6], SINGLE], scores=[0.9, 0.8]
    )  # wholly inside, IoU 1/8: false, it is no crowd
    assert aps(inside, truth)["voc_ap50"] == 0.5 and aps(inside, truth)["coco_ap50"] == pytest.approx(0.5)
    none_left = one_image([FAR, SINGLE], difficult=[True, True])
    assert np.isnan(detection.voc_ap(twice, none_left, 1)).all()


@pytest.mark.parametrize("seed", range(3))
def test_voc_with_difficult_objects_equals_a_transcription_of_the_development_kit(seed):
    """VOCevaldet.m for one class, line by line; detections of all images in the order of their scores."""
    found, truth = scene(seed)
    truth = {**truth, "difficult": np.random.default_rng(seed).random(truth["mask"].shape) < 0.3}
    ours = detection.voc_ap(found, truth, 3, form="11_point")
    for c in range(3):
        real = (truth["mask"] > 0) & (truth["classes"] == c)
        npos, taken = (real & ~truth["difficult"]).sum(), np.zeros_like(real)
        listed = np.argwhere((found["mask"] > 0) & (found["classes"] == c))
        listed = listed[np.argsort([-found["scores"][i, k] for i, k in listed], kind="stable")]
        tp, fp = np.zeros(len(listed)), np.zeros(len(listed))
        for d, (i, k) in enumerate(listed):
            ovmax, jmax = -np.inf, None
            for j in np.flatnonzero(real[i]):
                ov = detection.pairwise_iou(found["boxes"][i, k][None], truth["boxes"][i, j][None])[0, 0]
                if ov > ovmax:
                    ovmax, jmax = ov, j
            if ovmax >= 0.5:
                if not truth["difficult"][i, jmax]:
                    tp[d], fp[d] = not taken[i, jmax], taken[i, jmax]
                    taken[i, jmax] = True
            else:
                fp[d] = 1
        recall, precision = tp.cumsum() / npos, tp.cumsum() / np.maximum(tp.cumsum() + fp.cumsum(), 1)
        expected = np.mean([precision[recall >= t].max(initial=0) for t in np.arange(11) / 10])
        np.testing.assert_allclose(ours[c], expected, atol=1e-12)


def test_crowds_of_masks_take_what_lies_inside():
    def mask(rows, columns):
        pixels = np.zeros((10, 10), bool)
        pixels[rows, columns] = True
        return pixels

    one, crowd, inside = mask(slice(0, 3), slice(0, 3)), mask(slice(5, 10), slice(None)), mask(slice(6, 8), slice(1, 4))
    truth = {"masks": np.stack([one, crowd])[None], "classes": np.zeros((1, 2), int), "mask": np.ones((1, 2))}
    found = truth | {"masks": np.stack([inside, one])[None], "scores": np.array([[0.9, 0.8]])}
    for flags, expected in (({"crowd": np.array([[False, True]])}, 1.0), ({}, 0.25)):  # 1/2 at recalls up to 1/2
        ours = detection.voc_metrics(found, truth | flags, 1, "masks")["voc_ap50"]
        coco = detection.coco_metrics(found, truth | flags, 1, (10, 10), "masks")["coco_ap50"]
        assert ours == pytest.approx(expected) and coco == pytest.approx(expected, abs=0.01)


def scene(seed, images=12, classes=3):
    """Truth, and detections that are near it, wrong or missing; boxes in 0..1."""
    rng = np.random.default_rng(seed)
    low = rng.random((images, 6, 2)) * 0.6
    true = np.concatenate([low, low + 0.1 + 0.3 * rng.random((images, 6, 2))], -1)
    labels = rng.integers(0, classes, (images, 6))
    near = np.clip(true + rng.normal(0, 0.03, true.shape), 0, 1)
    wrong = near[:, ::-1]
    found = {
        "boxes": np.concatenate([near, wrong], 1),
        "classes": np.concatenate([np.where(rng.random((images, 6)) < 0.8, labels, 0), labels], 1),
        "scores": rng.permutation(images * 12).reshape(images, 12) / (images * 12),  # no ties
        "mask": (rng.random((images, 12)) < 0.8).astype(np.float32),
    }
    return found, {"boxes": true, "classes": labels, "mask": (rng.random((images, 6)) < 0.7).astype(np.float32)}


def ap_in_loops(found, truth, c, threshold):
    ranked = [
        (found["scores"][i, k], i, found["boxes"][i, k])
        for i, k in zip(*np.nonzero((found["mask"] > 0) & (found["classes"] == c)), strict=True)
    ]
    real = {
        i: truth["boxes"][i][(truth["mask"][i] > 0) & (truth["classes"][i] == c)] for i in range(len(truth["mask"]))
    }
    taken, hits = set(), []
    for _, i, box in sorted(ranked, key=lambda r: -r[0]):
        best, which = 0.0, None
        for j, other in enumerate(real[i]):
            h, w = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            shared = max(h, 0) * max(w, 0)
            value = shared / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - shared)
            if value > best:
                best, which = value, j
        hits.append(best >= threshold and (i, which) not in taken)
        if hits[-1]:
            taken.add((i, which))
    return ranking.average_precision(np.array(hits), sum(map(len, real.values())))


@pytest.mark.curriculum("N24", "N25")
@pytest.mark.parametrize("seed", range(3))
def test_voc_equals_loops(seed):
    found, truth = scene(seed)
    for threshold in (0.5, 0.75):
        expected = [ap_in_loops(found, truth, c, threshold) for c in range(3)]
        np.testing.assert_allclose(detection.voc_ap(found, truth, 3, threshold), expected, atol=1e-12)
    means = detection.voc_metrics(found, truth, 3)
    table = [[ap_in_loops(found, truth, c, t) for c in range(3)] for t in np.arange(50, 100, 5) / 100]
    np.testing.assert_allclose(means["voc_map"], np.mean(table), atol=1e-12)
    np.testing.assert_allclose(means["voc_ap50"], np.mean(table[0]), atol=1e-12)


@pytest.mark.curriculum("N24")
@pytest.mark.parametrize("seed", range(3))
def test_coco_agrees_with_the_101_points_of_our_own(seed):
    found, truth = scene(seed)
    coco = detection.coco_metrics(found, truth, 3, (480, 640))
    ours = np.mean(detection.voc_ap(found, truth, 3, 0.5, "101_point"))
    # COCO lets a detection take another free box when its best one is gone, so it may find a little more
    assert abs(coco["coco_ap50"] - ours) < 0.02
    assert 0 < coco["coco_ap"] < coco["coco_ap50"] and coco["coco_ap75"] <= coco["coco_ap50"]


def test_perfect_and_empty_predictions(capsys):
    _, truth = scene(0)
    perfect = {**truth, "scores": np.ones(truth["mask"].shape)}
    nothing = {**perfect, "mask": np.zeros_like(truth["mask"])}
    for metrics, value in ((perfect, 1.0), (nothing, 0.0)):
        found = detection.voc_metrics(metrics, truth, 4) | detection.coco_metrics(metrics, truth, 4, (64, 64))
        assert found.keys() == {"voc_map", "voc_ap50", "voc07_ap50", "coco_ap", "coco_ap50", "coco_ap75"}
        np.testing.assert_allclose(list(found.values()), value, atol=1e-9)  # the fourth class has no objects
    empty = {**truth, "mask": np.zeros_like(truth["mask"])}
    assert set(detection.voc_metrics(perfect, empty, 3).values()) == {0.0}
    assert set(detection.coco_metrics(perfect, empty, 3, (64, 64)).values()) == {0.0}
    assert capsys.readouterr().out == ""  # pycocotools prints its progress


def test_coco_without_pycocotools(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    found, truth = scene(0)
    with pytest.raises(ConfigError, match="pip install pycocotools"):
        detection.coco_metrics(found, truth, 3, (8, 8))
