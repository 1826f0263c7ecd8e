"""The losses of YOLO against loops over cells, boxes and objects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops import boxes as boxes_of
from cvdl_jax.ops.losses import yolo

RNG = np.random.default_rng(0)
sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731


def overlap(a, b):
    """IoU of boxes given as (centre y, centre x, h, w)."""
    part = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    ]
    shared = max(part[0], 0) * max(part[1], 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def truth(rows, columns, n=4):
    """Boxes as (centre y, centre x, h, w), two of them in one cell, the last one padding."""
    centres = RNG.uniform(0.1, 0.9, (n, 2))
    centres[1] = (np.floor(centres[0] * [rows, columns]) + [0.3, 0.6]) / [rows, columns]
    return (
        np.concatenate([centres, RNG.uniform(0.1, 0.5, (n, 2))], 1),
        RNG.integers(0, 3, n),
        np.float32([1] * (n - 1) + [0]),
    )


def first_of_cells(made, mask, rows, columns, slot=lambda box: 0):
    owners = {}
    for i, box in enumerate(made):
        key = (int(box[0] * rows), int(box[1] * columns), slot(box))
        if mask[i] and key not in owners:
            owners[key] = i
    return owners


def cells_in_loops(places, confidence, scores, made, labels, mask, coordinates=5.0, no_object=0.5):
    """Equation 3 of the paper, term by term."""
    rows, columns, count = confidence.shape
    owners = first_of_cells(made, mask, rows, columns)
    terms = dict.fromkeys(("centre", "side", "object", "no_object", "class"), 0.0)
    for r in range(rows):
        for c in range(columns):
            i, best = owners.get((r, c, 0)), None
            if i is not None:
                y, x = made[i][0] * rows - r, made[i][1] * columns - c
                predicted = [((p[0] + r) / rows, (p[1] + c) / columns, p[2] ** 2, p[3] ** 2) for p in places[r, c]]
                ious = [overlap(p, made[i]) for p in predicted]
                far = [(p[0] - y) ** 2 + (p[1] - x) ** 2 for p in places[r, c]]
                wide = [((p[2:] - np.sqrt(made[i][2:])) ** 2).sum() for p in places[r, c]]
                best = int(np.argmax(ious) if max(ious) > 0 else np.argmin(np.add(far, wide)))
                terms["centre"] += coordinates * far[best]
                terms["side"] += coordinates * wide[best]
                terms["object"] += (confidence[r, c, best] - ious[best]) ** 2
                terms["class"] += ((scores[r, c] - (np.arange(3) == labels[i])) ** 2).sum()
            terms["no_object"] += no_object * sum(confidence[r, c, b] ** 2 for b in range(count) if b != best)
    return {"loss": sum(terms.values()), **terms, "lost": mask.sum() - len(owners)}


@pytest.mark.curriculum("L26")
def test_the_five_terms_equal_loops():
    for rows, columns in ((3, 4), (7, 7)):
        made, labels, mask = truth(rows, columns)
        places = RNG.uniform(0.1, 0.9, (rows, columns, 2, 4)).astype(np.float32)
        places[0, 0] = 5.0  # far outside: the IoU is zero and the nearest is responsible
        made[2, :2] = 0.05
        confidence, scores = RNG.random((rows, columns, 2)), RNG.random((rows, columns, 3))
        arrays = [jnp.float32(x) for x in (places, confidence, scores)]
        corners = boxes_of.from_centres(jnp.float32(made))
        terms = jax.jit(yolo.cells)(*arrays, corners, labels, mask)
        expected = cells_in_loops(places, confidence, scores, made, labels, mask)
        assert expected["lost"] == 1
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=1e-3, err_msg=name)


@pytest.mark.curriculum("L26")
def test_a_perfect_grid_costs_nothing_and_an_empty_image_its_confidence():
    made = jnp.float32([[0.5, 0.25, 0.3, 0.2]])  # in cell (1, 0) of 3 x 2
    places = jnp.zeros((3, 2, 2, 4)).at[1, 0, 0].set(jnp.float32([0.5, 0.5, np.sqrt(0.3), np.sqrt(0.2)]))
    confidence, scores = jnp.zeros((3, 2, 2)).at[1, 0, 0].set(1.0), jnp.zeros((3, 2, 3)).at[1, 0, 2].set(1.0)
    corners = boxes_of.from_centres(made)
    loss = jax.jit(lambda p, *row: yolo.cells(p, confidence, scores, *row)["loss"])
    np.testing.assert_allclose(loss(places, corners, jnp.int32([2]), jnp.ones(1)), 0, atol=1e-6)
    for empty in ((corners, jnp.int32([2]), jnp.zeros(1)), (jnp.zeros((0, 4)), jnp.zeros(0, jnp.int32), jnp.zeros(0))):
        np.testing.assert_allclose(loss(places, *empty), 0.5, rtol=1e-6)
    slope = jax.jit(jax.grad(loss))(places * 0, corners, jnp.int32([2]), jnp.ones(1))
    assert np.isfinite(slope).all() and slope[1, 0].any() and not slope[0].any()


def anchored_in_loops(raw, scores, made, labels, mask, shapes, coordinates, no_object, ignore):
    rows, columns, count = raw.shape[:3]
    shape_of = lambda box: int(np.argmax([overlap((0, 0, *box[2:]), (0, 0, *s)) for s in shapes]))  # noqa: E731
    owners = first_of_cells(made, mask, rows, columns, shape_of)
    terms = dict.fromkeys(("box", "object", "no_object", "class"), 0.0)
    for r, c, a in np.ndindex(rows, columns, count):
        t = raw[r, c, a]
        box = ((r + sigmoid(t[0])) / rows, (c + sigmoid(t[1])) / columns, *(shapes[a] * np.exp(t[2:4])))
        i = owners.get((r, c, a))
        if i is None:
            if max(overlap(box, b) for b, real in zip(made, mask, strict=True) if real) < ignore:
                terms["no_object"] -= no_object * np.log(1 - sigmoid(t[4]))
            continue
        target = [made[i][0] * rows - r, made[i][1] * columns - c, *np.log(made[i][2:] / shapes[a])]
        terms["box"] += coordinates * ((np.array([sigmoid(t[0]), sigmoid(t[1]), t[2], t[3]]) - target) ** 2).sum()
        terms["object"] -= np.log(sigmoid(t[4]))
        terms["class"] += np.log(np.exp(scores[r, c, a]).sum()) - scores[r, c, a][labels[i]]
    return {"loss": sum(terms.values()), **terms, "lost": mask.sum() - len(owners)}


@pytest.mark.curriculum("L27")
def test_anchors_in_cells_equal_loops():
    made, labels, mask = truth(4, 3)
    made[1, 2:] = made[0, 2:]  # the same anchor of the same cell
    shapes = np.float32([[0.15, 0.15], [0.2, 0.4], [0.4, 0.25]])
    raw, scores = RNG.normal(size=(4, 3, 3, 5)).astype(np.float32), RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
    r, c = int(made[2, 0] * 4), int(made[2, 1] * 3)  # all anchors of this cell make the box of the third object
    inside = made[2, :2] * [4, 3] - [r, c]
    raw[r, c, :, :2] = np.log(inside / (1 - inside))
    raw[r, c, :, 2:4] = np.log(made[2, 2:] / shapes)
    weights = (2.0, 0.7, 0.6)
    terms = jax.jit(yolo.anchored_cells)(
        raw, scores, boxes_of.from_centres(jnp.float32(made)), labels, mask, shapes, *weights
    )
    expected = anchored_in_loops(raw, scores, made, labels, mask, shapes, *weights)
    everything = anchored_in_loops(raw, scores, made, labels, mask, shapes, 2.0, 0.7, 2.0)
    assert expected["no_object"] < everything["no_object"] and expected["lost"] == 1  # some are ignored
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-3, err_msg=name)
    none = yolo.anchored_cells(raw, scores, jnp.zeros((0, 4)), jnp.zeros(0, jnp.int32), jnp.zeros(0), shapes)
    np.testing.assert_allclose(none["loss"], np.log(1 + np.exp(raw[..., 4])).sum(), rtol=1e-4)
