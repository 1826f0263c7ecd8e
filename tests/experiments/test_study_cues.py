"""Which cue a network goes by: images whose cues are chosen apart, and what is counted of the answers."""

import itertools
from collections import Counter
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state
from cvdl_jax.data import cue_conflict, scenes
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.cue_conflict import shape_bias
from cvdl_jax.metrics.stats import intervals
from experiments.studies import cues

N = len(scenes.CLASSES)


@pytest.mark.curriculum("U11")
def test_shape_bias_by_hand():
    """Of six answers three are the shape and one is the texture; two are neither and do not count."""
    bias = shape_bias([0, 1, 2, 4, 5, 5], [0, 1, 2, 3, 3, 3], [1, 2, 3, 4, 0, 1])
    assert (bias.shape, bias.either) == (0.75, pytest.approx(4 / 6))
    assert (bias.low, bias.high) == intervals.wilson(3, 4)
    neither = shape_bias([5], [0], [1])
    assert np.isnan(neither.shape) and neither.either == 0
    with pytest.raises(DataError, match="image 1 has the shape and the texture of class 4"):
        shape_bias([0, 0], [0, 4], [1, 4])
    with pytest.raises(DataError, match="shape bias needs n > 0"):
        shape_bias([], [], [])


@pytest.mark.curriculum("U11")
@pytest.mark.parametrize("shape", range(N))
def test_an_object_has_its_shape_and_its_texture(shape):
    """Outside the shape all is background; inside, light and dark are where the texture says, along the turned axes."""

    class Fixed(scenes.Words):
        def between(self, low, high):
            return {(22, 28): 24, (-8, 8): 0}.get((low, high), super().between(low, high))

        def below(self, n):
            return 0 if n != 256 else super().below(n)

    rotation = (3, 4, 5)
    image = cue_conflict.draw(Fixed(0, shape), shape, (shape + 1) % N, 32, rotations=(rotation,))[..., 0].astype(int)
    y, x = np.mgrid[:32, :32]
    dx, dy = 2 * x + 1 - 32, 2 * y + 1 - 32
    inside = scenes.inside(scenes.CLASSES[shape], dx, dy, 24, rotation)
    assert inside.sum() > 60 and (abs(image[~inside] - cue_conflict.GREY) <= scenes.NOISE).all()
    light = abs(image - cue_conflict.LIGHT) <= scenes.NOISE
    assert (light | (abs(image - cue_conflict.DARK) <= scenes.NOISE))[inside].all()
    u, v = 0.6 * dx + 0.8 * dy, 0.6 * dy - 0.8 * dx
    expected = list(cue_conflict.TEXTURES.values())[(shape + 1) % N](u, v)
    near = np.abs(u - np.round(u)) + np.abs(v - np.round(v)) > 1e-6  # not on the edge of a stripe
    assert (light == expected)[inside & near].all()
    assert 0.2 < light[inside].mean() < 0.8


@pytest.mark.curriculum("U11")
def test_cues_are_apart():
    made = {
        cue: cue_conflict.images(3, 120, 32, cue) for cue in ("both", "conflict", "shape", "texture", "any_texture")
    }
    assert np.array_equal(made["both"]["shape"], made["both"]["texture"])
    pairs = Counter(zip(made["conflict"]["shape"].tolist(), made["conflict"]["texture"].tolist(), strict=True))
    assert pairs == {(i, j): 4 for i in range(N) for j in range(N) if i != j}
    assert (made["shape"]["texture"] == -1).all() and (made["texture"]["shape"] == -1).all()
    grey = [(abs(x.astype(int) - cue_conflict.GREY) <= scenes.NOISE).mean() for x in made["texture"]["image"]]
    assert max(grey) == 0  # a texture without a shape fills the image
    for image in made["shape"]["image"].astype(int):  # one even tone on the background
        tones = [(abs(image - tone) <= scenes.NOISE).any() for tone in (cue_conflict.DARK, cue_conflict.LIGHT)]
        assert sum(tones) == 1
    seen = Counter(zip(made["any_texture"]["shape"].tolist(), made["any_texture"]["texture"].tolist(), strict=True))
    assert len(seen) > 30
    again = cue_conflict.images(3, 60, 32, "conflict")
    np.testing.assert_array_equal(again["image"][:5], made["conflict"]["image"][:5])


