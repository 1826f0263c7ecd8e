"""Attention layers and blocks: causality, caches, two sequences, both places of the norm, against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from cvdl_jax.nn import attention as attention_module
from cvdl_jax.nn.attention import Attention, zero_carry
from cvdl_jax.nn.transformer import Block, Given

D, HEADS, N, M = 8, 2, 5, 4


def tokens(seed, n=N, b=2):
    return jax.random.normal(jax.random.key(seed), (b, n, D))


def start(layer, *args, **kwargs):
    """Parameters with biases that are not zero."""
    params = layer.init(jax.random.key(7), *args, **kwargs)["params"]
    return jax.tree.map(lambda p: p + 0.03, params)


def heads_of(x, dense):
    y = np.asarray(x) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    return y.reshape(*y.shape[:-1], HEADS, D // HEADS)


def by_hand(params, x, keys, values, seen):
    """Attention of three separate products by a loop over rows, heads and queries."""
    q, k, v = (heads_of(a, params[name]) for a, name in ((x, "query"), (keys, "key"), (values, "value")))
    y = np.zeros(q.shape)
    for r in range(q.shape[0]):
        for h in range(HEADS):
            for i in range(q.shape[1]):
                allowed = [j for j in range(k.shape[1]) if seen[r, i, j]]
                if not allowed:
                    continue
                w = special.softmax([q[r, i, h] @ k[r, j, h] / np.sqrt(D / HEADS) for j in allowed])
                y[r, i, h] = sum(a * v[r, j, h] for a, j in zip(w, allowed, strict=True))
    return y.reshape(*x.shape) @ np.asarray(params["proj"]["kernel"]) + np.asarray(params["proj"]["bias"])


@pytest.mark.curriculum("J5")
def test_one_product_for_all_heads_equals_three_products():
    x, packed = tokens(0), Attention(HEADS)
    params = start(packed, x, False)
    kernel, bias = jnp.split(params["qkv"]["kernel"], 3, 1), jnp.split(params["qkv"]["bias"], 3)
    parts = {name: {"kernel": kernel[i], "bias": bias[i]} for i, name in enumerate(("query", "key", "value"))}
    apart = {**parts, "proj": params["proj"]}
    y = packed.apply({"params": params}, x, False)[0]
    np.testing.assert_allclose(Attention(HEADS, packed=False).apply({"params": apart}, x, False)[0], y, atol=1e-5)
    np.testing.assert_allclose(y, by_hand(apart, x, x, x, np.ones((2, N, N), bool)), atol=1e-4)


@pytest.mark.curriculum("J7")
def test_cross_attention_takes_keys_and_values_of_the_other_sequence():
    """Keys and values of their own tokens, with padding and a mask; a row without any keys gets the last bias."""
    x, context, values = tokens(0), tokens(1, M), tokens(2, M)
    layer = Attention(HEADS)
    params = start(layer, x, False, context=context, values=values)
    lengths, mask = jnp.array([3, 0]), jnp.ones((2, 1, N, M), bool).at[0, 0, 2, 1].set(False)
    y, _ = layer.apply({"params": params}, x, False, context=context, values=values, lengths=lengths, mask=mask)
    seen = np.asarray(mask[:, 0]) & (np.arange(M)[None, None] < np.asarray(lengths)[:, None, None])
    np.testing.assert_allclose(y, by_hand(params, x, context, values, seen), atol=1e-4)
    np.testing.assert_allclose(y[1], np.broadcast_to(params["proj"]["bias"], (N, D)), atol=1e-6)


@pytest.mark.curriculum("J6")
@pytest.mark.parametrize("rotary", [False, True])
def test_causal_outputs_do_not_change_with_later_tokens(rotary):
    layer = Block(HEADS, 16, causal=True, rotary=rotary)
    x = tokens(0)
    params = start(layer, x, False)
    run = jax.jit(lambda x: layer.apply({"params": params}, x, False)[0])
    y = run(x)
    changed = run(x.at[:, 3, 0].add(5.0))
    np.testing.assert_array_equal(changed[:, :3], y[:, :3])
    assert (jnp.abs(changed[:, 3:] - y[:, 3:]).max((0, 2)) > 1e-4).all()  # the token itself and the later one
    free = Block(HEADS, 16, rotary=rotary).apply({"params": params}, x, False)[0]
    assert (jnp.abs(free - y)[:, :4].max((0, 2)) > 1e-4).all()
    np.testing.assert_allclose(free[:, -1], y[:, -1], atol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
def test_a_cache_gives_what_reading_everything_at_once_gives(rotary):
    """Rows at different places: row 0 has read three tokens before, row 1 none; then two more each."""
    layer = Block(HEADS, 16, causal=True, rotary=rotary)
    x = tokens(0)
    params = start(layer, x, False)
    whole = layer.apply({"params": params}, x, False)[0]
    step = jax.jit(lambda x, carry, place: layer.apply({"params": params}, x, False, Given(carry=carry, place=place)))
    kept = zero_carry(2, N, HEADS, D // HEADS)
    y, out = step(x[:, :3], kept, jnp.zeros(2, jnp.int32))
    np.testing.assert_allclose(y, whole[:, :3], atol=1e-5)
    carry = jax.tree.map(lambda new, old: new.at[1].set(old[1]), out["carry"], kept)
    asked = jnp.stack([x[0, 3:5], x[1, 0:2]])
    y, out = step(asked, carry, jnp.array([3, 0]))
    np.testing.assert_allclose(y, jnp.stack([whole[0, 3:5], whole[1, 0:2]]), atol=1e-5)
    y, _ = step(asked, out["carry"], jnp.array([4, 2]))  # row 0 has no room for two more
    assert jnp.isnan(y[0]).all() and jnp.isfinite(y[1]).all()


def layer_norm(x, p):
    x = np.asarray(x, np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * np.asarray(p["scale"]) + np.asarray(p["bias"])


def perceptron(x, params):
    z = x @ np.asarray(params["dense0"]["kernel"]) + np.asarray(params["dense0"]["bias"])
    z = z * special.ndtr(z)  # exact GELU
    return z @ np.asarray(params["dense1"]["kernel"]) + np.asarray(params["dense1"]["bias"])


@pytest.mark.curriculum("J10", "J11")
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("cross", [True, False])
def test_a_block_equals_its_equations(norm_first, cross):
    """Pre- and post-norm, of an encoder and of a decoder: causal to itself, free to the encoder's tokens."""
    layer = Block(HEADS, 16, norm_first=norm_first, cross=cross, causal=cross, packed=False)
    x, context = tokens(0), tokens(1, M)
    given = Given(context=context, context_lengths=jnp.array([M, 2])) if cross else Given(lengths=jnp.array([N, 3]))
    params = start(layer, x, False, given)
    y, _ = layer.apply({"params": params}, x, False, given)
    own = np.broadcast_to(np.tri(N, dtype=bool), (2, N, N)) if cross else np.ones((2, N, N), bool)
    own = own if cross else own & (np.arange(N) < np.array([[N], [3]]))[:, None]
    other = np.ones((2, N, M), bool) & (np.arange(M) < np.array([[M], [2]]))[:, None]
    parts = [("norm0", lambda a: by_hand(params["attention"], a, a, a, own))]
    parts += [("norm_cross", lambda a: by_hand(params["cross"], a, context, context, other))] if cross else []
    parts += [("norm1", lambda a: perceptron(a, params))]
    expected = np.asarray(x, np.float64)
    for norm, part in parts:
        if norm_first:
            expected = expected + part(layer_norm(expected, params[norm]))
        else:
            expected = layer_norm(expected + part(expected), params[norm])
    np.testing.assert_allclose(y, expected, atol=2e-4)


