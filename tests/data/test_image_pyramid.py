"""Detection at several sizes: the same as by hand, and refused where a network takes one size alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data.image_pyramid import at_scales
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.anchors import shapes_on_grid
from cvdl_jax.ops.suppression import detections

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def detector(name, loss):
    model = registry.create({"name": name}, "config.model", kinds=("detection",), outputs=3)
    return model, model.criterion({"loss": loss, "match": {}, "boxes": {}})


@quick_jit
def look(images):
    """A detector of one anchor for each 4 x 4 pixels: its score of two classes is the mean of their first channels."""
    b, h, w, c = images.shape
    scores = images.reshape(b, h // 4, 4, w // 4, 4, c).mean((2, 4)).reshape(b, -1, c)[..., :2]
    grid = jnp.asarray(shapes_on_grid(h // 4, w // 4, [(4 / h, 4 / w)]))
    return jnp.broadcast_to(grid[None], (b, *grid.shape)), scores


@pytest.mark.curriculum("L31")
def test_boxes_of_every_size_are_thinned_together():
    """By hand: the detector on a resized image, its boxes in 0..1 behind those of the others, one suppression."""
    images = jnp.asarray(np.random.default_rng(0).random((2, 16, 24, 3)), jnp.float32)
    boxes, scores = quick_jit(partial(at_scales, look.__wrapped__, scales=(1.0, 2.0, 0.5)))(images)
    resized = [jax.image.resize(images, (2, h, w, 3), "bilinear") for h, w in ((16, 24), (32, 48), (8, 12))]
    by_hand = [look(x) for x in resized]
    np.testing.assert_allclose(boxes, np.concatenate([b for b, _ in by_hand], 1), rtol=1e-6)
    np.testing.assert_allclose(scores, np.concatenate([s for _, s in by_hand], 1), rtol=1e-5)
    np.testing.assert_allclose(boxes[0, 0], [0, 0, 1 / 4, 1 / 6], atol=1e-6)  # four pixels of 16 x 24
    np.testing.assert_allclose(boxes[0, 24 + 96], [0, 0, 1 / 2, 1 / 3], atol=1e-6)  # four pixels of half of them
    bright = images.at[0, 4:12, 8:16].set(5.0)  # a patch that the smaller image's anchor has exactly
    thin = partial(detections, keep=1, candidates=50, iou_threshold=0.2)
    shown = quick_jit(lambda x: jax.vmap(thin)(*at_scales(look.__wrapped__, x, (1.0, 0.5))))(bright)
    assert shown["scores"][0, 0] > 3 and shown["mask"].sum() == 2


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
