"""DETR: matching against SciPy, the set loss against a loop, order of the objects, what it refuses."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.matching import assign
from cvdl_jax.ops.positions import sinusoidal_grid

SECTIONS = {"loss": {"name": "cross_entropy"}, "match": {}, "boxes": {}}


def giou(a, b):
    """Of two boxes in corners."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inside = np.prod(np.maximum(high - low, 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside
    around = np.prod(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
    return inside / union - (around - union) / around


def corners(box):
    return np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])


def centres(box):
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def block_loss(logits, found, truth, image):
    """Class and box loss of one image by trying all assignments."""
    objects = [i for i in range(len(truth["mask"][image])) if truth["mask"][image, i]]
    p = special.softmax(logits[image], 1)

    def cost(q, i):
        box, true = found[image, q], truth["boxes"][image, i]
        far = np.abs(box - centres(true)).sum()
        return -p[q, truth["labels"][image, i] + 1] + 5 * far - 2 * giou(corners(box), true)

    ways = itertools.permutations(range(len(p)), len(objects))
    best = min(ways, key=lambda way: sum(cost(q, i) for q, i in zip(way, objects, strict=True)))
    labels, weights = np.zeros(len(p), int), np.full(len(p), 0.1)
    box_loss = 0.0
    for q, i in zip(best, objects, strict=True):
        labels[q], weights[q] = truth["labels"][image, i] + 1, 1.0
        box, true = found[image, q], truth["boxes"][image, i]
        box_loss += 5 * np.abs(box - centres(true)).sum() + 2 * (1 - giou(corners(box), true))
    entropy = -np.log(p[np.arange(len(p)), labels])
    return max(len(objects), 1) * (weights * entropy).sum() / weights.sum(), box_loss


@pytest.fixture(scope="module")
def answers():
    """Answers of two blocks for three images, of which the last has no object, and the truth with padding."""
    rng = np.random.default_rng(0)
    logits, found = rng.normal(size=(2, 3, 5, 4)) * 2, rng.uniform(0.2, 0.8, (2, 3, 5, 4))
    found[..., 2:] *= 0.5
    low = rng.uniform(0, 0.4, (3, 3, 2))
    truth = {
        "boxes": np.concatenate([low, low + rng.uniform(0.1, 0.5, (3, 3, 2))], -1),
        "labels": np.array([[2, 0, 1], [1, 7, 0], [5, 5, 5]]),  # what stands in padding is never read
        "mask": np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0]], float),
    }
    truth["boxes"][1, 1] = 0
    return logits, found, truth


def losses_of(answers, sections=SECTIONS, order=slice(None)):
    logits, found, truth = answers
    model = registry.create({"name": "detr_tiny"}, "config.model", outputs=4)
    out = {"all_logits": jnp.asarray(logits), "all_boxes": jnp.asarray(found), "boxes": jnp.asarray(found[-1])}
    truth = {name: jnp.asarray(x)[:, order] for name, x in truth.items()}
    return jax.jit(model.criterion(sections).losses)(jnp.asarray(logits[-1]), out, truth)


@pytest.mark.curriculum("J23")
def test_the_set_loss_equals_a_loop_over_all_assignments(answers):
    parts, weight = losses_of(answers)
    assert weight.tolist() == [3, 2, 1]
    for image in range(3):
        class_loss, box_loss = block_loss(answers[0][1], answers[1][1], answers[2], image)
        np.testing.assert_allclose(parts["class_loss"][image], class_loss, rtol=1e-4)
        np.testing.assert_allclose(parts["box_loss"][image], box_loss, rtol=1e-4, atol=1e-6)
        earlier = sum(block_loss(answers[0][0], answers[1][0], answers[2], image))
        np.testing.assert_allclose(parts["auxiliary_loss"][image], earlier, rtol=1e-4)