def test_positions_are_added_to_queries_and_keys_but_not_to_values():
    layer = Block(HEADS, 16, norm_first=False, cross=True)
    x, context = tokens(0), tokens(1, M)
    at, context_at = 0.5 * tokens(3, b=1), 0.5 * tokens(4, M, b=1)
    given = Given(positions=at, context=context, context_positions=context_at)
    params = start(layer, x, False, given)
    y, out = layer.clone(attention_weights=True).apply({"params": params}, x, False, given)
    every = np.ones((2, N, N), bool)
    z = layer_norm(x + by_hand(params["attention"], x + at, x + at, x, every), params["norm0"])
    crossed = by_hand(params["cross"], z + np.asarray(at), context + context_at, context, every[:, :, :M])
    z = layer_norm(z + crossed, params["norm_cross"])
    np.testing.assert_allclose(y, layer_norm(z + perceptron(z, params), params["norm1"]), atol=2e-4)
    assert out["weights"].shape == (2, HEADS, N, N) and out["cross_weights"].shape == (2, HEADS, N, M)


def test_what_does_not_fit_is_refused():
    x, context = tokens(0), tokens(1, M)
    with pytest.raises(ValueError, match="takes the tokens of another sequence"):
        Block(HEADS, 16).init(jax.random.key(0), x, False, Given(context=context))
    with pytest.raises(ValueError, match="takes the tokens of another sequence"):
        Block(HEADS, 16, cross=True).init(jax.random.key(0), x, False)
    with pytest.raises(ValueError, match="cannot be causal"):
        Attention(HEADS, causal=True).init(jax.random.key(0), x, False, context=context)
    with pytest.raises(ValueError, match=r"must be \[2 or 1, 2 or 1, 5 or 1, 5\], got \(2, 5\)"):
        Attention(HEADS).init(jax.random.key(0), x, False, mask=jnp.ones((2, 5), bool))


def test_causal_attention_and_lengths_are_fused(monkeypatch):
    """With XLA's form of the fused function in cuDNN's place; a row without keys is zero there, too."""
    fused, how = jax.nn.dot_product_attention, []

    def noted(*args, implementation, **kwargs):
        how.append((implementation, sorted(kwargs)))
        return fused(*args, implementation="xla", **kwargs)

    x, layer, lengths = tokens(0), Attention(HEADS, causal=True), jnp.array([3, 0])
    params = start(layer, x, False)
    run = partial(layer.apply, {"params": params}, x, False, lengths=lengths)
    plain = run()[0]
    monkeypatch.setattr(attention_module, "fuses", lambda dtype, channels: True)
    monkeypatch.setattr(jax.nn, "dot_product_attention", noted)
    np.testing.assert_allclose(run()[0], plain, atol=1e-5)
    run(mask=jnp.ones((1, 1, N, N), bool))
    assert how == [("cudnn", ["is_causal", "key_value_seq_lengths"])]
