"""The decoder-only Transformer: what it sees, its carry against a call without one, and what is forgotten when."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.errors import ConfigError
from cvdl_jax.models.sequence import recurrent

SYMBOLS = np.random.default_rng(0).integers(0, 13, (3, 21)).astype(np.int32)


@functools.cache
def made(rotary=False):
    """(model, parameters far from zero, the compiled call without a carry, and with one)."""
    model = make_model("gpt_tiny", 13, rotary=rotary)
    params = jax.jit(lambda k: model.init(k, SYMBOLS[:, :8], False))(jax.random.key(0))
    params = jax.tree.map(lambda p: p * 5, params)
    whole = jax.jit(lambda symbols: model.apply(params, symbols, False)[0])
    goes_on = jax.jit(lambda symbols, carry: model.apply(params, symbols, False, carry))
    return model, params, whole, goes_on


POSITIONS = pytest.mark.parametrize("rotary", [False, True], ids=["learned", "rotary"])


@pytest.mark.curriculum("J6")
def test_a_prediction_sees_what_came_before_and_nothing_after():
    """Scores of place i change with the symbols 0 ... i, each of them, and with no later one."""
    _, _, whole, _ = made()
    symbols = SYMBOLS[:1, :8]
    before = np.asarray(whole(symbols))
    for place in range(8):
        changed = symbols.copy()
        changed[0, place] = (changed[0, place] + 1) % 13
        difference = np.abs(np.asarray(whole(changed)) - before).max(-1)[0]  # [t]
        np.testing.assert_allclose(difference[:place], 0, atol=1e-6)
        assert (difference[place:] > 1e-4).all()


@POSITIONS
def test_a_carry_goes_on_where_it_was(rotary):
    """Cut anywhere, a sequence within the context has the scores of one call; -1 is a symbol of zeros in both."""
    model, _, whole, goes_on = made(rotary)
    symbols = SYMBOLS[:, :8].copy()
    symbols[:, 0] = -1
    expected = whole(symbols)
    for cuts in ((3, 5), (1,) * 8):
        carry, parts, at = model.zero_carry(3), [], 0
        for t in cuts:
            logits, out = goes_on(symbols[:, at : at + t], carry)
            carry, at = out["carry"], at + t
            parts.append(logits)
        np.testing.assert_allclose(jnp.concatenate(parts, 1), expected, atol=1e-5)
    assert carry["place"].tolist() == [8, 8, 8]
    np.testing.assert_array_equal(carry["symbols"], symbols)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(carry)} == {3}


@POSITIONS
def test_beyond_its_context_it_forgets_the_older_half(rotary):
    """One symbol at a time: the n-th is predicted from a window that begins at a multiple of half a context."""
    model, _, whole, goes_on = made(rotary)
    carry = model.zero_carry(3)
    for n in range(21):
        logits, out = goes_on(SYMBOLS[:, n : n + 1], carry)
        carry = out["carry"]
        begin = 0 if n < 8 else 4 * (n // 4 - 1)
        window = np.zeros((3, 8), np.int32)
        window[:, : n - begin + 1] = SYMBOLS[:, begin : n + 1]
        np.testing.assert_allclose(logits[:, 0], whole(window)[:, n - begin], atol=1e-5, err_msg=str(n))


def test_rows_are_full_at_different_times():
    """Rows that have read more and less go on as if each were alone."""
    model, _, _, goes_on = made()
    carries = [model.zero_carry(1)] * 2
    sizes = (8, 5)
    for i, size in enumerate(sizes):
        for at in range(size):
            _, out = goes_on(SYMBOLS[i : i + 1, at : at + 1], carries[i])
            carries[i] = out["carry"]
    alone = [goes_on(SYMBOLS[i : i + 1, size : size + 1], carries[i])[0] for i, size in enumerate(sizes)]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *carries)
    last = np.stack([SYMBOLS[i, size : size + 1] for i, size in enumerate(sizes)])
    logits, out = goes_on(last, both)
    np.testing.assert_allclose(logits, jnp.concatenate(alone), atol=1e-5)
    assert out["carry"]["place"].tolist() == [5, 6]


def test_a_sample_is_longer_than_the_context():
    model, params, _, _ = made()
    drawn = jax.jit(lambda key: recurrent.sample(model, params["params"], SYMBOLS[0, :2], key, 20, jnp.float32(1e-4)))
    drawn = np.asarray(drawn(jax.random.key(1)))
    assert drawn.shape == (20,) and drawn.min() >= 0 and drawn.max() < 13
    assert len(set(drawn.tolist())) > 1


def test_symbols_that_are_none_and_sequences_that_are_too_long_are_refused():
    model, params, whole, _ = made()
    with pytest.raises(ConfigError, match=r"config.model.context=8 symbols are the most .* got 9; .*streams.length=8"):
        model.apply(params, SYMBOLS[:, :9], False)
    with pytest.raises(ValueError, match=r"symbols\[0, 1\]=13 must be in \[-1, 12\]"):
        model.apply(params, np.asarray([[0, 13]]), False)
    assert np.isnan(whole(np.full((1, 8), 13))).all()  # where it cannot be read, a number that stops a run
    with pytest.raises(ConfigError, match=r"config.model.heads=3 must divide config.model.width=8"):
        make_model("gpt_tiny", 13, heads=3).init(jax.random.key(0), SYMBOLS[:, :2], False)


def test_rematerialisation_changes_nothing():
    plain, again = (make_model("gpt_tiny", 13, depth=1, remat=remat) for remat in (False, True))
    params = made()[1]
    params = {"params": {name: p for name, p in params["params"].items() if name != "block1"}}

    @jax.jit
    def grads(params):
        return [jax.grad(lambda p, m=m: m.apply(p, SYMBOLS[:, :8], True)[0].std())(params) for m in (plain, again)]

    assert "remat" in str(grads.trace(params).jaxpr)
    for one, other in zip(*map(jax.tree.leaves, grads(params)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
