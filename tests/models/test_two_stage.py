"""Detectors of two stages: fixed shapes, every loss against a loop, perfect answers, samples of both modes."""

from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.region_stage import SPREAD, choose, choose_anchors, keys_of, of_sample, region_criterion, spread
from cvdl_jax.ops.proposals import Match, Sample
from cvdl_jax.ops.suppression import detections

SECTIONS = {"loss": {"name": "cross_entropy"}, "match": {}, "boxes": {"beta": 0.5, "weight": 2.0}}
TRUTH = {
    "boxes": jnp.float32(
        [[[0.1, 0.1, 0.5, 0.4], [0.5, 0.4, 0.9, 0.9]], [[0.2, 0.3, 0.8, 0.9], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2]
    ),
    "labels": jnp.int32([[2, 0], [1, 0], [0, 0]]),
    "mask": jnp.float32([[1, 1], [1, 0], [0, 0]]),
}
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


SMALL = {"backbone": {"name": "resnet8_tiny", "depths": (1, 1), "widths": (4, 4)}}  # compiles faster


def made(name="faster_rcnn_tiny", **fields):
    return registry.create({"name": name, **fields}, "config.model", kinds=("detection",), outputs=4)


@pytest.fixture(scope="module")
def step():
    """The tiny detector, and compiled functions of its parameters, the truth and a key."""
    model = made(**SMALL, levels=(0, 1), ratios=(1.0,))
    criterion = model.criterion(SECTIONS)
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x)

    @quick_jit
    def train(params, truth, key):
        def loss(params):
            (logits, out), _ = model.apply(
                {**variables, "params": params}, x, True, truth, rngs={"dropout": key}, mutable=["batch_stats"]
            )
            parts, weight = criterion.losses(logits, out, truth)
            return parts["loss"].sum() / weight.sum(), (parts, weight, logits, out)

        return jax.value_and_grad(loss, has_aux=True)(params)

    @quick_jit
    def evaluate(params, truth):
        logits, out = model.apply({**variables, "params": params}, x, False, truth)
        return criterion.losses(logits, out, truth), criterion.decode(logits, out), logits, out

    return SimpleNamespace(params=variables["params"], train=train, evaluate=evaluate)


@pytest.mark.curriculum("L13", "L14", "L20")
def test_both_stages_train_in_one_step_of_fixed_shapes(step):
    (value, (parts, weight, logits, out)), grads = step.train(step.params, TRUTH, jax.random.key(1))
    four = ("objectness_loss", "proposal_loss", "class_loss", "box_loss")
    assert set(parts) == {"loss", *four} and weight.tolist() == [1, 1, 1] and np.isfinite(value)
    np.testing.assert_allclose(parts["loss"], sum(parts[name] for name in four), rtol=1e-6)
    assert logits.shape == (3, 8, 4) and out["region_deltas"].shape == (3, 8, 3, 4)
    assert out["regions"].shape == (3, 8, 4) and out["first"]["proposals"].shape == (3, 10, 4)
    assert out["first"]["objectness"].shape == out["first"]["deltas"].shape[:2] == (3, 16 * 16 + 8 * 8)
    moved = {jax.tree_util.keystr(p) for p, g in jax.tree_util.tree_leaves_with_path(grads) if np.any(g)}
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert all(any(f"['{part}']" in path for path in moved) for part in ("proposals", "regions", "pyramid", "backbone"))
    labels = out["chosen"]["labels"]
    assert ((labels > 0).sum(1) <= 2).all() and (labels[:2] > 0).any(1).all()  # true boxes are among the candidates
    assert labels[2].tolist().count(0) == 8 and (out["first"]["chosen"]["labels"][2] == 0).all()
    _, (_, _, _, other) = step.train(step.params, TRUTH, jax.random.key(2))[0]
    assert not np.array_equal(out["first"]["chosen"]["index"], other["first"]["chosen"]["index"])


@pytest.mark.curriculum("L13", "L17")
def test_images_without_objects_train_and_count(step):
    (_, (parts, weight, _, _)), grads = step.train(step.params, {**TRUTH, "mask": TRUTH["mask"] * 0}, jax.random.key(1))
    assert not parts["box_loss"].any() and not parts["proposal_loss"].any() and (weight == 1).all()
    assert (parts["objectness_loss"] > 0).all() and (parts["class_loss"] > 0).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.curriculum("L13", "L20")
