"""What helpers of figures draw is what they were given: bars, points, boxes, masks and matrices, read back."""

import numpy as np
import pytest

from cvdl_jax.analysis.figures import diagnostics, images, segmentation

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("O27")
def test_a_confusion_matrix_has_true_classes_in_rows_and_their_shares():
    figure = segmentation.confusion(np.array([[6, 2, 0], [0, 5, 5], [1, 0, 199]]), ("cat", "dog", "sky"))
    (axis,) = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    expected = np.sqrt([[0.75, 0.25, 0], [0, 0.5, 0.5], [0.005, 0, 0.995]])
    np.testing.assert_allclose(axis.images[0].get_array(), expected, atol=1e-6)
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    assert texts == {(0, 0): "75", (1, 0): "25", (1, 1): "50", (2, 1): "50", (0, 2): "0", (2, 2): "100"}


@pytest.mark.curriculum("O27")
def test_a_histogram_counts_every_activation():
    """Each value of each part falls into one bar, but what is not finite; an activation's inputs are orange."""
    parts = [RNG.normal(size=(4, 5)), RNG.normal(size=(3, 5))]
    broken = np.array([[np.nan, 1.0, 2.0]])
    seen = {"dense0": {"output": parts}, "relu": {"input": [parts[0]]}, "dense10": {"output": [broken]}}
    figure = diagnostics.draw(seen, {"relu/saturated": 0.5, "relu/dead": 0.25})
    axes = {axis.get_title().partition("\n")[0]: axis for axis in figure.axes if axis.get_title()}
    assert list(axes) == ["dense0", "dense10", "relu"]
    heights = {name: [bar.get_height() for bar in axis.patches] for name, axis in axes.items()}
    assert {name: sum(counts) for name, counts in heights.items()} == {"dense0": 35, "dense10": 2, "relu": 20}
    joined = np.concatenate([part.ravel() for part in parts]).astype(np.float32)
    np.testing.assert_allclose(heights["dense0"], np.histogram(joined, 40)[0])
    assert axes["relu"].get_title() == "relu\n50% saturated, 25% dead"
    assert axes["relu"].patches[0].get_facecolor() != axes["dense0"].patches[0].get_facecolor()


@pytest.mark.curriculum("O27")
def test_points_of_an_embedding_have_the_colour_and_the_name_of_their_class():
    points, labels = RNG.normal(size=(9, 2)), np.array([2, 0, 2, 5, 0, 2, 5, 5, 2])
    figure = images.scatter(points, labels, [f"class {c}" for c in "abcdef"])
    drawn = {c.get_label(): c for c in figure.axes[0].collections}
    assert list(drawn) == ["class a", "class c", "class f"]
    for c, name in ((0, "class a"), (2, "class c"), (5, "class f")):
        np.testing.assert_allclose(drawn[name].get_offsets(), points[labels == c])
    assert len({tuple(c.get_facecolor()[0]) for c in drawn.values()}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(drawn)


@pytest.mark.curriculum("O27")
def test_a_box_surrounds_its_pixels():
    """Pixels 2 to 4 of 10 rows and 5 to 9 of 20 columns; the centre of a pixel is a whole number."""
    _, axes = images.new_figure(1, 1)
    images.outline(axes[0, 0], [0.2, 0.25, 0.5, 0.5], (10, 20), edgecolor="red")
    (patch,) = axes[0, 0].patches
    assert (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()) == (4.5, 1.5, 5.0, 3.0)
    assert not patch.get_fill()
