"""The graph engine against worked numbers, against `jax.grad` on the same graphs, and on random graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvdl_jax.ops.textbook import tape
from cvdl_jax.ops.textbook.tape import apply, backward, forward, leaf, toposort


def run(root, leaves):
    """({leaf's name: gradient}, value of the root)."""
    values = forward(root, leaves)
    gradients = backward(root, values)
    return {node.name: float(gradients[node]) for node in leaves}, float(values[root])


@pytest.mark.curriculum("B17")
def test_worked_example_of_a_product_and_a_sum():
    """f = a b + c at a=3, b=2, c=-4: the lecture's steps, one after the other."""
    a, b, c = leaf("a"), leaf("b"), leaf("c")
    x = a * b
    f = x + c
    order = toposort(f)
    assert order == [a, b, x, c, f]
    values = forward(f, {a: 3.0, b: 2.0, c: -4.0})
    assert {node: float(v) for node, v in values.items()} == {a: 3, b: 2, c: -4, x: 6, f: 2}
    gradients = backward(f, values)
    assert {node: float(g) for node, g in gradients.items()} == {a: 2, b: 3, c: 1, x: 1, f: 1}


@pytest.mark.curriculum("B17")
def test_the_passes_are_pure_and_compile():
    x, y = leaf("x"), leaf("y")
    f = apply(tape.SUM, apply(tape.EXP, x) * y)

    @jax.jit
    def gradient(x_value, y_value):
        gradients = backward(f, forward(f, {x: x_value, y: y_value}))
        return gradients[x], gradients[y]

    first, second = np.float32([0.1, -2, 3]), np.float32([1, 2, 3])
    expected = jax.grad(lambda x, y: (jnp.exp(x) * y).sum(), (0, 1))(first, second)
    for got, wanted in zip(gradient(first, second), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.curriculum("B18")
def test_gradients_of_a_node_with_several_consumers_are_added():
    x = leaf("x")
    q1, q2 = x * x, apply(tape.SIN, x)
    f = q1 * q2 + x
    gradients, value = run(f, {x: 1.5})
    assert gradients["x"] == pytest.approx(2 * 1.5 * np.sin(1.5) + 1.5**2 * np.cos(1.5) + 1, rel=1e-6)
    assert value == pytest.approx(1.5**2 * np.sin(1.5) + 1.5, rel=1e-6)


@pytest.mark.curriculum("B18")
def test_a_diamond_of_many_levels_visits_each_node_once():
    """2^100 paths lead from the root to the leaf."""
    x = node = leaf("x")
    for _ in range(100):
        node = node * 0.5 + node * 0.5
    assert len(toposort(node)) == 301
    assert run(node, {x: 3.0}) == ({"x": 1.0}, 3.0)


def test_a_deep_chain_does_not_recurse():
    x = node = leaf("x")
    for _ in range(3000):
        node = node + 1.0
    assert len(toposort(node)) == 3001 and toposort(node)[0] is x


@pytest.mark.curriculum("B19")
def test_gates_distribute_switch_and_route():
    x, y, above = leaf("x"), leaf("y"), 7.0
    leaves = {x: 3.0, y: -4.0}

    def gate(op):
        node = apply(op, x, y)
        gradients = backward(node, forward(node, leaves), above)
        return float(gradients[x]), float(gradients[y])

    assert gate(tape.ADD) == (7, 7)  # the distributor: the same to all
    assert gate(tape.MULTIPLY) == (7 * -4, 7 * 3)  # the switcher: each gets the other's value
    assert gate(tape.MAXIMUM) == (7, 0)  # the router: all to the larger
    leaves = {x: 2.0, y: 2.0}
    assert gate(tape.MAXIMUM) == (3.5, 3.5)


@pytest.mark.curriculum("B20")
def test_sigmoid_neuron_from_primitive_nodes():
    """w = [2, -3], bias -3, x = [-1, -2]: every gradient of the graph, and the sigmoid's own derivative."""
    w0, w1, b, x0, x1 = map(leaf, ("w0", "w1", "b", "x0", "x1"))
    z = w0 * x0 + w1 * x1 + b
    leaves = {w0: 2.0, w1: -3.0, b: -3.0, x0: -1.0, x1: -2.0}
    primitive = tape.sigmoid_of_primitives(z)
    gradients, value = run(primitive, leaves)
    assert forward(z, leaves)[z] == 1 and value == pytest.approx(0.7310586, abs=1e-6)
    expected = {"w0": -0.1966119, "w1": -0.3932239, "b": 0.1966119, "x0": 0.3932239, "x1": -0.5898358}
    assert gradients == pytest.approx(expected, abs=1e-6)
    assert run(apply(tape.SIGMOID, z), leaves)[0] == pytest.approx(expected, abs=1e-6)  # s (1 - s) in one node


@pytest.mark.curriculum("B20")
@pytest.mark.parametrize(
    ("op", "function"),
    [
        (tape.RECIPROCAL, lambda x: 1 / x),
        (tape.EXP, np.exp),
        (tape.LOG, np.log),
        (tape.SIN, np.sin),
        (tape.TANH, np.tanh),
        (tape.SQUARE, np.square),
        (tape.SIGMOID, lambda x: 1 / (1 + np.exp(-x))),
        (tape.add_constant(2.0), lambda x: x + 2),
        (tape.multiply_constant(-3.0), lambda x: -3 * x),
        (tape.power(2.5), lambda x: x**2.5),
        (tape.SUM, np.sum),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_primitive_nodes_equal_central_differences(op, function):
    x, h = leaf("x"), 1e-6
    root = apply(op, x)
    with jax.enable_x64(True):
        gradients = backward(root, forward(root, {x: 1.3}))
        numeric = (function(1.3 + h) - function(1.3 - h)) / (2 * h)
        assert float(gradients[x]) == pytest.approx(numeric, rel=1e-8)


UNARY = {
    "exp": (tape.EXP, jnp.exp),
    "sin": (tape.SIN, jnp.sin),
    "tanh": (tape.TANH, jnp.tanh),
    "square": (tape.SQUARE, jnp.square),
    "sigmoid": (tape.SIGMOID, jax.nn.sigmoid),
    "halve": (tape.multiply_constant(0.5), lambda x: 0.5 * x),
    "shift": (tape.add_constant(-1.0), lambda x: x - 1),
}
BINARY = {
    "add": (tape.ADD, jnp.add),
    "multiply": (tape.MULTIPLY, jnp.multiply),
    "maximum": (tape.MAXIMUM, jnp.maximum),
    "subtract": (None, jnp.subtract),
}
STEPS = st.lists(
    st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12
)


def grow(leaves, steps, combine):
    """A graph in either engine: each step takes nodes that are there, chosen by number, so that nodes are shared."""
    nodes = list(leaves)
    for name, i, j in steps:
        inputs = [nodes[i % len(nodes)], nodes[j % len(nodes)]]
        nodes.append(combine(name, inputs if name in BINARY else inputs[:1]))
    return combine("sum", nodes[-1:]) + combine("sum", nodes[len(nodes) // 2 :][:1])


def on_tape(name, inputs):
    if name == "subtract":
        return inputs[0] - inputs[1]
    return apply({"sum": tape.SUM, **{k: op for k, (op, _) in (UNARY | BINARY).items()}}[name], *inputs)


def in_jax(name, inputs):
    return {"sum": jnp.sum, **{k: f for k, (_, f) in (UNARY | BINARY).items()}}[name](*inputs)


@pytest.mark.curriculum("B17", "B18")
@settings(max_examples=40)
@given(steps=STEPS, seed=st.integers(0, 1000))
def test_random_graphs_equal_jax_grad(steps, seed):
    with jax.enable_x64(True), jax.disable_jit():
        points = tuple(jnp.asarray(p) for p in np.random.default_rng(seed).normal(scale=0.3, size=(3, 2)))
        nodes = [leaf(f"x{i}") for i in range(3)]
        root = grow(nodes, steps, on_tape)
        values = forward(root, dict(zip(nodes, points, strict=True)))
        gradients = backward(root, values)
        expected, slopes = jax.value_and_grad(lambda xs: grow(xs, steps, in_jax))(points)
        if not np.isfinite(expected) or abs(expected) > 1e30:  # towers of exponentials
            return
        np.testing.assert_allclose(values[root], expected, rtol=1e-12)
        for node, slope in zip(nodes, slopes, strict=True):
            np.testing.assert_allclose(gradients.get(node, jnp.zeros(2)), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.curriculum("B17")
def test_a_layer_of_matrices_equals_jax_grad():
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3, 5), (5,)))
    nodes = leaf("x"), leaf("w"), leaf("b")
    root = apply(tape.SUM, apply(tape.TANH, apply(tape.ADD_BIAS, nodes[0] @ nodes[1], nodes[2])))
    gradients = backward(root, forward(root, dict(zip(nodes, (x, w, b), strict=True))))
    expected = jax.grad(lambda x, w, b: jnp.tanh(x @ w + b[None]).sum(), (0, 1, 2))(x, w, b)
    for node, wanted in zip(nodes, expected, strict=True):
        np.testing.assert_allclose(gradients[node], wanted, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_differentiated_says_why():
    x, y = leaf("x"), leaf("y")
    with pytest.raises(ValueError, match=r"leaf 'y' has no value"):
        forward(x + y, {x: 1.0})
    with pytest.raises(ValueError, match=r"has shape \(2,\), not \(\); sum it"):
        backward(x, forward(x, {x: np.ones(2)}))
    root = apply(tape.SUM, x * y)  # the tape does not undo broadcasting
    with pytest.raises(ValueError, match=r"a gradient \(2,\), its value is \(\)"):
        backward(root, forward(root, {x: np.ones(2), y: 1.0}))


def long_function(x):
    """The lecture's argument for graphs: a derivative that nobody wants to write down."""
    first = (1 + 2 * x**2) * (x**3 - x) ** 2 / (jnp.sqrt(x + 5 * x**2) * (4 * x) ** 1.5)
    return first + jnp.sqrt(1 + 2 * x) / (x + jnp.sqrt(1 + x**2))


@pytest.mark.curriculum("B27")
def test_the_facility_of_jax_on_a_function_with_a_long_derivative():
    """jax.grad, value_and_grad, vjp, jvp agree with values from complex steps."""
    worked = {1.0: (0.7174389352, -0.2681596244), 2.0: (3.5806664088, 10.0300945172), 0.5: (0.9304074671, -0.460177386)}
    with jax.enable_x64(True):
        for x, expected in worked.items():
            np.testing.assert_allclose(jax.value_and_grad(long_function)(x), expected, rtol=1e-9)
            value, pull = jax.vjp(long_function, x)
            np.testing.assert_allclose((value, pull(1.0)[0]), expected, rtol=1e-9)
            np.testing.assert_allclose(jax.jvp(long_function, (x,), (1.0,)), expected, rtol=1e-9)


@pytest.mark.curriculum("B17", "B27")
def test_the_tape_differentiates_the_long_function_too():
    x = leaf("x")
    power, square = tape.power, tape.SQUARE
    top = (apply(square, x) * 2.0 + 1.0) * apply(square, apply(power(3), x) - x)
    bottom = apply(power(0.5), x + apply(square, x) * 5.0) * apply(power(1.5), x * 4.0)
    second = apply(power(0.5), x * 2.0 + 1.0) / (x + apply(power(0.5), apply(square, x) + 1.0))
    f = top / bottom + second
    with jax.enable_x64(True):
        values = forward(f, {x: jnp.float64(2.0)})
        assert float(values[f]) == pytest.approx(3.5806664088, rel=1e-9)
        assert float(backward(f, values)[x]) == pytest.approx(10.0300945172, rel=1e-9)
