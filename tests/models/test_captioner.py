"""The captioner against its equations in NumPy, parts against the whole, what depends on what, and what is written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data.captions import BEGIN, END
from cvdl_jax.models import registry
from cvdl_jax.models.multimodal import captioner
from cvdl_jax.nn.recurrent import Recurrent

WORDS, E, U, A, N, D, B, T = 7, 3, 4, 5, 6, 2, 2, 4
TOKENS = np.random.default_rng(1).integers(0, WORDS, (B, T)).astype(np.int32)
GRID = np.random.default_rng(2).normal(size=(B, N, D)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def made(attention):
    """(first state, writer, their parameters), all random, biases included."""
    first = captioner.FirstState(U, attention, A, jnp.float32)
    writer = captioner.Writer(WORDS, E, U, attention, A, 0.0, jnp.float32)
    rng = np.random.default_rng(0)
    carry, f = jax.jit(first.init_with_output)(jax.random.key(0), GRID)
    w = jax.jit(writer.init, static_argnums=3)(jax.random.key(1), TOKENS, carry, False)
    f, w = jax.tree.map(lambda p: p + 0.5 * rng.normal(size=p.shape).astype(np.float32), (f, w))
    return first, writer, f, w


@pytest.fixture(scope="module")
def soft():
    first, writer, f, w = made("soft")
    carry = jax.jit(first.apply)(f, GRID)
    run = jax.jit(lambda tokens, carry: writer.apply(w, tokens, carry, False))
    return f["params"], w["params"], carry, run


def numpy_captioner(f, w, tokens):
    """Equations 1 to 7 of Xu et al. 2015, one word after the other, in float64."""
    f, w = (jax.tree.map(lambda p: np.asarray(p, np.float64), tree) for tree in (f, w))
    mean = GRID.astype(np.float64).mean(1)
    h, c = (np.tanh(mean @ f[name]["kernel"] + f[name]["bias"]) for name in ("first_h", "first_c"))
    keys, weights = GRID @ f["keys"]["kernel"] + f["keys"]["bias"], {"logits": [], "alpha": []}
    for t in range(tokens.shape[1]):
        y = w["embedding"]["embedding"][tokens[:, t]]
        e = (np.tanh(keys + (h @ w["ask_kernel"])[:, None]) @ w["score_kernel"])[..., 0]  # [b, n]
        alpha = np.exp(e) / np.exp(e).sum(1, keepdims=True)
        beta = sigmoid(h @ w["gate"] + w["gate_bias"])
        z = beta * (alpha[..., None] * GRID).sum(1)
        gates = y @ w["input"]["kernel"] + w["input"]["bias"] + z @ w["context_kernel"] + h @ w["recurrent_kernel"]
        i, forget, g, o = np.split(gates, 4, 1)
        c = sigmoid(forget) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        deep = y + h @ w["of_state"]["kernel"] + w["of_state"]["bias"] + z @ w["of_context"]["kernel"]
        weights["logits"].append(deep @ w["head"]["kernel"] + w["head"]["bias"])
        weights["alpha"].append(alpha)
    return np.stack(weights["logits"], 1), np.stack(weights["alpha"], 1), h, c


@pytest.mark.curriculum("K12")
def test_a_caption_is_read_by_the_equations_of_the_paper(soft):
    f, w, carry, run = soft
    logits, last, alpha = run(TOKENS, carry)
    expected = numpy_captioner(f, w, TOKENS)
    for ours, theirs in zip((logits, alpha, last["h"], last["c"]), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(alpha.sum(-1), np.ones((B, T)), atol=1e-6)


@pytest.mark.curriculum("K12")
def test_a_caption_in_two_parts_equals_the_whole(soft):
    _, _, carry, run = soft
    logits, last, alpha = run(TOKENS, carry)
    first, between, seen = run(TOKENS[:, :2], carry)
    second, end, later = run(TOKENS[:, 2:], between)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), logits, atol=1e-6)
    np.testing.assert_allclose(jnp.concatenate([seen, later], 1), alpha, atol=1e-6)
    np.testing.assert_allclose(end["h"], last["h"], atol=1e-6)
    assert jax.tree.map(jnp.shape, end) == jax.tree.map(jnp.shape, carry)
    assert {x.shape[0] for x in jax.tree.leaves(carry)} == {B}


@pytest.mark.curriculum("K12")
def test_a_word_changes_what_comes_after_it_and_no_other_row(soft):
    _, _, carry, run = soft
    logits = run(TOKENS, carry)[0]
    changed = TOKENS.copy()
    changed[0, 2] = (changed[0, 2] + 1) % WORDS
    moved = np.abs(run(changed, carry)[0] - logits).max(-1) > 1e-5
    np.testing.assert_array_equal(moved, [[False, False, True, True], [False] * 4])
    darker = {**carry, "grid": carry["grid"].at[0].multiply(0.5)}
    moved = np.abs(run(TOKENS, darker)[0] - logits).max((1, 2)) > 1e-5
    np.testing.assert_array_equal(moved, [True, False])


@pytest.mark.curriculum("K12")
def test_without_attention_the_image_is_the_first_state_alone():
    first, writer, f, w = made("none")
    carry = jax.jit(first.apply)(f, GRID)
    assert carry.keys() == {"h", "c"}
    logits, last, alpha = jax.jit(writer.apply, static_argnums=3)(w, TOKENS, carry, False)
    assert alpha.shape == (B, T, 0) and last.keys() == {"h", "c"}
    w = w["params"]
    y = w["embedding"]["embedding"][TOKENS]
    params = {"input": w["input"], "recurrent_kernel": w["recurrent_kernel"]}
    states, _ = jax.jit(Recurrent("lstm", U).apply)({"params": params}, y, carry)
    deep = y + states @ w["of_state"]["kernel"] + w["of_state"]["bias"][None, None]
    np.testing.assert_allclose(logits, deep @ w["head"]["kernel"] + w["head"]["bias"][None, None], rtol=1e-5, atol=1e-5)


@pytest.mark.curriculum("K12")
def test_an_image_and_its_words_are_one_model():
    """`look` and `read` are the parts of a call; the grid is the stage that was asked for, row by row."""
    section = {"name": "captioner_tiny", "backbone": {"name": "convnet_tiny", "units": ()}, "level": 0}
    model = registry.create(section, "config.model", kinds=("multimodal",), words=WORDS)
    image = jax.random.uniform(jax.random.key(0), (B, 16, 16, 3))
    params = jax.jit(model.init, static_argnums=3)(jax.random.key(1), image, TOKENS, False)

    @jax.jit
    def both(params):
        carry = model.apply(params, image, False, method="look")
        whole = model.apply(params, image, TOKENS, False)
        _, out = model.backbone.apply({"params": params["params"]["backbone"]}, image, False)
        return carry, whole, model.apply(params, TOKENS, carry, False, method="read"), out["stages"]

    carry, (logits, out), (logits2, out2), stages = both(params)
    np.testing.assert_allclose(logits, logits2, atol=1e-6)
    np.testing.assert_allclose(out["attention"], out2["attention"], atol=1e-6)
    np.testing.assert_allclose(carry["grid"], stages[0].reshape(B, 64, 4), atol=1e-6)


@pytest.mark.curriculum("K12")
def test_what_is_written_is_read_before_the_next_word(soft):
    """Greedy writing equals a loop that reads the whole text so far; a beam's text is at least as probable."""
    _, _, carry, run = soft

    def read(tokens, carry):
        logits, carry, alpha = run(tokens, carry)
        return 3 * logits, {"carry": carry, "attention": alpha}

    greedy, beam = jax.jit(lambda carry: captioner.write(captioner.Decode(beams=3), read, carry, 5))(carry)

    def log_p(row, ids):
        one = {name: x[row : row + 1] for name, x in carry.items()}
        log_p = jax.nn.log_softmax(3 * run(np.asarray([[BEGIN, *ids[:-1]]], np.int32), one)[0][0])
        ended = ids.index(END) + 1 if END in ids else len(ids)
        return log_p, float(sum(log_p[t, ids[t]] for t in range(ended))), ended

    for row in range(B):
        ids = greedy[row].tolist()
        scores, total, ended = log_p(row, ids)
        np.testing.assert_array_equal(ids[:ended], np.argmax(scores, -1)[:ended])
        assert log_p(row, beam[row].tolist())[1] >= total - 1e-4 and set(ids[ended:]) <= {END}


def test_a_sentence_ends_and_unknown_words_are_nobodys():
    assert captioner.sentence([1, 5, 3, 6, 2, 9, 0]) == [5, 3, 6]
    assert captioner.sentence([5, 3, 0, 0], reference=True) == [5, -1]
    references = [[[1, 4, 2, 0], [0, 0, 0, 0]], [[1, 5, 6, 2], [1, 7, 2, 0]]]
    assert captioner.sentences(references) == [[[4]], [[5, 6], [7]]]