def test_an_evaluation_shows_proposals_alone_and_draws_the_same_sample_again(step):
    (parts, _), (made_boxes, scores), logits, out = step.evaluate(step.params, TRUTH)
    assert logits.shape == (3, 12, 4) and made_boxes.shape == (3, 12, 3, 4) and scores.shape == (3, 12, 3)
    assert not scores[:, 10:].any() and not out["regions_mask"][:, 10:].any()  # true boxes are judged, not shown
    np.testing.assert_array_equal(out["regions"][:, 10:], TRUTH["boxes"])
    again = step.evaluate(step.params, TRUTH)[0][0]
    jax.tree.map(np.testing.assert_array_equal, parts, again)
    (_, _), _, _, others = step.evaluate(step.params, {**TRUTH, "mask": TRUTH["mask"] * 0})
    np.testing.assert_array_equal(out["first"]["proposals"], others["first"]["proposals"])


@pytest.mark.curriculum("L13")
def test_a_few_steps_of_descent_lower_every_part_that_objects_have(step):
    """On one batch, with new samples in every step; a wrong sign or target of a stage would keep its loss up."""
    params, parts = step.params, []
    for i in range(30):
        (_, (losses, *_)), grads = step.train(params, TRUTH, jax.random.key(i))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        parts.append({name: float(x.mean()) for name, x in losses.items()})
    first, last = ({n: np.mean([p[n] for p in rows]) for n in parts[0]} for rows in (parts[:4], parts[-4:]))
    assert last["loss"] < 0.6 * first["loss"], (first, last)
    assert all(last[name] < first[name] for name in ("objectness_loss", "proposal_loss", "class_loss")), (first, last)


# Losses --------------------------------------------------------------------------------------------------------------


def smooth(x, beta):
    x = np.abs(x)
    return np.where(x < beta, x * x / (2 * beta), x - beta / 2).sum()


@pytest.mark.curriculum("L10", "L13", "L14")
def test_every_loss_equals_a_loop():
    """Over the chosen anchors and regions of each image, `1/N sum L_cls + 1/N sum p L_box`."""
    rng = np.random.default_rng(3)
    b, a, r, k, s = 3, 7, 6, 3, 4
    some = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    corners = lambda *shape: np.sort(rng.random((*shape, 2, 2)), -2).reshape(*shape, 4).astype(np.float32)  # noqa: E731
    index = lambda n: np.stack([rng.permutation(n)[:s] for _ in range(b)])  # noqa: E731
    chosen = {
        "index": index(r),
        "labels": np.array([[3, 1, 0, 0], [2, 0, 0, -1], [0, 0, -1, -1]]),
        "targets": some(b, s, 4),
    }
    anchors = {
        "index": index(a),
        "labels": np.array([[1, 1, 0, 0], [1, 0, -1, -1], [0, 0, 0, 0]]),
        "targets": some(b, s, 4),
    }
    first = {"objectness": some(b, a), "deltas": some(b, a, 4), "anchors": corners(a), "chosen": anchors}
    out = {"regions": corners(b, r), "region_deltas": some(b, r, k, 4), "chosen": chosen, "first": first}
    logits = some(b, r, k + 1)
    parts, _ = quick_jit(region_criterion(SECTIONS, "it", "").losses)(logits, out, None)
    for i in range(b):
        expected = dict.fromkeys(("class_loss", "box_loss", "objectness_loss", "proposal_loss"), 0.0)
        n, m = (chosen["labels"][i] >= 0).sum(), (anchors["labels"][i] >= 0).sum()
        for j, label in zip(chosen["index"][i], chosen["labels"][i], strict=True):
            if label >= 0:
                expected["class_loss"] += (np.log(np.exp(logits[i, j]).sum()) - logits[i, j, label]) / n
            if label > 0:
                target = chosen["targets"][i, list(chosen["index"][i]).index(j)] / np.array(SPREAD)
                expected["box_loss"] += 2 * smooth(out["region_deltas"][i, j, label - 1] - target, 0.5) / n
        for j, (place, label) in enumerate(zip(anchors["index"][i], anchors["labels"][i], strict=True)):
            score = first["objectness"][i, place]
            if label >= 0:
                expected["objectness_loss"] += np.log1p(np.exp(-score if label else score)) / m
            if label > 0:
                expected["proposal_loss"] += 2 * smooth(first["deltas"][i, place] - anchors["targets"][i, j], 0.5) / m
        for name, value in expected.items():
            np.testing.assert_allclose(parts[name][i], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.curriculum("L13", "L10")
@pytest.mark.parametrize("section", [{"beta": 0.1}, {"name": "giou"}])
def test_perfect_answers_cost_nothing_and_find_everything(section):
    """Deltas of the truth, in the unit that training divides by, come back as the true boxes."""
    criterion = region_criterion({**SECTIONS, "boxes": section}, "it", "")
    near = np.clip(np.asarray(TRUTH["boxes"]) + np.float32([0.02, -0.03, 0.04, 0.02]), 0, 1)
    mask = TRUTH["mask"]

    @quick_jit
    def answered(near, mask):
        out = choose(None, near, mask, TRUTH, Match(0.5, 0.5), Sample(8, 0.5), False)
        chosen = out["chosen"]
        rows = jnp.arange(3)[:, None]
        label = jnp.zeros((3, 4), int).at[rows, chosen["index"]].max(jnp.maximum(chosen["labels"], 0))
        logits = jnp.where(label[..., None] == jnp.arange(4)[None, None], 12.0, -12.0)
        target = jnp.zeros((3, 4, 4)).at[rows, chosen["index"]].add(chosen["targets"] / spread(chosen["targets"]))
        out["region_deltas"] = jnp.repeat(target[:, :, None], 3, 2)
        shown = jax.vmap(partial(detections, keep=4, score_threshold=0.1))(*criterion.decode(logits, out))
        return criterion.losses(logits, out, TRUTH)[0], shown

    parts, shown = answered(near, mask)
    assert parts["box_loss"].max() < 1e-5 and parts["class_loss"].max() < 1e-6
    assert shown["mask"].sum(1).tolist() == [2, 1, 0]
    np.testing.assert_allclose(shown["boxes"][1, 0], TRUTH["boxes"][1, 0], atol=1e-5)
    assert sorted(shown["classes"][0, :2].tolist()) == [0, 2] and shown["classes"][1, 0] == 1


def test_a_region_is_chosen_by_its_image_alone():
    """The sample of an image depends on its key, not on its neighbours: a batch is its rows."""
    rng = np.random.default_rng(0)
    candidates = np.sort(rng.random((3, 20, 2, 2)), 2).reshape(3, 20, 4).astype(np.float32)

    class Bound(nn.Module):
        @nn.compact
        def __call__(self, *args):
            return choose(self, *args, Match(0.5, 0.5), Sample(8, 0.5), True)

    pick = quick_jit(lambda *args: Bound().apply({}, *args, rngs={"dropout": jax.random.key(0)}))
    whole = pick(candidates, jnp.ones((3, 20)), TRUTH)
    order = np.array([0, 2, 1])
    other = pick(candidates[order], jnp.ones((3, 20)), {k: v[order] for k, v in TRUTH.items()})
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), whole, other)  # the first, with new neighbours
    assert not np.array_equal(whole["regions"][1], other["regions"][2])  # another place, another key
    np.testing.assert_array_equal(of_sample(whole["regions"], whole["chosen"]), whole["regions"])


