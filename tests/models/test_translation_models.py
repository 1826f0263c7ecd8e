"""Models that translate, of both families: caches, padding, what a prediction sees, and each family against a loop."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.sequence.seq2seq import AttentiveGRU
from cvdl_jax.nn.transformer import Block, Given
from cvdl_jax.ops.attention import additive_scores
from cvdl_jax.ops.positions import sinusoidal

SIZES = (6, 4, 0)  # of the sources; the last one is empty
MODELS = {
    "transformer": {"name": "transformer_tiny", "attention_weights": True, "dropout": 0.0},
    "pre_norm": {"name": "transformer_tiny", "norm_first": True, "shared": False, "dropout": 0.0},
    "attention": {"name": "seq2seq_attention_tiny"},
    "plain": {"name": "seq2seq_plain_tiny"},
}
RANDOM = np.random.default_rng(0)
SOURCE = np.where(np.arange(6)[None] < np.asarray(SIZES)[:, None], RANDOM.integers(3, 17, (3, 6)), 0).astype(np.int32)
SYMBOLS = np.concatenate([np.ones((3, 1)), RANDOM.integers(3, 17, (3, 6))], 1).astype(np.int32)


def make(section, source=17, target=17, **more):
    context = {"source_symbols": source, "target_symbols": target}
    return registry.create(section, "config.model", kinds=("sequence",), dtype="float32", **context, **more)


@pytest.fixture(scope="module", params=MODELS)
def made(request):
    """A model with parameters far from zero, and its compiled methods."""
    model = make(MODELS[request.param])
    params = jax.jit(lambda key: model.init(key, SOURCE, SYMBOLS, False))(jax.random.key(0))
    params = jax.tree.map(lambda p: p * (1.5 if p.ndim > 1 else 1.0), params)
    return SimpleNamespace(
        name=request.param,
        model=model,
        params=params,
        whole=jax.jit(lambda source, symbols: model.apply(params, source, symbols, False)),
        encode=jax.jit(lambda source: model.apply(params, source, False, method="encode")),
        decode=jax.jit(lambda y, memory, carry: model.apply(params, y, memory, False, carry, method="decode")),
    )


@pytest.mark.curriculum("J11", "J12")
def test_symbols_one_after_the_other_have_the_scores_of_all_at_once(made):
    expected, out = made.whole(SOURCE, SYMBOLS)
    memory = made.encode(SOURCE)
    carry = made.model.start(memory, 7)
    assert {x.shape[0] for x in jax.tree.leaves((memory, carry))} == {3}  # rows, for a beam search
    logits, maps = [], []
    for at, t in ((0, 1), (1, 1), (2, 5)):
        step, new = made.decode(SYMBOLS[:, at : at + t], memory, carry)
        carry = new["carry"]
        logits.append(step)
        maps += [new["attention"]] if "attention" in new else []
    np.testing.assert_allclose(jnp.concatenate(logits, 1), expected, atol=1e-5)
    assert expected.shape == (3, 7, 17) and np.isfinite(expected).all()  # of the empty source, too
    if maps:
        np.testing.assert_allclose(jnp.concatenate(maps, 1), out["attention"], atol=1e-5)


@pytest.mark.curriculum("J6")
def test_a_prediction_sees_earlier_symbols_and_no_later_one(made):
    before = np.asarray(made.whole(SOURCE, SYMBOLS)[0])
    for place in (1, 4, 6):
        changed = SYMBOLS.copy()
        changed[:, place] = 3 + (changed[:, place] + 1) % 14
        difference = np.abs(np.asarray(made.whole(SOURCE, changed)[0]) - before).max(-1)  # [b, t]
        np.testing.assert_allclose(difference[:, :place], 0, atol=1e-6)
        assert (difference[:, place:] > 1e-5).all()


@pytest.mark.curriculum("J7", "J30", "K2")
def test_every_word_of_the_source_is_seen_and_no_padding(made):
    """All predictions change with any word of their own source, and with no other row's; a source has the scores that
    it has without padding; the empty one has none to change.
    """
    before = np.asarray(made.whole(SOURCE, SYMBOLS)[0])
    for place in range(6):
        changed = SOURCE.copy()
        changed[0, place] = 3 + (changed[0, place] + 1) % 14
        difference = np.abs(np.asarray(made.whole(changed, SYMBOLS)[0]) - before).max(-1)  # [b, t]
        assert (difference[0] > 1e-6).all() and difference[1:].max() == 0
    for row, size in enumerate(SIZES[:2]):
        longer = np.pad(SOURCE[row : row + 1, :size], ((0, 0), (0, 9 - size)))
        alone, out = made.whole(longer, SYMBOLS[row : row + 1])
        np.testing.assert_allclose(alone[0], before[row], atol=1e-5)
        if "attention" in out:
            np.testing.assert_allclose(out["attention"].sum(-1), 1, rtol=1e-5)
            assert not np.asarray(out["attention"])[..., size:].any()


@pytest.mark.curriculum("J8", "J12")
def test_the_transformer_is_its_blocks_on_vectors_times_the_root_of_the_width_plus_positions():
    model, rows = make(MODELS["transformer"]), (SOURCE[:2], SYMBOLS[:2])

    @jax.jit
    def both(key):
        params = model.init(key, *rows, False)["params"]
        x, y = (params["embedding"]["table"][s] * 8**0.5 + sinusoidal(s.shape[1], 8)[None] for s in rows)
        how, lengths = {"norm_first": False, "activation": "relu"}, jnp.asarray(SIZES[:2])
        for i in range(2):
            x, _ = Block(2, 16, **how).apply({"params": params[f"encoder{i}"]}, x, False, Given(lengths=lengths))
        for i in range(2):
            block = Block(2, 16, **how, cross=True, causal=True, attention_weights=True)
            given = Given(context=x, context_lengths=lengths)
            y, out = block.apply({"params": params[f"decoder{i}"]}, y, False, given)
        expected = y @ params["embedding"]["table"].T, out["cross_weights"].mean(1)
        logits, out = model.apply({"params": params}, *rows, False)
        return (logits, out["attention"]), expected

    for ours, expected in zip(*both(jax.random.key(0)), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.curriculum("J4", "J30")
def test_the_attentive_layer_equals_a_loop():
    """The additive scores of the state before, then the cell on the input and what was attended."""
    layer, b, t, s, d, e, u = AttentiveGRU(4), 2, 3, 5, 3, 6, 4
    x, h, z = (RANDOM.normal(size=shape).astype(np.float32) for shape in ((b, t, d), (b, u), (b, s, e)))
    w_k = RANDOM.normal(size=(e, u)).astype(np.float32)
    length = np.asarray([5, 3])
    params = layer.init(jax.random.key(0), x, h, z, z @ w_k, length)["params"]
    params = jax.tree.map(lambda p: RANDOM.normal(size=p.shape).astype(np.float32), params)
    states, contexts, shares = layer.apply({"params": params}, x, h, z, z @ w_k, length)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    for i in range(b):
        before = h[i]
        for j in range(t):
            n = length[i]
            scores = np.asarray(
                additive_scores(before[None], z[i, :n], params["query_kernel"], w_k, params["score_kernel"][:, 0])
            )
            a = np.exp(scores[0]) / np.exp(scores[0]).sum()
            c = a @ z[i, :n]
            inputs = x[i, j] @ params["input"]["kernel"] + params["input"]["bias"] + c @ params["context_kernel"]
            inner = before @ params["recurrent_kernel"]
            r, update = sigmoid(inputs[:u] + inner[:u]), sigmoid(inputs[u : 2 * u] + inner[u : 2 * u])
            new = np.tanh(inputs[2 * u :] + r * (inner[2 * u :] + params["recurrent_bias"]))
            before = (1 - update) * new + update * before
            np.testing.assert_allclose(shares[i, j, :n], a, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(contexts[i, j], c, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(states[i, j], before, rtol=1e-4, atol=1e-5)
    assert not np.asarray(shares[1, :, 3:]).any()


@pytest.mark.parametrize(
    ("section", "context", "message"),
    [
        ({"name": "transformer_tiny"}, {"target": 19}, r"shared=True needs one vocabulary.* 17 and 19 symbols"),
        ({"name": "transformer_tiny", "heads": 3}, {}, r"config\.model\.heads=3 must divide config\.model\.width=8"),
        ({"name": "transformer_tiny", "dropout": 1.0}, {}, r"config\.model\.dropout=1.0 must be in \[0, 1\)"),
        ({"name": "seq2seq_plain", "layers": 0}, {}, r"config\.model\.layers=0 must be from 1 to 1,000"),
        ({"name": "lstm"}, {}, r"'lstm' is made for num_classes, and is given source_symbols and target_symbols"),
    ],
)
def test_mistakes_are_named(section, context, message):
    with pytest.raises(ConfigError, match=message):
        make(section, **context).init(jax.random.key(0), SOURCE, SYMBOLS, False)


def test_a_word_outside_the_vocabulary_is_an_error(made):
    with pytest.raises(ValueError, match=r"symbols\[0, 0\]=.* must be in \[-1, 16\]"):
        made.model.apply(made.params, SOURCE + 17, False, method="encode")
    with pytest.raises(ValueError, match=r"must be in \[-1, 16\]"):
        made.model.apply(made.params, SYMBOLS + 17, made.encode(SOURCE), False, method="decode")


def test_half_precision_is_close_and_scores_stay_float32(made):
    model = made.model.clone(dtype=jnp.bfloat16)
    logits, _ = jax.jit(lambda: model.apply(made.params, SOURCE, SYMBOLS, False))()
    expected = np.asarray(made.whole(SOURCE, SYMBOLS)[0])
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.06 * np.abs(expected).max())
