"""The study of digit strings: the windows it learns from, and how readings are judged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.figures.strings import string_figure
from cvdl_jax.ops import viterbi
from experiments.studies import digit_strings
from experiments.studies.digit_strings import Study


def test_windows_have_the_class_of_a_digit_near_their_centre():
    study, none = Study(windows=200, around=0.5, near=2, far=5), 10
    columns = np.broadcast_to(np.arange(80.0, dtype=np.float32)[None, None, :, None], (2, 32, 80, 1))
    batch = {
        "image": jnp.asarray(columns),
        "digits": np.asarray([[7, 3], [1, 9]]),
        "centres": np.asarray([[16, 40], [30, 64]]),
    }
    _, new, _ = jax.jit(lambda b, k: digit_strings.cut(study, none, None, b, k))(batch, jax.random.key(0))
    image, label, weight = (np.asarray(new[name]) for name in ("image", "label", "weight"))
    assert image.shape == (400, 32, 32, 1) and set(np.unique(weight)) == {0, 1}
    middle = image[:, 0, 16, 0].astype(int)
    np.testing.assert_array_equal(image[:, 0, :, 0], middle[:, None] + np.arange(-16, 16))
    assert middle.min() == 16 and middle.max() == 64 and 220 < (label != none).sum() < 320
    for i, (m, c) in enumerate(zip(middle, label, strict=True)):
        distances = abs(batch["centres"][i // 200] - m)
        expected = batch["digits"][i // 200][distances.argmin()] if distances.min() <= 2 else none
        assert (c, weight[i]) == (expected, not 2 < distances.min() < 5)


@pytest.mark.curriculum("H32")
def test_a_string_is_right_when_all_its_digits_are_and_none_besides():
    """Twice the same digit: greedy reading takes neighbours for one; the count makes up for a digit that is faint."""
    grammars = {"viterbi": viterbi.at_most_one_per_width(2, 2, 2), "counted": viterbi.at_most_one_per_width(2, 2, 2, 2)}
    p = np.full((3, 6, 3), 0.05)
    for row, labels in enumerate(([0, 0, 0, 0, 2, 2], [2, 1, 2, 0, 2, 2], [2, 1, 2, 2, 2, 2])):
        p[row, np.arange(6), labels] = 0.9
    p[2, 4] = [0.4, 0.0001, 0.5999]  # the second digit of the last string
    batch = {"digits": np.asarray([[0, 0], [1, 0], [1, 0]]), "mask": np.ones(3, np.float32), "image": None}
    step = lambda b: digit_strings.evaluation_step(lambda state, image: jnp.log(p), grammars, None, b, None)  # noqa: E731
    rows = jax.device_get(jax.jit(step)({**batch, "image": np.zeros(())}))
    right = {name: rows[f"{name}_right"].tolist() for name in digit_strings.WAYS}
    assert right == {"greedy": [False, True, False], "viterbi": [True, True, False], "counted": [True, True, True]}
    means = {name: float(rows[name][0] / rows[name][1]) for name in rows if name.endswith("accuracy")}
    metrics = digit_strings.finalise(means, rows)
    assert metrics["counted_accuracy"] == 1 and metrics["greedy_accuracy"] == pytest.approx(1 / 3)
    assert metrics["viterbi_gain"] == pytest.approx(1 / 3) and metrics["counted_p"] == 0.5
    ends = [metrics["counted_gain_low"], metrics["counted_gain_high"]]
    assert metrics["counted_gain"] == pytest.approx(2 / 3) == np.mean(ends) and ends[0] < 0 < ends[1]
    same = digit_strings.finalise(means, {name: np.ones(3, bool) for name in rows if name.endswith("right")})
    assert same["viterbi_gain"] == 0 and same["viterbi_p"] == 1 and "viterbi_gain_low" not in same


def test_the_figure_says_what_was_read():
    probabilities = np.eye(3)[[[2, 0, 2, 1], [2, 2, 1, 2]]]
    readings = {"greedy": [[0, 1, -1, -1], [1, -1, -1, -1]], "viterbi": [[0, 1, -1, -1], [-1, -1, -1, -1]]}
    figure = string_figure(np.zeros((2, 8, 20, 1)), [[0, 1], [1, 1]], probabilities, probabilities.argmax(-1), readings)
    titles = {part.axes[0].get_title(): part.axes[0].title.get_color() for part in figure.subfigs}
    assert titles == {"01, greedy 01, viterbi 01": "black", "11, greedy 1, viterbi nothing": "tab:red"}
    (points, _) = figure.subfigs[0].axes[1].lines
    assert points.get_xdata().tolist() == [8.0, 16.0] and points.get_ydata().tolist() == [0, 1]
