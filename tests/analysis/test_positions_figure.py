"""The figure of which positions are alike: the map of a patch stands at the place of the patch."""

import numpy as np
import pytest

from cvdl_jax.analysis.figures import positions

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("J20")
def test_the_map_of_a_patch_stands_at_its_place():
    h, w, d = 2, 3, 5
    params = {
        "positions": RNG.normal(size=(1, 2 + h * w, d)).astype(np.float32),  # a class and a distillation token
        "patch_embed": {"kernel": np.zeros((4, 4, 1, d))},
    }
    found = positions.similarities(params, (8, 12, 1))
    own = params["positions"][0, 2:].reshape(h, w, d)
    unit = own / np.linalg.norm(own, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, np.einsum("ijd,kld->ijkl", unit, unit), atol=1e-6)
    axis = positions.draw(found).axes[0]
    mosaic = np.ma.filled(np.ma.masked_invalid(axis.images[0].get_array()), np.nan)
    assert mosaic.shape == (h * (h + 1) - 1, w * (w + 1) - 1)
    for i in range(h):
        for j in range(w):
            np.testing.assert_array_equal(mosaic[i * (h + 1) :, j * (w + 1) :][:h, :w], found[i, j])
            assert mosaic[i * (h + 1) + i, j * (w + 1) + j] == pytest.approx(1, abs=1e-6)
    assert np.isnan(mosaic[h]).all() and np.isnan(mosaic[:, w]).all()
    assert axis.get_xticks().tolist() == [1, 5, 9] and axis.get_yticks().tolist() == [0.5, 3.5]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["1", "2", "3"]


@pytest.mark.parametrize("params", [{"positions": np.zeros((1, 4, 2))}, {"head": {}}, np.zeros(3)])
def test_networks_without_positions_of_patches_have_no_figure(params):
    assert positions.similarities(params, (8, 8, 1)) is None
