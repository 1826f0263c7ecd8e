"""The study of cues of depth: a pair that its true disparities explain, and figures that say what theory says."""

import numpy as np
import pytest

from experiments.studies import depth_cues


@pytest.fixture(scope="module")
def small():
    return depth_cues.Cues(seeds=1, size=48, disparities=12, points=30, samples=20)


@pytest.mark.curriculum("X2")
def test_true_disparities_explain_the_right_view(small):
    left, right, truth, seen = depth_cues.pair(small, 0)
    there = np.clip(np.round(np.arange(48)[None] - truth).astype(int), 0, None)
    moved = np.take_along_axis(right, there[..., None], 1)
    assert 0.2 < seen.mean() < 0.9 and not seen[truth == 0].any()
    assert abs(moved - left)[seen].mean() < 0.5 * abs(right - left)[seen].mean()


@pytest.mark.curriculum("X2")
def test_what_another_thing_hides_from_the_right_camera_is_not_counted(small):
    hidden = 0
    for index in range(3):
        _, _, truth, seen = depth_cues.pair(small, index)
        scene = depth_cues.depth_scenes.imagine(depth_cues.Words(depth_cues.STREAM, index))
        right = 0.9 * 48 * 0.25 / depth_cues.depth_scenes.render(scene, 48, 0.25)[1]  # f B / Z
        for y, x in np.argwhere((truth > 0) & (truth < 11)):
            there = round(x - truth[y, x])
            visible = there >= 0 and abs(right[y, there] - truth[y, x]) < 1
            assert seen[y, x] == visible
            hidden += there >= 0 and not visible
    assert hidden > 5


@pytest.mark.long
@pytest.mark.curriculum("X2", "X3", "X4")
def test_figures_are_as_theory_says(small):
    shares, shown = depth_cues.of_stereo(small)
    assert shares["stereo/sad"] > 0.6 and shares["stereo/census_dark"] > shares["stereo/sad_dark"]
    assert shares["stereo/agree_right"] > shares["stereo/census"] - 0.1 and set(shown) >= {"left view", "sad"}
    assert len(depth_cues.draw(shown)["stereo"].axes) == 5
    import jax

    errors = np.stack([depth_cues.direction_errors(small, jax.random.key(i)) for i in range(8)]).mean(0)
    assert errors[0] < 0.1 < errors[1] < errors[3] and errors[5] < errors[4]
    light = depth_cues.of_light(jax.random.key(0))
    assert light["flight/10"] / light["flight/40"] == pytest.approx(4, rel=0.1)  # the noise of phase is over F
    assert light["laser/4"] / light["laser/2"] == pytest.approx(4, rel=0.1)  # dZ = Z^2 dx / (f B)
    assert light["flight/ambiguous"] == pytest.approx(0.5, abs=1e-3) and light["gray/columns"] > 0.9