@pytest.mark.curriculum("J23")
def test_the_order_of_the_objects_changes_nothing(answers):
    parts, turned = losses_of(answers)[0], losses_of(answers, order=np.array([2, 0, 1]))[0]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), parts, turned)


def test_every_weight_of_the_loss_and_the_match_is_read(answers):
    parts = losses_of(answers)[0]
    changes = [
        ("boxes", {"l1": 0.0}),
        ("boxes", {"giou": 0.0}),
        ("match", {"class_cost": 30.0}),
        ("match", {"l1": 0.0, "giou": 0.0}),
        ("loss", {"name": "cross_entropy", "no_object": 1.0}),
    ]
    for section, values in changes:
        other = losses_of(answers, {**SECTIONS, section: values})[0]
        assert abs(other["loss"][0] - parts["loss"][0]) > 1e-3, (section, values)


@pytest.mark.parametrize(("q", "t"), [(5, 3), (4, 4), (6, 1)])
def test_the_assignment_is_scipys(q, t):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        cost, mask = rng.normal(size=(q, t)).astype(np.float32), (np.arange(t) != 1) * 1.0
        chosen = np.asarray(assign(jnp.asarray(cost), jnp.asarray(mask)))
        assert len(set(chosen.tolist())) == t  # padding takes nobody's place
        real = np.flatnonzero(mask)
        rows, columns = optimize.linear_sum_assignment(cost[:, real])
        np.testing.assert_allclose(cost[chosen[real], real].sum(), cost[:, real][rows, columns].sum(), rtol=1e-5)
    broken = jnp.ones((3, 1)).at[0].set(jnp.nan).at[1].set(-jnp.inf)
    assert assign(broken, jnp.ones(1)).tolist() == [2]
    with pytest.raises(ValueError, match="3 objects cannot have a prediction each, there are 2"):
        assign(jnp.zeros((2, 3)), jnp.ones(3))


def test_queries_without_positions_of_the_image_could_not_tell_places_apart():
    """Moving an object moves the tokens; the positions, halves of rows and columns, are what says where it is."""
    grid = np.asarray(sinusoidal_grid((3, 4), 8)).reshape(3, 4, 8)
    np.testing.assert_array_equal(grid[1, :, :4], np.broadcast_to(grid[1, 0, :4], (4, 4)))
    np.testing.assert_array_equal(grid[:, 2, 4:], np.broadcast_to(grid[0, 2, 4:], (3, 4)))
    y = 2 * np.pi * 2 / 3
    np.testing.assert_allclose(grid[1, 0, :4], [np.sin(y), np.cos(y), np.sin(y / 100), np.cos(y / 100)], atol=1e-6)
    x = 2 * np.pi * 3 / 4
    np.testing.assert_allclose(grid[0, 2, 4:], [np.sin(x), np.cos(x), np.sin(x / 100), np.cos(x / 100)], atol=1e-6)


def test_what_does_not_fit_is_refused(answers):
    def refused(said, sections, outputs=4, **fields):
        model = registry.create({"name": "detr_tiny", **fields}, "config.model", outputs=outputs)
        with pytest.raises(ConfigError, match=said):
            criterion = model.criterion({**SECTIONS, **sections})
            logits, found, truth = answers
            out = {"all_logits": logits[:, :, :2], "all_boxes": found[:, :, :2]}
            criterion.losses(logits[-1], out, truth)

    refused("set config.loss={'name': 'cross_entropy'}", {"loss": {"name": "focal"}})
    refused("are fewer than config.data.max_boxes=3", {}, queries=2)
    refused(r"config\.match\.l2", {"match": {"l2": 1.0}})
    refused(r"config\.boxes\.l1=-1\.0", {"boxes": {"l1": -1.0}})
    with pytest.raises(ConfigError, match=r"config\.model\.stage=3 is not one of the backbone's 3"):
        model = registry.create({"name": "detr_tiny", "stage": 3}, "config.model", outputs=4)
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), False))
