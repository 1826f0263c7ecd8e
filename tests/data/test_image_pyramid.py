"""Detection at several sizes: the same as by hand, and refused where a network takes one size alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data.image_pyramid import at_scales
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.suppression import detections

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def detector(name, loss):
    model = registry.create({"name": name}, "config.model", kinds=("detection",), outputs=3)
    return model, model.criterion({"loss": loss, "match": {}, "boxes": {}})


@pytest.mark.curriculum("L31")
def test_boxes_of_every_size_are_thinned_together():
    """By hand: the network on a resized image, its boxes in 0..1 behind those of the others, one suppression."""
    model, criterion = detector("retinanet_tiny", {"name": "focal"})
    images = np.random.default_rng(0).random((2, 16, 24, 3)).astype(np.float32)
    variables = quick_jit(partial(model.init, train=False))(jax.random.key(0), images)
    look = quick_jit(lambda x: criterion.decode(*model.apply(variables, x, False)))
    boxes, scores = at_scales(look, jnp.asarray(images), (1.0, 2.0, 0.5))
    by_hand = [look(jax.image.resize(images, (2, h, w, 3), "bilinear")) for h, w in ((16, 24), (32, 48), (8, 12))]
    sizes = [len(b[0]) for b, _ in by_hand]
    assert sizes[1] > sizes[0] > sizes[2] and boxes.shape == (2, sum(sizes), 4) and scores.shape == (2, sum(sizes), 3)
    for k, expected in enumerate(np.split(np.asarray(boxes), np.cumsum(sizes)[:-1], 1)):
        np.testing.assert_allclose(expected, by_hand[k][0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(boxes[:, : sizes[0]], look(jnp.asarray(images))[0])  # the image itself at 1.0
    thin = quick_jit(jax.vmap(partial(detections, keep=5, candidates=50, score_threshold=0.0)))
    shown = thin(boxes, scores)
    assert shown["mask"].all()
    apart = [np.asarray(thin(*pair)["scores"]) for pair in by_hand]
    np.testing.assert_allclose(shown["scores"][:, 0], np.max([s[:, 0] for s in apart], 0), rtol=1e-5)


@pytest.mark.curriculum("L31")
@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ((), "must be different factors"),
        ((1.0, 1.0), "must be different factors"),
        ((1.0, 0.01), "images of 16x16 have no pixel left at the scale 0.01"),
    ],
)
def test_impossible_scales_are_refused(scales, message):
    with pytest.raises(ConfigError, match=message):
        at_scales(lambda x: (jnp.zeros((1, 2, 4)), jnp.zeros((1, 2, 3))), jnp.zeros((1, 16, 16, 3)), scales)


@pytest.mark.curriculum("L31")
def test_a_network_of_one_size_is_refused():
    model, criterion = detector("localiser_tiny", {})
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros((1, 16, 16, 3)))

    images = jnp.zeros((1, 16, 16, 3))

    def scaled(variables):
        return at_scales(lambda x: criterion.decode(*model.apply(variables, x, False)), images, (2.0,))

    with pytest.raises(ConfigError, match=r"test_time\.scales=\(2\.0,\): this network has parameters for .* 16x16"):
        jax.eval_shape(scaled, shapes)
