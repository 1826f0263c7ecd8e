"""Recurrent cells against loops in NumPy, against Flax's own cells with the same weights, and by their gradients."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.errors import ConfigError
from cvdl_jax.models.sequence import recurrent as models
from cvdl_jax.nn import recurrent
from cvdl_jax.nn.recurrent import CELLS, Bidirectional, Recurrent

B, T, D, U = 3, 7, 5, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {"rnn": np.tanh, "rnn_sigmoid": sigmoid, "rnn_relu": lambda z: np.maximum(z, 0)}
ONE_PRODUCT = [name for name, cell in CELLS.items() if not cell.by_kernel]


def numpy_layer(cell, params, x, carry):
    """The equations of a layer, one time and one gate after the other, in float64."""
    w, b = (np.asarray(params["input"][k], np.float64) for k in ("kernel", "bias"))
    u = np.asarray(params["recurrent_kernel"], np.float64)
    h, c = np.asarray(carry["h"], np.float64), np.asarray(carry.get("c", 0), np.float64)
    states = []
    for t in range(x.shape[1]):
        block = [(w[:, k : k + U], b[k : k + U], u[:, k : k + U]) for k in range(0, w.shape[1], U)]
        x_t = x[:, t].astype(np.float64)
        if cell in FUNCTIONS:
            h = FUNCTIONS[cell](np.concatenate([x_t, h], 1) @ np.concatenate([block[0][0], block[0][2]]) + b)
        elif cell == "lstm":
            i, f, g, o = (x_t @ w_k + b_k + h @ u_k for w_k, b_k, u_k in block)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (w_r, b_r, u_r), (w_z, b_z, u_z), (w_n, b_n, u_n) = block
            r, z = sigmoid(x_t @ w_r + b_r + h @ u_r), sigmoid(x_t @ w_z + b_z + h @ u_z)
            if cell == "gru_before":  # as Cho et al. 2014
                n = np.tanh(x_t @ w_n + b_n + (r * h) @ u_n)
            else:  # as torch.nn.GRU
                n = np.tanh(x_t @ w_n + b_n + r * (h @ u_n + np.asarray(params["recurrent_bias"], np.float64)))
            h = (1 - z) * n + z * h
        states.append(h)
    return np.stack(states, 1), {"h": h, "c": c}


def made(cell, seed=0, **fields):
    """A layer with random weights, biases included, an input and a state."""
    rng = np.random.default_rng(seed)
    layer = Recurrent(cell, U, **fields)
    x = rng.normal(size=(B, T, D)).astype(np.float32)
    params = layer.init(jax.random.key(seed), x)["params"]
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)
    carry = {name: rng.normal(size=(B, U)).astype(np.float32) for name in CELLS[cell].carry}
    return layer, params, x, carry


# each cell is its own row of the curriculum
CELL_ROWS = [
    pytest.param("rnn", marks=pytest.mark.curriculum("K1")),
    pytest.param("lstm", marks=pytest.mark.curriculum("K7")),
    pytest.param("gru", marks=pytest.mark.curriculum("K8")),
]
OTHERS = [
    pytest.param("rnn_sigmoid", marks=pytest.mark.curriculum("K1")),
    pytest.param("rnn_relu", marks=pytest.mark.curriculum("K1")),
    pytest.param("gru_before", marks=pytest.mark.curriculum("K8")),
]


@pytest.mark.parametrize("cell", [*CELL_ROWS, *OTHERS])
def test_layer_equals_a_loop_in_numpy(cell):
    """For the vanilla cell the loop has the concatenated form, [x, h] [W; U]."""
    layer, params, x, carry = made(cell)
    states, last = layer.apply({"params": params}, x, carry)
    expected, expected_last = numpy_layer(cell, params, x, carry)
    np.testing.assert_allclose(states, expected, rtol=1e-5, atol=1e-6)
    for name in last:
        np.testing.assert_allclose(last[name], expected_last[name], rtol=1e-5, atol=1e-6)


def flax_cell(cell, params):
    """Flax's cell and our weights in its names."""
    w, b, u = params["input"]["kernel"], params["input"]["bias"], params["recurrent_kernel"]
    part = [slice(k, k + U) for k in range(0, w.shape[1], U)]
    if cell == "rnn":
        return nn.SimpleCell(U), {"i": {"kernel": w, "bias": b}, "h": {"kernel": u}}
    if cell == "lstm":
        gates = dict(zip("ifgo", part, strict=True))
        names = {f"i{g}": {"kernel": w[:, s]} for g, s in gates.items()}
        return nn.OptimizedLSTMCell(U), names | {f"h{g}": {"kernel": u[:, s], "bias": b[s]} for g, s in gates.items()}
    gates = dict(zip("rzn", part, strict=True))
    names = {f"i{g}": {"kernel": w[:, s], "bias": b[s]} for g, s in gates.items()}
    names |= {f"h{g}": {"kernel": u[:, s]} for g, s in gates.items()}
    names["hn"]["bias"] = params["recurrent_bias"]
    return nn.GRUCell(U), names


