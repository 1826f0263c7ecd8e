"""A small engine of reverse-mode differentiation: a graph of nodes that know their `forward` and `backward`.

    x, y, z = leaf("x"), leaf("y"), leaf("z")
    f = (x + y) * z
    values = forward(f, {x: -2.0, y: 5.0, z: -4.0})     # for node in toposort(f): node.forward
    slopes = backward(f, values)                        # for node in reversed(toposort(f)): node.backward
    slopes[x]                                           # df/dx = -4

A node is immutable and holds no numbers; the forward cache and the gradients are dicts from nodes to arrays, so both
passes are pure functions, and can be jitted. JAX does the same by tracing any Python function:

    jax.grad(f)(x)                  the gradient of a scalar         loss.backward(); x.grad           in PyTorch
    jax.value_and_grad(f)(x)        the value too                    (the forward pass has it)
    y, pull = jax.vjp(f, x)         pull(g) = g dy/dx                torch.autograd.grad(y, x, g)
    y, dy = jax.jvp(f, (x,), (v,))  dy = dy/dx v, forward mode       torch.func.jvp
    jax.jacrev(f)(x)                all of dy/dx                     torch.func.jacrev

Reference: Baydin et al. 2018, "Automatic Differentiation in Machine Learning: a Survey", section 3.2.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Op(NamedTuple):
    """One kind of node.

    Attributes:
        name: for messages.
        forward: `(*inputs) -> output`.
        backward: `(g, output, *inputs) -> one gradient for each input`, where `g = df/d output`: g times the local
            derivative.
    """

    name: str
    forward: Callable[..., jax.Array]
    backward: Callable[..., tuple[jax.Array, ...]]


class Node:
    """A node of the graph: an operation on parents, or a leaf without either. Nodes are equal only to themselves.

    Args:
        op: its operation; None for a leaf.
        parents: the inputs of the operation.
        name: for messages.
    """

    def __init__(self, op: Op | None, parents: tuple["Node", ...] = (), name: str = ""):
        self.op, self.parents, self.name = op, parents, name or (op.name if op else "leaf")

    def __repr__(self) -> str:
        return f"Node({self.name})"

    def __add__(self, other: "Node | float") -> "Node":
        return apply(ADD, self, other) if isinstance(other, Node) else apply(add_constant(other), self)

    def __mul__(self, other: "Node | float") -> "Node":
        return apply(MULTIPLY, self, other) if isinstance(other, Node) else apply(multiply_constant(other), self)

    def __neg__(self) -> "Node":
        return self * -1.0

    def __sub__(self, other: "Node | float") -> "Node":
        return self + -other

    def __truediv__(self, other: "Node | float") -> "Node":
        return self * (apply(RECIPROCAL, other) if isinstance(other, Node) else 1 / other)

    def __matmul__(self, other: "Node") -> "Node":
        return apply(MATMUL, self, other)

    __radd__, __rmul__ = __add__, __mul__


def leaf(name: str = "leaf") -> Node:
    """An input of the graph: a variable or a parameter."""
    return Node(None, (), name)


def apply(op: Op, *parents: Node) -> Node:
    """The node of an operation on nodes."""
    return Node(op, parents)


def toposort(root: Node) -> list[Node]:
    """Every node that `root` depends on, each after its parents, the root last; depth first, without recursion."""
    order: list[Node] = []
    done: set[Node] = set()
    stack = [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack += [(parent, False) for parent in reversed(node.parents) if parent not in done]
    return order


def forward(root: Node, leaves: Mapping[Node, jax.Array]) -> dict[Node, jax.Array]:
    """The forward pass: the value of every node.

    Args:
        root: the result.
        leaves: the value of every leaf, float [...].

    Returns:
        {node: value}, the cache of the backward pass.

    Raises:
        ValueError: naming a leaf without a value.
    """
    values: dict[Node, jax.Array] = {}
    for node in toposort(root):
        if node.op is None:
            if node not in leaves:
                raise ValueError(f"leaf {node.name!r} has no value; give it as leaves={{{node.name}: ...}}")
            values[node] = jnp.asarray(leaves[node])
        else:
            values[node] = node.op.forward(*(values[parent] for parent in node.parents))
    return values


def backward(root: Node, values: Mapping[Node, jax.Array], g: jax.Array | None = None) -> dict[Node, jax.Array]:
    """The backward pass: the derivative of the root with respect to every node.

    The gradients of a node that feeds several others are added, `df/dx = sum_i df/dq_i dq_i/dx`.

    Args:
        root: the result.
        values: from `forward`.
        g: the gradient at the root, like its value; None for 1, where the root is a scalar.

    Returns:
        {node: gradient, like its value}.

    Raises:
        ValueError: if the root is no scalar and `g` is None, or a gradient has another shape than its node.
    """
    if g is None and values[root].shape != ():
        raise ValueError(f"{root} has shape {values[root].shape}, not (); sum it, or give the gradient g at the root")
    gradients = {root: jnp.ones_like(values[root]) if g is None else jnp.asarray(g)}
    for node in reversed(toposort(root)):
        if node.op is None:
            continue
        inputs = [values[parent] for parent in node.parents]
        for parent, new in zip(node.parents, node.op.backward(gradients[node], values[node], *inputs), strict=True):
            if new.shape != values[parent].shape:
                raise ValueError(f"{node} gives {parent} a gradient {new.shape}, its value is {values[parent].shape}")
            gradients[parent] = gradients[parent] + new if parent in gradients else new
    return gradients


# Addition distributes g, multiplication switches the inputs, the maximum routes g to the larger input.
ADD = Op("add", lambda x, y: x + y, lambda g, out, x, y: (g, g))
MULTIPLY = Op("multiply", lambda x, y: x * y, lambda g, out, x, y: (g * y, g * x))
MAXIMUM = Op("maximum", jnp.maximum, lambda g, out, x, y: (g * _wins(x, y), g * _wins(y, x)))
RECIPROCAL = Op("reciprocal", lambda x: 1 / x, lambda g, out, x: (-g * out * out,))
EXP = Op("exp", jnp.exp, lambda g, out, x: (g * out,))
LOG = Op("log", jnp.log, lambda g, out, x: (g / x,))
SIN = Op("sin", jnp.sin, lambda g, out, x: (g * jnp.cos(x),))
TANH = Op("tanh", jnp.tanh, lambda g, out, x: (g * (1 - out * out),))
SQUARE = Op("square", jnp.square, lambda g, out, x: (2 * g * x,))
SIGMOID = Op("sigmoid", jax.nn.sigmoid, lambda g, out, x: (g * out * (1 - out),))
MATMUL = Op("matmul", lambda x, y: x @ y, lambda g, out, x, y: (g @ y.T, x.T @ g))
SUM = Op("sum", jnp.sum, lambda g, out, x: (jnp.broadcast_to(g, x.shape),))
# The bias of a layer, [n], added to each row of [b, n]: the sum over rows is the gradient.
ADD_BIAS = Op("add_bias", lambda x, b: x + b[None], lambda g, out, x, b: (g, g.sum(0)))


def _wins(x: jax.Array, y: jax.Array) -> jax.Array:
    """1 where x > y, 1/2 where they are equal."""
    return jnp.where(x == y, 0.5, (x > y).astype(x.dtype))


def add_constant(c: float) -> Op:
    """`x + c`, whose derivative is 1."""
    return Op(f"add {c}", lambda x: x + c, lambda g, out, x: (g,))


def multiply_constant(a: float) -> Op:
    """`a x`, whose derivative is a."""
    return Op(f"multiply {a}", lambda x: a * x, lambda g, out, x: (a * g,))


def power(n: float) -> Op:
    """`x^n`, whose derivative is `n x^(n - 1)`."""
    return Op(f"power {n}", lambda x: x**n, lambda g, out, x: (g * n * x ** (n - 1),))


def sigmoid_of_primitives(z: Node) -> Node:
    """`1 / (1 + e^-z)` from four primitive nodes: `a x`, `e^x`, `x + c`, `1 / x`."""
    return apply(RECIPROCAL, apply(EXP, z * -1.0) + 1.0)