# Regions that come with the batch -------------------------------------------------------------------------------------


GIVEN = jnp.float32(
    [[[0.1, 0.1, 0.5, 0.4], [0.4, 0.4, 0.9, 0.9], [0, 0, 0.9, 0.3], [0, 0, 0, 0]]] * 2
    + [[[0.2, 0.3, 0.8, 0.9], [0.5, 0, 1, 0.4], [0, 0, 0, 0], [0, 0, 0, 0]]]
)


@pytest.fixture(scope="module", params=["fast_rcnn_tiny", "rcnn_tiny"])
def given(request):
    """A detector on given regions, and its losses, gradients and boxes, in one compiled function."""
    model = made(request.param, **SMALL)
    criterion = model.criterion(SECTIONS)
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), x, GIVEN)

    @quick_jit
    def run(params, regions, truth):
        def loss(params):
            (logits, out), _ = model.apply(
                {**variables, "params": params}, x, regions, True, truth,
                rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"],
            )  # fmt: skip
            parts, _ = criterion.losses(logits, out, truth)
            return parts["loss"].sum(), (parts, logits, out)

        shown = criterion.decode(*model.apply({**variables, "params": params}, x, regions, False))
        return jax.value_and_grad(loss, has_aux=True)(params), shown

    return SimpleNamespace(name=request.param, criterion=criterion, run=partial(run, variables["params"]))


@pytest.mark.curriculum("L9", "L10", "L20")
def test_given_regions_are_judged_and_trained_on(given):
    ((_, (parts, logits, out)), grads), (made_boxes, scores) = given.run(GIVEN, TRUTH)
    assert given.criterion.reads == ("truth", "proposals") and set(parts) == {"loss", "class_loss", "box_loss"}
    assert logits.shape == (3, 8, 4) and made_boxes.shape == (3, 4, 3, 4) and scores.shape == (3, 4, 3)
    assert (scores.sum(-1) > 0).tolist() == (np.asarray(GIVEN).any(-1)).tolist()  # padding is no detection
    labels = out["chosen"]["labels"]
    assert (labels > 0).sum(1).tolist() == [2, 1, 0] and (labels == 0).sum() > 2
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads)) and np.any(grads["backbone"]["stem"]["kernel"])