@pytest.mark.parametrize("cell", CELL_ROWS)
def test_layer_equals_flax_with_the_same_weights(cell):
    layer, params, x, carry = made(cell)
    theirs, names = flax_cell(cell, params)
    start = (carry["c"], carry["h"]) if cell == "lstm" else carry["h"]
    expected = nn.RNN(theirs).apply({"params": {"cell": names}}, x, initial_carry=start)
    np.testing.assert_allclose(layer.apply({"params": params}, x, carry)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ONE_PRODUCT)
def test_only_products_with_the_state_are_inside_the_scans(cell):
    """Those of the inputs come before the scan, and the gradient of the state's matrix is one product after it."""
    layer, params, x, carry = made(cell)
    jaxpr = jax.make_jaxpr(jax.grad(lambda p: layer.apply({"params": p}, x, carry)[0].sum()))(params).jaxpr
    scans = [e.params["jaxpr"].jaxpr for e in jaxpr.eqns if e.primitive.name == "scan"]
    inside = [[e for e in scan.eqns if e.primitive.name == "dot_general"] for scan in scans]
    width = CELLS[cell].blocks * U
    assert [[e.outvars[0].aval.shape for e in products] for products in inside] == [[(B, width)], [(B, U)]]
    outside = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    sizes = [e.outvars[0].aval.size for e in outside]
    assert set(sizes) == {B * T * width, D * width, U * width} and sizes.count(U * width) == 1


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ONE_PRODUCT)
def test_the_gradient_is_that_of_a_loop(cell, reverse):
    """Of the states and of the last carry, by the inputs' products, the first carry and every recurrent array."""
    rng = np.random.default_rng(1)
    width = CELLS[cell].blocks * U
    products, pull = rng.normal(size=(T, B, width)), rng.normal(size=(T, B, U))
    carry = {name: rng.normal(size=(B, U)) for name in CELLS[cell].carry}
    arrays = {"kernel": rng.normal(size=(U, width))} | ({"bias": rng.normal(size=U)} if cell == "gru" else {})

    def loop(products, carry, arrays):
        states = [None] * T
        for t in reversed(range(T)) if reverse else range(T):
            product = carry["h"] @ arrays["kernel"]
            if cell == "gru":
                product = product.at[:, -U:].add(arrays["bias"][None])
            carry = CELLS[cell].step(products[t], product, carry)
            states[t] = carry["h"]
        return jnp.stack(states), carry

    def loss(run, *args):
        states, last = run(*args)
        return (states * pull).sum() + sum((i + 2) * x.sum() ** 2 for i, (_, x) in enumerate(sorted(last.items())))

    with jax.enable_x64(True):
        ours = jax.value_and_grad(partial(loss, partial(recurrent.through_time, cell, reverse)), (0, 1, 2))
        theirs = jax.value_and_grad(partial(loss, loop), (0, 1, 2))
        args = jax.tree.map(jnp.asarray, (products, carry, arrays))
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), ours(*args), theirs(*args))


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_in_two_parts_equals_the_whole(cell):
    layer, params, x, carry = made(cell)
    whole, last = layer.apply({"params": params}, x, carry)
    first, between = layer.apply({"params": params}, x[:, :3], carry)
    second, end = layer.apply({"params": params}, x[:, 3:], between)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=1e-6)
    np.testing.assert_allclose(end["h"], last["h"], atol=1e-6)