@pytest.mark.curriculum("U11")
def test_sizes_and_angles_are_those_of_the_cue():
    def area(cue):
        made = cue_conflict.images(5, 60, 32, cue)
        return (abs(made["image"].astype(int) - cue_conflict.GREY) > scenes.NOISE).mean((1, 2, 3))

    both, small, turned = area("both"), area("small"), area("turned")
    np.testing.assert_allclose(small.mean() / both.mean(), 0.25, rtol=0.15)  # half the side
    np.testing.assert_allclose(turned.mean() / both.mean(), 1, rtol=0.15)
    upright = cue_conflict.images(5, N, 32, "both")["image"][N - 1, :, :, 0].astype(int)  # the bar
    rows = (abs(upright - cue_conflict.GREY) > scenes.NOISE).sum(1)
    assert len(set(rows[rows > 0].tolist())) == 1  # a rectangle that is not turned


@pytest.mark.curriculum("U11")
def test_who_goes_by_one_cue_is_found_out():
    """Networks that name the shape, or the texture, of contradictory images; the truth of a cue is its own."""
    truth = {cue: cue_conflict.images(300, 60, 32, cue) for cue in (*cues.ASKED, "conflict")}
    sees = lambda cue, entry: np.where(truth[cue][entry] < 0, 0, truth[cue][entry])  # noqa: E731
    rows = {f"{name} {cue}": sees(cue, name) for name in ("shape", "texture") for cue in truth}
    metrics = cues.finalise(truth, {}, rows)
    assert (metrics["shape/shape_bias"], metrics["texture/shape_bias"]) == (1, 0)
    assert metrics["shape/shape"] == 1 and metrics["texture/texture"] == 1
    assert metrics["shape/texture"] == metrics["texture/shape"] == pytest.approx(1 / N)  # class 0 always
    assert metrics["texture/turned_low"] < metrics["texture/turned"] == 1


@pytest.mark.curriculum("U11")
def test_each_network_learns_from_its_own_images_alone():
    run = build(configs.load("configs/studies/cues.py:smoke", ["config.model={'name':'mlp','hidden':(8,)}"]))
    state = jax.jit(partial(create_state, run.task))(jax.random.key(0), {})
    jax.tree.map(np.testing.assert_array_equal, state.params["plain"], state.params["textures"])
    train = state.extra["train"]
    assert np.array_equal(train["plain"]["label"], np.arange(24) % N)
    seen = []

    def apply(variables, image, train):
        seen.append(np.asarray(image))
        return jnp.zeros((len(image), N)), {}

    _, sums = cues.training_loss(SimpleNamespace(apply=apply), "textures", 5, state, {}, jax.random.key(3))
    cues.training_loss(SimpleNamespace(apply=apply), "textures", 5, state, {}, jax.random.key(4))
    assert (seen[0] != seen[1]).any()
    parts = [
        np.asarray(x["image"]) for x in (train["plain"], state.extra["validation"]["both"], state.extra["test"]["both"])
    ]
    assert all((a[:24] != b[:24]).any((1, 2, 3)).all() for a, b in itertools.combinations(parts, 2))  # none of another
    own = np.asarray(train["textures"]["image"]) / np.float32(255)
    assert all(any(np.allclose(image, other) for other in own) for image in seen[0])
    assert float(sums["loss"][0]) == pytest.approx(5 * np.log(N), rel=1e-5) and sums["loss"][1] == 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("config.study.training=('plain','texture')", "'texture' is none.*textures"),
        ("config.study.training=('plain','plain')", "may not name one twice"),
        ("config.study.size=16", "config.study.size=16 must be at least 28"),
    ],
)
def test_bad_settings_are_refused(override, words):
    with pytest.raises(ConfigError, match=words):
        build(configs.load("configs/studies/cues.py:smoke", [override]))
