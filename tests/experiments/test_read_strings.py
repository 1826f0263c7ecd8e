"""Strings with a softmax for each place: the loss and both accuracies by hand, figures, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments import read_strings

CONFIG = "configs/classify/captcha.py:smoke"


@pytest.mark.curriculum("X14")
def test_a_string_is_right_when_every_symbol_is():
    """Three strings of two symbols, the last one padding: one right, one with its second place wrong."""
    p = np.full((3, 2, 3), 0.1)
    for row, symbols in enumerate(([0, 1], [2, 2], [1, 1])):
        p[row, np.arange(2), symbols] = 0.8
    batch = {"symbols": np.asarray([[0, 1], [2, 0], [1, 1]]), "mask": np.asarray([1.0, 1.0, 0.0])}
    flat = jnp.log(p).reshape(3, 6)  # as a backbone gives them: places first, then classes
    outputs = jax.device_get(
        read_strings.evaluation_step(
            lambda state, batch: read_strings.by_place(flat, 2), softmax_cross_entropy, "symbols", None, batch, None
        )
    )
    means = {k: v[0] / v[1] for k, v in outputs.items() if isinstance(v, tuple)}
    assert means["symbol_accuracy"] == 0.75 and means["string_accuracy"] == 0.5
    np.testing.assert_allclose(means["loss"], -(3 * np.log(0.8) + np.log(0.1)) / 4, rtol=1e-6)
    rows = {k: outputs[k][:2] for k in ("read", "truth")}
    metrics = read_strings.finalise(means, rows)
    assert (metrics["place0_accuracy"], metrics["place1_accuracy"]) == (1.0, 0.5)
    assert metrics["string_accuracy_low"] < 0.5 < metrics["string_accuracy_high"] and metrics["examples"] == 2


def test_the_figure_says_what_was_read():
    logits = jax.nn.one_hot(jnp.asarray([[0, 1], [1, 1]]), 2)
    batch = {"image": np.zeros((2, 8, 16, 1)), "symbols": np.asarray([[0, 1], [1, 0]])}
    figure = read_strings.report(lambda state, batch: logits, "symbols", ("A", "B"), None, batch, None)["predictions"]
    texts = [(text.get_text(), text.get_color()) for axis in figure.axes for text in axis.texts]
    assert texts == [("AB", "black"), ("BB, not BA", "tab:red")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.entry=letters", r"config.entry='letters' must name classes \[length\] beside an 'image'.*symbols"),
        ("--config.data.name=digits", "set config.data.name=captchas"),
        ("--config.data.features=('symbols',)", "beside an 'image'"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(CONFIG, [override]))


@pytest.mark.curriculum("X14")
def test_every_place_has_its_own_scores():
    """The smoke run: as many scores as places times symbols, and a gradient that reaches those of every place."""
    run = build(configs.load(CONFIG))
    shapes = jax.eval_shape(
        run.task.init, jax.random.key(0), {k: jnp.zeros(s.shape, s.dtype) for k, s in run.info.spec.items()}
    )
    assert shapes["params"]["head"]["kernel"].shape[-1] == 2 * 32
