"""The glimpse experiment: its objective and its sums by hand, the set of translated digits, the figure, mistakes."""

import zlib

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.data.builders import translated_digits
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from experiments import glimpse

CONFIG = "configs/multimodal/glimpses.py:smoke"


class Model:
    """Says and has chosen always the same."""

    def __init__(self, logits, **out):
        self.out = logits, out

    def apply(self, variables, image, train, mutable, rngs):
        return self.out, {}


@pytest.mark.curriculum("J29")
def test_the_objective_is_that_of_the_paper():
    """Two images of which the first is read rightly: rewards 1 and 0."""
    logits = jnp.log(jnp.asarray([[0.7, 0.3], [0.9, 0.1]]))
    log_p, baseline = jnp.asarray([[-1.0, -2.0], [-3.0, -4.0]]), jnp.asarray([[0.5, 0.5], [0.25, 0.5]])
    model = Model(logits, log_p=log_p, baseline=baseline)
    state = State(jnp.int32(0), {}, {}, {"batch_stats": {}})
    batch = {"image": jnp.zeros((2, 4, 4, 1)), "label": jnp.asarray([0, 1])}
    policy = glimpse.Policy(reinforce=2.0, baseline=3.0)
    _, sums = glimpse.training_loss(model, lambda x: x, policy, state, batch, None)
    entropy = -np.log(0.7) - np.log(0.1)
    choice = 0.5 * 3 + (-0.25 * 3 - 0.5 * 4)
    error = 0.5 + 0.25**2 + 0.5**2
    assert float(sums["loss"][0]) == pytest.approx(entropy + 2 * choice + 3 * error, rel=1e-5)
    assert float(sums["cross_entropy"][0]) == pytest.approx(entropy, rel=1e-5)
    assert sums["accuracy"][0] == 1 and all(weight == 2 for _, weight in sums.values())


class Weight(nn.Module):
    """Logits and places are the image times one weight."""

    @nn.compact
    def __call__(self, x, train):
        y = self.param("w", nn.initializers.ones, ()) * x
        return y, {"places": -y}


def test_it_is_evaluated_by_the_averaged_weights():
    state = State(jnp.int32(3), {"w": jnp.float32(2)}, {}, {"batch_stats": {}, "ema": {"w": jnp.float32(5)}}, {})
    logits, places = glimpse.looked(Weight(), lambda x: x + 1, state, {"image": jnp.ones(3)})
    assert logits.tolist() == [10] * 3 and places.tolist() == [-10] * 3


@pytest.mark.curriculum("J29")
def test_padding_does_not_count_and_the_last_glimpse_is_compared_with_the_place():
    logits = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    places = jnp.asarray([[[0.0, 0], [0.3, 0.4]], [[0, 0], [1, 0]], [[0, 0], [9, 9]]])
    batch = {"label": jnp.asarray([0, 1, 0]), "place": jnp.zeros((3, 2)).at[1].set(jnp.asarray([1.0, 1.0]))}
    batch["mask"] = jnp.asarray([1.0, 1.0, 0.0])
    sums = glimpse.evaluation_step(lambda state, batch: (logits, places), None, batch, None)
    means = {name: float(total / weight) for name, (total, weight) in sums.items()}
    assert means["accuracy"] == 0.5 and means["distance"] == pytest.approx((0.5 + 1) / 2)
    assert means["first_distance"] == pytest.approx(2**0.5 / 2)
    del batch["place"]
    assert glimpse.evaluation_step(lambda s, b: (logits, places), None, batch, None).keys() == {"loss", "accuracy"}
    metrics = glimpse.finalise(20, means, {})
    assert metrics["accuracy_low"] < 0.5 < metrics["accuracy_high"] and metrics["examples"] == 20


def test_the_figure_shows_the_way():
    logits = jnp.asarray([[1.0, 0.0], [1.0, 0.0]])
    places = jnp.asarray([[[0.0, 0], [0.5, -0.5]], [[0, 0], [1, 1]]])
    batch = {"image": np.zeros((2, 8, 8, 1)), "label": np.asarray([0, 1])}
    figure = glimpse.report(lambda state, batch: (logits, places), 4, ("A", "B"), None, batch, None)["glimpses"]
    assert [axis.get_title() for axis in figure.axes] == ["A", "A, not B"]
    x, y = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose([x, y], [[3.5, 1.5], [3.5, 5.5]])  # 0.5 down is 6 of 8 pixels, whose centres are whole
    corner = figure.axes[0].patches[0].get_xy()
    np.testing.assert_allclose(corner, (-0.5, 3.5))


@pytest.mark.curriculum("J29")
def test_digits_stand_where_their_place_says():
    rng = np.random.default_rng(0)
    scans = rng.integers(1, 256, (4, 16, 16)).astype(np.uint8)
    image, chosen, place = translated_digits.draw(Words(9, 3), scans, 40, 4)
    assert zlib.crc32(image.tobytes() + bytes([chosen])) == 754589545
    rows = set()
    for i in range(50):
        image, chosen, place = translated_digits.draw(Words(9, i), scans, 24, 0)
        top, left = (round((p + 1) / 2 * 24 - 8) for p in place)
        np.testing.assert_array_equal(image[top : top + 16, left : left + 16], scans[chosen])
        assert (image > 0).sum() == 256
        rows.add(top)
    assert rows == set(range(9))
    cluttered = translated_digits.draw(Words(9, 0), scans, 24, 3)[0]
    assert (cluttered > 0).sum() > 256


def test_the_set_holds_what_was_drawn():
    data = load("translated_digits(size=20, clutter=0, train=3, validation=4, test=3)", validation="validation")
    arrays = load("digits", train="validation").splits["train"].arrays
    own = {np.sort(x.ravel()).tobytes(): int(y) for x, y in zip(arrays["image"], arrays["label"], strict=True)}
    batch = data.splits["validation"].batch(np.arange(4))
    assert data.num_classes == 10 and batch["place"].shape == (4, 2)
    for image, label in zip(batch["image"], batch["label"], strict=True):
        assert own[np.sort(image.ravel())[-256::4].tobytes()] == label
    with pytest.raises(ConfigError, match=r"translated_digits\(size=15\) must be between 16 and 512"):
        load("translated_digits(size=15)", train="train")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.policy.reinforce=-1.0", "config.policy.reinforce=-1.0 must be 0 or more"),
        ("--config.data.name=blobs", "has no 'image' to look at; try translated_digits"),
        ("--config.model.name=captioner_tiny", "config.model.name='captioner_tiny' is made for words"),
        ("--config.remat=True", "set config.remat=False"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(CONFIG, [override]))