@pytest.mark.curriculum("K4")
def test_gradient_equals_back_propagation_through_time_by_hand():
    """dL/dU = sum over t of (dL/dh_t through all later times) h_{t-1}^T, for the vanilla cell."""
    layer, params, x, carry = made("rnn")
    target = np.random.default_rng(1).normal(size=(B, T, U)).astype(np.float32)

    def loss(params):
        return ((layer.apply({"params": params}, x, carry)[0] - target) ** 2).sum() / 2

    states = np.concatenate([carry["h"][:, None], layer.apply({"params": params}, x, carry)[0]], 1)  # h_0 ... h_T
    u = np.asarray(params["recurrent_kernel"])
    grad_u, grad_w, from_later = np.zeros_like(u), np.zeros((D, U)), np.zeros((B, U))
    for t in range(T, 0, -1):
        error = states[:, t] - target[:, t - 1] + from_later  # of h_t, its own and what came back from t + 1
        before_tanh = error * (1 - states[:, t] ** 2)
        grad_u += states[:, t - 1].T @ before_tanh
        grad_w += x[:, t - 1].T @ before_tanh
        from_later = before_tanh @ u.T
    grads = jax.grad(loss)(params)
    np.testing.assert_allclose(grads["recurrent_kernel"], grad_u, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads["input"]["kernel"], grad_w, rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("K10")
@pytest.mark.parametrize("cell", CELLS)
def test_bidirectional_is_both_directions_side_by_side(cell):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, D)).astype(np.float32)
    layer = Bidirectional(cell, U)
    params = layer.init(jax.random.key(0), x)["params"]
    out = layer.apply({"params": params}, x)
    forwards, _ = Recurrent(cell, U).apply({"params": params["forwards"]}, x)
    backwards, _ = Recurrent(cell, U).apply({"params": params["backwards"]}, x[:, ::-1])
    np.testing.assert_allclose(out, jnp.concatenate([forwards, backwards[:, ::-1]], -1), atol=1e-6)
    changed = layer.apply({"params": params}, np.concatenate([x[:, :-1], x[:, -1:] + 1], 1))
    differs = np.abs(changed - out).max((0, 2)) > 0
    assert differs.all(), "the last input reaches every time through the backward layer"
    np.testing.assert_array_equal(changed[:, :-1, :U], out[:, :-1, :U])


@pytest.mark.curriculum("K7")
def test_first_weights():
    """Orthogonal blocks, biases zero, but a forget gate that is open."""
    params = Recurrent("lstm", 6).init(jax.random.key(0), jnp.zeros((1, 2, D)))["params"]
    for k in range(4):
        block = params["recurrent_kernel"][:, 6 * k : 6 * k + 6]
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-5)
    np.testing.assert_array_equal(params["input"]["bias"], [0] * 6 + [1] * 6 + [0] * 12)
    blocks = np.split(np.asarray(params["recurrent_kernel"]), 4, 1)
    for i, one in enumerate(blocks):  # each gate has its own: Q1^T Q2 of independent ones is far from the identity
        for other in blocks[:i]:
            assert abs(one - other).max() > 0.1 and abs(one.T @ other - np.eye(6)).max() > 0.1


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru_before"])
def test_bfloat16_products_keep_a_float32_state(cell):
    layer, params, x, carry = made(cell)
    states, last = layer.clone(dtype=jnp.bfloat16).apply({"params": params}, x, carry)
    assert {leaf.dtype for leaf in jax.tree.leaves((states, last))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(states, layer.apply({"params": params}, x, carry)[0], atol=0.05)


@pytest.mark.curriculum("K8")
def test_the_reset_gate_before_and_after_the_product():
    """With every reset gate open the two conventions agree; with gates that differ among units they do not."""
    layer, params, x, carry = made("gru")
    before = Recurrent("gru_before", U)
    params = {**params, "recurrent_bias": jnp.zeros(U)}
    shared = {k: v for k, v in params.items() if k != "recurrent_bias"}
    assert jax.tree.map(jnp.shape, before.init(jax.random.key(0), x)["params"]) == jax.tree.map(jnp.shape, shared)
    one, other = layer.apply({"params": params}, x, carry)[0], before.apply({"params": shared}, x, carry)[0]
    assert np.abs(one - other).max() > 0.01
    opened = params["input"]["bias"].at[:U].set(60.0)
    params, shared = ({**tree, "input": {**tree["input"], "bias": opened}} for tree in (params, shared))
    one, other = layer.apply({"params": params}, x, carry)[0], before.apply({"params": shared}, x, carry)[0]
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.curriculum("K8")
def test_the_gradient_through_the_reset_gate_before_the_product():
    """By differences in float64: of the recurrent matrix, the inputs and the first state."""
    with jax.enable_x64(True):
        layer = Recurrent("gru_before", U, dtype=jnp.float64)
        _, params, x, carry = made("gru_before")
        args = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, x, carry))
        pull = np.random.default_rng(2).normal(size=(B, T, U))
        loss = jax.jit(lambda params, x, carry: (layer.apply({"params": params}, x, carry)[0] * pull).sum())
        grads = jax.grad(loss, (0, 1, 2))(*args)
        ways = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(a.size).normal(size=a.shape)), args)
        step = lambda e: loss(*jax.tree.map(lambda a, w: a + e * w, args, ways))  # noqa: E731
        expected = sum(jax.tree.leaves(jax.tree.map(lambda g, w: (g * w).sum(), grads, ways)))
        np.testing.assert_allclose((step(1e-5) - step(-1e-5)) / 2e-5, expected, rtol=1e-6)