@pytest.mark.curriculum("L9", "L10", "L17")
def test_images_without_objects_or_regions_train_and_count(given):
    none = {**TRUTH, "mask": TRUTH["mask"] * 0}
    ((_, (parts, _, _)), _), _ = given.run(GIVEN, none)
    assert not parts["box_loss"].any() and (parts["class_loss"] > 0).all()
    ((value, (parts, _, out)), grads), (_, scores) = given.run(GIVEN * 0, none)
    assert value == 0 and not scores.any() and (out["chosen"]["labels"] == -1).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("L20")
def test_no_proposal_at_all_leaves_the_true_boxes(step):
    pick = quick_jit(partial(choose, None, how=Match(0.5, 0.5), sample=Sample(8, 0.25), train=False))
    none = pick(jnp.zeros((3, 5, 4)), jnp.zeros((3, 5)), TRUTH)
    assert (none["chosen"]["labels"] > 0).sum(1).tolist() == [2, 1, 0]
    assert (none["chosen"]["labels"] == 0).sum() == 0 and np.isfinite(none["chosen"]["targets"]).all()
    few = quick_jit(partial(choose_anchors, how=Match(0.7, 0.3), sample=Sample(16, 0.5)))
    anchors = few(keys_of(None, 3, False), TRUTH["boxes"][0], TRUTH)
    assert anchors["labels"].shape == (3, 16) and (anchors["labels"] >= 0).sum() <= 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"region_match": (0.4, 0.5)}, r"config\.model\.region_match=\(0\.4, 0\.5\) must be \(positive, negative\)"),
        ({"region_match": (0.5,)}, "region_match"),
        ({"anchor_match": (0.3, 0.7)}, "anchor_match"),
        ({"channels": 0}, r"config\.model\.levels=\(1, 2\) without a pyramid"),
        ({"after": (10,)}, r"config\.model\.after"),
        ({"region_sample": (8, 1.5)}, r"config\.model\.region_sample"),
        ({"name": "fast_rcnn_tiny", "region_match": (0.4, 0.5)}, r"config\.model\.region_match"),
        ({"name": "fast_rcnn_tiny", "quantisation": "lost"}, r"config\.model\.quantisation='lost'"),
        ({"name": "rcnn_tiny", "context": 4}, r"config\.model\.context=4 leaves nothing of crops of 8 pixels"),
        ({"levels": (1, 5)}, r"levels=\(1, 5\) must name stages"),
    ],
)
def test_impossible_detectors_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        model = made(**fields)
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"match": {"positive": 0.5}}, r"config\.match=.* is not read by faster_rcnn.*config\.model\.anchor_match"),
        ({"loss": {"name": "focal"}}, "has no background.*'cross_entropy'"),
        ({"boxes": {"betta": 1.0}}, "did you mean 'beta'"),
    ],
)
def test_sections_that_do_not_fit_are_refused(sections, message):
    with pytest.raises(ConfigError, match=message):
        made().criterion({**SECTIONS, **sections})


def test_training_without_the_truth_is_refused():
    model = made()
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(ConfigError, match="give it the truth"):
        jax.eval_shape(
            partial(model.apply, train=True, rngs={"dropout": jax.random.key(0)}, mutable=["batch_stats"]),
            shapes,
            jnp.zeros((1, 16, 16, 3)),
        )


@pytest.mark.curriculum("L13", "L24")
def test_parameters_are_those_of_torchvision_without_the_frozen_scales():
    """Another test counts those of the row; of each normalised channel of ResNet-50, two are frozen in torchvision."""
    channels = 64 + sum(n * 6 * w + 4 * w for n, w in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True))
    assert registry.variants()["faster_rcnn_resnet50_fpn"].row["params"] - 2 * channels == 41_755_286


@pytest.mark.curriculum("L13")
def test_without_a_pyramid_regions_are_of_one_stage():
    model = made(channels=0, levels=(2,), sizes=(1.0, 2.0))
    (logits, out), _ = jax.eval_shape(
        partial(model.init_with_output, train=False), jax.random.key(0), jnp.zeros((1, 16, 24, 3))
    )
    assert out["first"]["anchors"].shape == (4 * 6 * 2, 4) and logits.shape == (1, 10, 4)
    assert [x.shape for x in out["levels"]] == [(1, 4, 6, 16)]
