"""Test-time augmentation: the views, the mean of predictions by hand, and a classifier that uses them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.config.defaults import DEFAULTS
from cvdl_jax.core import parallel
from cvdl_jax.core.task import State
from cvdl_jax.data import test_time
from cvdl_jax.data.augment import policy
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGE = jnp.asarray(RNG.random((3, 6, 6, 2), np.float32))
WEIGHTS = jnp.asarray(RNG.normal(size=(72, 4)).astype(np.float32))


def logits_fn(state, batch):
    """Linear scores, of windows too: what is not there is black."""
    x = batch["image"]
    x = jnp.pad(x, ((0, 0), (0, 6 - x.shape[1]), (0, 6 - x.shape[2]), (0, 0)))
    return state * (x.reshape(len(x), -1) @ WEIGHTS)


def softmax(x):
    e = np.exp(np.asarray(x, np.float64) - np.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.curriculum("F36")
def test_the_mean_of_two_predictions_by_hand():
    """Probabilities (0.8, 0.2) and (0.4, 0.6) have the mean (0.6, 0.4); their logits are averaged otherwise."""
    logits = jnp.log(jnp.asarray([[[0.8, 0.2], [0.4, 0.6]]]))
    np.testing.assert_allclose(jnp.exp(test_time.mean_prediction(logits)), [[0.6, 0.4]], rtol=1e-6)
    mean = test_time.mean_prediction(logits, "logits")
    np.testing.assert_allclose(mean, np.log([[np.sqrt(0.32), np.sqrt(0.12)]]), rtol=1e-5)


@pytest.mark.curriculum("F36")
@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_predictions_are_the_mean_over_the_image_and_its_mirror_image(average):
    mean = test_time.averaged(logits_fn, "identity | flip", average)(2.0, {"image": IMAGE, "label": jnp.zeros(3)})
    both = [np.asarray(logits_fn(2.0, {"image": x})) for x in (IMAGE, IMAGE[:, :, ::-1])]
    if average == "logits":
        np.testing.assert_allclose(mean, np.mean(both, 0), rtol=1e-5)
    else:
        np.testing.assert_allclose(jnp.exp(mean), softmax(both).mean(0), rtol=1e-5)
        np.testing.assert_allclose(softmax(mean), softmax(both).mean(0), rtol=1e-5)  # they are logits of it


@pytest.mark.curriculum("F36")
def test_a_prediction_over_a_group_of_views_does_not_depend_on_which_of_them_comes():
    of = test_time.averaged(logits_fn, "identity | flip")
    np.testing.assert_allclose(of(1.0, {"image": IMAGE}), of(1.0, {"image": IMAGE[:, :, ::-1]}), rtol=1e-5)
    assert not np.allclose(logits_fn(1.0, {"image": IMAGE}), logits_fn(1.0, {"image": IMAGE[:, :, ::-1]}), rtol=1e-2)
    alone = test_time.averaged(logits_fn, "identity", "logits")(1.0, {"image": IMAGE})
    np.testing.assert_allclose(alone, logits_fn(1.0, {"image": IMAGE}), rtol=1e-6)


@pytest.mark.curriculum("F36")
def test_views():
    np.testing.assert_array_equal(test_time.vertical_flip()(IMAGE)[:, 0], IMAGE[:, ::-1])
    five = np.asarray(test_time.five_crop(size=4)(IMAGE))
    assert five.shape == (3, 5, 4, 4, 2)
    corners = {(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)}
    windows = {place: np.asarray(IMAGE[:, place[0] : place[0] + 4, place[1] : place[1] + 4]) for place in corners}
    places = [place for i in range(5) for place, w in windows.items() if np.array_equal(five[:, i], w)]
    assert set(places) == corners and len(places) == 5
    ten = np.asarray(test_time.ten_crop(size=4)(IMAGE))
    np.testing.assert_array_equal(ten[:, :5], five)
    np.testing.assert_array_equal(ten[:, 5:], five[:, :, :, ::-1])
    wide = np.asarray(test_time.five_crop(padding=1)(IMAGE))
    assert wide.shape == (3, 5, 6, 6, 2)
    moved = np.pad(IMAGE, ((0, 0), (1, 1), (1, 1), (0, 0)))
    assert any(np.array_equal(wide[:, i], moved[:, :6, :6]) for i in range(5))
    assert any(np.array_equal(wide[:, i], IMAGE) for i in range(5))


@pytest.mark.curriculum("F36")
def test_sampled_views_are_those_of_the_policy_and_the_same_every_time():
    view = test_time.sampled("padded_crop(padding=2)", samples=3, seed=5)
    views = view(IMAGE)
    assert views.shape == (3, 3, 6, 6, 2)
    transform = policy.build("padded_crop(padding=2)")
    for i in range(3):
        key = jax.random.fold_in(jax.random.key(5), i)
        with parallel.rows_known_by(parallel.contents(IMAGE)):
            expected = transform.update(None, {"image": IMAGE}, key)[1]["image"]
        np.testing.assert_array_equal(views[:, i], expected)
    np.testing.assert_array_equal(view(IMAGE), views)
    assert not np.array_equal(test_time.sampled("padded_crop(padding=2)", samples=3)(IMAGE), views)
    assert not np.array_equal(views[:, 0], views[:, 1])


@pytest.mark.curriculum("F36")
def test_sampled_views_are_the_same_in_any_batch():
    """Of an image, wherever it lies; two images have their own."""
    view = test_time.sampled("padded_crop(padding=2)", samples=4)
    together = np.asarray(view(IMAGE))
    for order in ([2, 0, 1], [1], [0, 0]):
        np.testing.assert_array_equal(view(IMAGE[jnp.asarray(order)]), together[order])
    two = jnp.stack([IMAGE[0], IMAGE[0].at[3, 3, 1].add(1e-3)])
    assert not np.allclose(*np.asarray(view(two)), atol=1e-2)


def test_a_misspelt_operation_of_a_view_names_the_view():
    with pytest.raises(ConfigError, match=r"config\.test_time\.views: sampled: there is no operation 'translat'"):
        test_time.sampled("translat")


@pytest.mark.curriculum("F36")
@pytest.mark.parametrize("policy", ["repeated_augmentation(2)", "flip | mixup(0.2)", "cutmix"])
def test_views_of_other_images_are_refused(policy):
    with pytest.raises(ConfigError, match=r"must change each image by itself, and .* takes from other images; remove"):
        test_time.sampled(policy)


@pytest.mark.curriculum("F36")
def test_views_of_several_sizes_count_the_same():
    views = "identity | ten_crop(size=4) | sampled(policy='flip | vertical_flip', samples=2)"
    mean = jax.jit(test_time.averaged(logits_fn, views))(1.0, {"image": IMAGE})
    images = [
        test_time.identity()(IMAGE),
        test_time.ten_crop(4)(IMAGE),
        test_time.sampled("flip | vertical_flip", 2)(IMAGE),
    ]
    logits = [logits_fn(1.0, {"image": x[:, i]}) for x in images for i in range(x.shape[1])]
    assert len(logits) == 13
    np.testing.assert_allclose(jnp.exp(mean), softmax(logits).mean(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ("", "config.test_time.views is empty; write 'identity | flip'"),
        ("identity | flop", "did you mean 'flip'"),
        ("five_crop", r"five_crop\(size=0, padding=0\) must have a size"),
        ("ten_crop(size=-1)", "size=-1 must be 0 or more"),
        ("sampled(policy='')", r"sampled\(policy='', samples=8\) must have an operation"),
        ("sampled(policy='flip', samples=0)", "samples=0 must be from 1 to"),
        ("sampled(policy='flap')", "no operation 'flap'"),
        ("sampled", "policy is missing"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(views, message):
    with pytest.raises(ConfigError, match=message):
        test_time.averaged(logits_fn, views)


def test_mistakes_that_show_in_the_batch():
    with pytest.raises(ConfigError, match=r"five_crop\(size=9\) must fit into the images of 6x6 pixels.*at most 8"):
        test_time.averaged(logits_fn, "five_crop(size=9, padding=1)")(1.0, {"image": IMAGE})
    with pytest.raises(ConfigError, match="makes views of images"):
        test_time.averaged(logits_fn)(1.0, {"features": jnp.zeros((2, 2))})


@pytest.mark.curriculum("F36")
@pytest.mark.skipif("test_time" not in DEFAULTS, reason="config.test_time is not a key yet")
def test_a_classifier_is_evaluated_by_its_mean_prediction():
    """The evaluation of a config with views is that of the mean probability of the plain classifier's."""
    text = "{'views': 'identity | flip'}"
    built = build(configs.load("configs/classify/linear.py:smoke", [f"--config.test_time={text}"]))
    plain = build(configs.load("configs/classify/linear.py:smoke"))
    split = built.data.splits["validation"]
    batch = {name: jnp.stack([jnp.asarray(split.example(i)[name]) for i in range(16)]) for name in ("image", "label")}
    batch = {**batch, "image": batch["image"] / 255, "mask": jnp.ones(16)}
    state = State(jnp.zeros((), jnp.int32), **built.task.init(KEY, batch))
    scores = built.task.evals["validation"].step(state, batch, KEY)["scores"]
    seen = [batch["image"], batch["image"][:, :, ::-1]]
    logits = [plain.task.predict(state, {**batch, "image": x})["scores"] for x in seen]
    np.testing.assert_allclose(jnp.exp(scores), softmax(logits).mean(0), rtol=1e-4)
    np.testing.assert_allclose(built.task.predict(state, batch)["scores"], scores, rtol=1e-5)