@pytest.mark.curriculum("K7")
def test_forget_gates_begin_as_asked_for():
    """f = sigmoid(b) of the state stays at first: a cell of large bias copies its state, one of small bias drops it."""
    x, carry = jnp.zeros((1, 1, 2)), {"h": jnp.zeros((1, 3)), "c": jnp.full((1, 3), 0.8)}
    for bias, share in ((1.0, 0.7310586), (0.0, 0.5), (-30.0, 0.0), (30.0, 1.0)):
        layer = Recurrent("lstm", 3, forget_bias=bias)
        (_, last), variables = layer.init_with_output(jax.random.key(0), x, carry)
        np.testing.assert_allclose(last["c"], np.full((1, 3), 0.8 * share), atol=1e-6)
        np.testing.assert_array_equal(variables["params"]["input"]["bias"], [0] * 3 + [bias] * 3 + [0] * 6)
    both = Bidirectional("lstm", 3, forget_bias=2.0).init(jax.random.key(0), x)["params"]
    assert {float(tree["input"]["bias"][3]) for tree in both.values()} == {2.0}


@pytest.mark.curriculum("K6")
def test_an_identity_adds_up_what_is_not_negative():
    """Le et al. 2015: with the identity and ReLU, the state is the sum of its inputs so far."""
    layer, x = Recurrent("rnn_relu", 2, recurrent_init="identity"), jnp.ones((1, 4, 1))
    params = layer.init(jax.random.key(0), x)["params"]
    params["input"]["kernel"] = jnp.array([[1.0, -1.0]])
    np.testing.assert_array_equal(params["recurrent_kernel"], np.eye(2))
    np.testing.assert_array_equal(layer.apply({"params": params}, x)[0][0], [[1, 0], [2, 0], [3, 0], [4, 0]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "gru", "forget_bias": 0.0}, "forget_bias=0.0 is of an LSTM's gate, which cell='gru' has not"),
        ({"cell": "rnn", "recurrent_init": "identiti"}, "recurrent_init='identiti': did you mean 'identity'"),
    ],
)
def test_settings_without_effect_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Recurrent(units=2, **fields).init(jax.random.key(0), jnp.zeros((1, 1, 1)))


def test_unknown_cell_is_refused():
    with pytest.raises(ConfigError, match="cell='lstn' is not known; did you mean 'lstm'"):
        recurrent.find_cell("lstn")


# The model ----------------------------------------------------------------------------------------------------------

SYMBOLS = np.random.default_rng(0).integers(0, 65, (2, 6)).astype(np.int32)


@pytest.mark.parametrize("name", models.VARIANTS)
def test_there_is_no_state_but_the_carry(name):
    variables = jax.eval_shape(partial(make_model(name, 65).init, train=False), jax.random.key(0), SYMBOLS)
    assert variables.keys() == {"params"}


@pytest.fixture(scope="module", params=["lstm_tiny", "gru_tiny", "rnn_tiny"])
def tiny(request):
    model = make_model(request.param, 65, "float32", dropout=0.4)
    return model, model.init(jax.random.key(0), SYMBOLS, False)


@pytest.mark.curriculum("K9")
def test_layers_are_stacked(tiny):
    """The second layer reads the states of the first."""
    model, variables = tiny
    logits, out = model.apply(variables, SYMBOLS, False)
    x = jax.nn.one_hot(SYMBOLS, 65)
    for layer in ("layer0", "layer1"):
        x, carry = Recurrent(model.cell, model.units).apply({"params": variables["params"][layer]}, x)
        np.testing.assert_allclose(out["carry"][layer]["h"], carry["h"], atol=1e-6)
    np.testing.assert_allclose(out["pre_logits"], x, atol=1e-6)
    assert logits.shape == (2, 6, 65) and logits.dtype == jnp.float32


