"""The language experiment with a model of a fixed context: windows, what they count, and what must be set with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import make_model

from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state
from cvdl_jax.data import text
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from experiments import language

SMOKE = "configs/sequence/char_transformer.py:smoke"
KEY = jax.random.key(0)


@given(size=st.integers(1, 70), rows=st.integers(1, 6), length=st.integers(1, 9))
def test_windows_predict_every_character_once_from_enough_before_it(size, rows, length):
    ids = np.arange(size, dtype=np.int32)
    windows = text.evaluation_windows(ids, rows, length)
    assert windows["inputs"].shape == windows["targets"].shape and windows["inputs"].shape[1:] == (rows, length)
    real = windows["mask"] > 0
    np.testing.assert_array_equal(np.sort(windows["targets"][real]), ids)
    np.testing.assert_array_equal(windows["inputs"][real], windows["targets"][real] - 1)  # -1 before the first
    places = np.broadcast_to(np.arange(length), real.shape)[real]  # within the window: characters seen before
    seen = np.minimum(windows["targets"][real], length // 2)
    assert (places >= seen).all()
    for inputs, mask in zip(*(windows[k].reshape(-1, length) for k in ("inputs", "mask")), strict=True):
        inside = np.flatnonzero(mask)
        if len(inside):  # what is seen before is what stands before
            np.testing.assert_array_equal(np.diff(inputs[: inside[-1] + 1]), 1)


@pytest.fixture(scope="module")
def tiny():
    """A small task, and its first state with parameters far from zero."""
    built = build(configs.load(SMOKE, ["--config.batch_size=4", "--config.model.dropout=0.0"]))
    state = jax.jit(lambda key: create_state(built.task, key, {}))(KEY)
    return built, state._replace(params=jax.tree.map(lambda p: 4 * p, state.params))


def test_evaluation_equals_reading_with_a_carry(tiny):
    """One character after the other, as the sampler reads: the same loss, whatever the number of windows at a time."""
    _, state = tiny
    model = make_model("gpt_micro", 13, width=16, heads=2, depth=1, context=8)
    ids = text.load("additions").splits["validation"][:53]
    inputs = np.concatenate([[-1], ids[:-1]]).astype(np.int32)

    @jax.jit
    def everything(state):
        def read(carry, symbol):
            logits, out = model.apply({"params": state.params}, symbol[None, None], False, carry)
            return out["carry"], logits[0, 0]

        logits = jax.lax.scan(read, model.zero_carry(1), inputs)[1]
        return logits, [language.evaluation_step(model, ids, rows, state, {}, KEY) for rows in (1, 5)]

    logits, evaluations = everything(state)
    losses = -np.asarray(jax.nn.log_softmax(logits))[np.arange(53), ids]
    for sums in evaluations:
        means = {name: float(total / weight) for name, (total, weight) in sums.items()}
        assert means["characters"] == 53
        assert means["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert means["accuracy"] == pytest.approx((np.argmax(logits, -1) == ids).mean())


def test_training_begins_anew_with_every_window(tiny):
    """The loss is that of the windows alone, and nothing is carried but where the streams began."""
    _, state = tiny
    model = make_model("gpt_micro", 13, width=16, heads=2, depth=1, context=8)
    corpus = text.load("additions")
    assert state.rows["hidden"] == {}
    state = state._replace(step=jnp.int32(3))
    batch = text.cut(jnp.asarray(corpus.splits["train"]), state.rows["start"], state.step, 8)

    @jax.jit
    def both(state):
        read = language.read_on(corpus, 8, state, {}, KEY)[1]
        new, sums = language.training_loss(model, state, read, KEY)
        return new, sums, jax.nn.log_softmax(model.apply({"params": state.params}, batch["inputs"], True)[0])

    new, sums, log_p = both(state)
    expected = -np.take_along_axis(np.asarray(log_p), np.asarray(batch["targets"])[..., None], 2).mean()
    assert sums["loss"][1] == 4 * 8
    assert sums["loss"][0] / sums["loss"][1] == pytest.approx(expected, rel=1e-5)
    assert new.rows["hidden"] == {}
    np.testing.assert_array_equal(new.rows["start"], state.rows["start"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.streams.length=4", r"context=8 characters; set config.streams.length=8 and config.streams.reset=0"),
        ("--config.streams.reset=0.1", r"begins anew with every window .* set .* config.streams.reset=0.0"),
        ("--config.model.context=16", r"set config.streams.length=16"),
        ("--config.model.heads=3", r"config.model.heads=3 must divide config.model.width=16"),
        ("--config.model.name=transformer_tiny", "is made for source_symbols and target_symbols"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(build(configs.load(SMOKE, [override])).task.init, KEY, {})