@pytest.mark.curriculum("K9")
def test_training_drops_by_row_and_key_alone(tiny):
    model, variables = tiny
    draw = partial(model.apply, variables, train=True)
    one, again = (draw(SYMBOLS, rngs={"dropout": jax.random.key(1)})[0] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, draw(SYMBOLS, rngs={"dropout": jax.random.key(2)})[0])
    alone = draw(SYMBOLS[:1], rngs={"dropout": jax.random.key(1)})[0]
    np.testing.assert_allclose(alone, one[:1], atol=1e-6)


@pytest.mark.curriculum("K9")
def test_every_parameter_gets_a_gradient(tiny):
    model, variables = tiny
    carry = jax.tree.map(lambda x: x + 0.1, model.zero_carry(2))

    def loss(params):
        logits, _ = model.apply({"params": params}, SYMBOLS, False, carry)
        return (logits**2).sum()

    for path, grad in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(variables["params"])):
        assert np.abs(grad).max() > 0, jax.tree_util.keystr(path)


def test_no_symbol_is_no_input(tiny):
    """-1 leaves the state as a vector of zeros would."""
    model, variables = tiny
    _, out = model.apply(variables, np.full((1, 1), -1, np.int32), False)
    _, carry = Recurrent(model.cell, model.units).apply(
        {"params": variables["params"]["layer0"]}, jnp.zeros((1, 1, 65))
    )
    np.testing.assert_array_equal(out["carry"]["layer0"]["h"], carry["h"])


def test_float64_is_kept_throughout(tiny):
    with jax.enable_x64(True):
        model = tiny[0].clone(dtype=jnp.dtype("float64"))
        shapes = jax.eval_shape(lambda k: model.init_with_output(k, SYMBOLS, False), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float64")}


@pytest.mark.curriculum("K3")
def test_sampling_feeds_back_what_it_drew():
    """At a low temperature the sample is the most probable continuation, each symbol read before the next is drawn."""
    model = make_model("gru_tiny", 65, "float32")
    params = jax.tree.map(lambda p: 3 * p, model.init(jax.random.key(0), SYMBOLS, False)["params"])
    drawn = models.sample(model, params, SYMBOLS[0], jax.random.key(1), 5, jnp.float32(1e-4))
    read = np.concatenate([SYMBOLS[0], drawn])
    logits, _ = model.apply({"params": params}, read[None], False)
    np.testing.assert_array_equal(drawn, np.argmax(logits[0, len(SYMBOLS[0]) - 1 : -1], -1))
    hot = models.sample(model, params, SYMBOLS[0], jax.random.key(1), 200, jnp.float32(1e4))
    assert len(set(np.asarray(hot).tolist())) > 40  # almost uniform


@pytest.mark.curriculum("K3")
@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_each_symbol_is_drawn_given_those_drawn_before(temperature):
    """Symbol i is a draw with key i from softmax(scores / temperature) of the prompt and of what was drawn, read whole.

    Where symbols are not the most probable ones, feeding back the best instead of the drawn gives other scores.
    """
    model = make_model("gru_tiny", 65, "float32")
    params = jax.tree.map(lambda p: 3 * p, model.init(jax.random.key(0), SYMBOLS, False)["params"])
    key, prompt = jax.random.key(4), SYMBOLS[1]
    drawn = models.sample(model, params, prompt, key, 12, jnp.float32(temperature))
    read = np.concatenate([prompt, drawn])
    logits, _ = model.apply({"params": params}, read[None], False)
    before = logits[0, len(prompt) - 1 : -1]  # [12, 65]
    expected = [
        jax.random.categorical(k, z / temperature) for k, z in zip(jax.random.split(key, 12), before, strict=True)
    ]
    np.testing.assert_array_equal(drawn, expected)
    assert (np.argmax(before, -1) != drawn).sum() > 3


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "lstmm"}, "did you mean 'lstm'"),
        ({"name": "lstm", "unit": 3}, "config.model.unit is not a field of lstm; did you mean 'units'"),
        ({"name": "lstm", "remat": True}, "set config.remat=False"),
    ],
)
def test_wrong_models_are_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        make_model(num_classes=5, dtype="float32", **kwargs)


def test_empty_models_are_refused():
    with pytest.raises(ConfigError, match=r"config\.model\.layers=0 must be from 1"):
        make_model("lstm", 5, "float32", layers=0).init(jax.random.key(0), SYMBOLS, False)
