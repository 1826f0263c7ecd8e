"""Recurrent cells and layers: vanilla RNN, LSTM and GRU, in one direction or both.

The products of all inputs are one large matrix product before the scan over time, so that only the product with the
state is left inside the scan. The gradient of its matrix is one product of all times, too: the transpose of a scan
would add a product to it at each time, a third of a training step on a CPU. The carry (the state) and the gates are at
least float32. For diagnostics of saturated gates, their inputs are computed again from all states at once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import check_name
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.nn import observe
from cvdl_jax.ops.activation_derivatives import DERIVATIVES
from cvdl_jax.ops.precision import at_least_float32

Carry = dict[str, jax.Array]  # {"h": [b, u]}, for an LSTM {"h", "c"}
FUNCTIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}


def rnn(x: jax.Array, product: jax.Array, carry: Carry, function: str = "tanh") -> Carry:
    """One step of a vanilla network: `h = g(x W + b + h' U)`.

    Args:
        x: the input's product with its bias, `x W + b` [b, u].
        product: that of the state, `h' U` [b, u], U [u, u].
        carry: {"h": h' [b, u]}.
        function: g: "tanh", "sigmoid" or "relu".

    Returns:
        The new carry.

    Reference: Elman 1990, "Finding Structure in Time", whose g is the sigmoid.
    """
    return {"h": FUNCTIONS[function](x + product)}


def lstm(x: jax.Array, product: jax.Array, carry: Carry) -> Carry:
    """One step of a long short-term memory: `c = f c' + i g`, `h = o tanh(c)`.

    The blocks of x and U are the input gate i, the forget gate f, the candidate g and the output gate o.

    Args:
        x: [b, 4 u], `x W + b`.
        product: [b, 4 u], `h' U`, U [u, 4 u].
        carry: {"h": h' [b, u], "c": c' [b, u]}.

    Returns:
        The new carry.

    Reference: Hochreiter and Schmidhuber 1997; the forget gate: Gers et al. 2000, "Learning to Forget".
    """
    i, f, g, o = jnp.split(x + product, 4, -1)  # [b, u] each
    c = jax.nn.sigmoid(f) * carry["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return {"h": jax.nn.sigmoid(o) * jnp.tanh(c), "c": c}


def gru(x: jax.Array, product: jax.Array, carry: Carry) -> Carry:
    """One step of a gated recurrent unit: `h = (1 - z) n + z h'`, `n = tanh(x_n + r (h' U_n + d))`.

    The blocks are the reset gate r, the update gate z and the candidate n. The reset gate acts after the product, as in
    cuDNN and torch, so that one product serves all three; in the paper it acts before, see `gru_before`.

    Args:
        x: [b, 3 u], `x W + b`.
        product: [b, 3 u], `h' U + (0, 0, d)`, U [u, 3 u], d [u].
        carry: {"h": h' [b, u]}.

    Returns:
        The new carry.

    Reference: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", equations 5 to 8.
    """
    h = carry["h"]
    x_rz, x_n = jnp.split(x, [2 * h.shape[-1]], -1)  # [b, 2 u], [b, u]
    u_rz, u_n = jnp.split(product, [2 * h.shape[-1]], -1)
    r, z = jnp.split(jax.nn.sigmoid(x_rz + u_rz), 2, -1)  # [b, u] each
    n = jnp.tanh(x_n + r * u_n)
    return {"h": (1 - z) * n + z * h}


def gru_before(x: jax.Array, kernel: jax.Array, carry: Carry) -> Carry:
    """One step of a gated recurrent unit as first published: `h = (1 - z) n + z h'`, `n = tanh(x_n + (r h') U_n)`.

    The reset gate acts before the product, so that the candidate needs one of its own.

    Args:
        x: [b, 3 u], `x W + b`, the blocks as in `gru`.
        kernel: U [u, 3 u], not its product with the state.
        carry: {"h": h' [b, u]}.

    Returns:
        The new carry.

    Reference: Cho et al. 2014, equations 5 to 8, in which z weights the old state as here.
    """
    h = carry["h"]
    x_rz, x_n = jnp.split(x, [2 * h.shape[-1]], -1)  # [b, 2 u], [b, u]
    u_rz, u_n = jnp.split(kernel, [2 * h.shape[-1]], -1)
    r, z = jnp.split(jax.nn.sigmoid(x_rz + _product(h, {"kernel": u_rz})), 2, -1)  # [b, u] each
    return {"h": (1 - z) * jnp.tanh(x_n + _product(r * h, {"kernel": u_n})) + z * h}


def _product(h: jax.Array, recurrent: Carry) -> jax.Array:
    """`h U`, computed in the kernel's dtype and returned in the carry's, plus the bias of the last block if any."""
    kernel = recurrent["kernel"]
    product = (h.astype(kernel.dtype) @ kernel).astype(h.dtype)
    if "bias" not in recurrent:
        return product
    bias = recurrent["bias"].astype(h.dtype)
    return product + jnp.pad(bias, (kernel.shape[1] - len(bias), 0))[None]


class Cell(NamedTuple):
    """A kind of cell.

    Attributes:
        step: `(x W + b, h' U, carry) -> carry`.
        blocks: in its products.
        carry: names of the arrays of its carry.
        by_kernel: whether the step takes U instead of `h' U`; then its gradient is that of the scan.
    """

    step: Callable[[jax.Array, jax.Array, Carry], Carry]
    blocks: int
    carry: tuple[str, ...]
    by_kernel: bool = False


CELLS = {
    "rnn": Cell(rnn, 1, ("h",)),
    "rnn_sigmoid": Cell(partial(rnn, function="sigmoid"), 1, ("h",)),
    "rnn_relu": Cell(partial(rnn, function="relu"), 1, ("h",)),
    "lstm": Cell(lstm, 4, ("h", "c")),
    "gru": Cell(gru, 3, ("h",)),
    "gru_before": Cell(gru_before, 3, ("h",), by_kernel=True),
}


def find_cell(name: str) -> Cell:
    """The cell called `name`. Raises ConfigError with the nearest name."""
    if name not in CELLS:
        raise ConfigError(f"config.model.cell={name!r} is not known; {nearest(name, CELLS)}")
    return CELLS[name]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def through_time(
    cell: str, reverse: bool, products: jax.Array, carry: Carry, recurrent: Carry
) -> tuple[jax.Array, Carry]:
    """The states of a cell after each input, and its carry after the last input read.

    Its gradient is by reverse mode alone (`jax.custom_vjp`): `jax.jvp` of it is an error.

    Args:
        cell: of CELLS, one without `by_kernel`.
        reverse: whether the last input is read first.
        products: [t, b, blocks u], `x W + b`.
        carry: before the first input read.
        recurrent: {"kernel": U [u, blocks u]}, for a GRU also {"bias": d [u]}.

    Returns:
        [t, b, u]; the carry.
    """

    def step(carry: Carry, x: jax.Array) -> tuple[Carry, jax.Array]:
        new = _gates(cell, x, _product(carry["h"], recurrent), carry)
        return new, new["h"]

    carry, states = jax.lax.scan(step, carry, products, reverse=reverse)
    return states, carry


def _gates(cell: str, x: jax.Array, product: jax.Array, carry: Carry) -> Carry:
    return CELLS[cell].step(x.astype(product.dtype), product, carry)


def _forwards(cell: str, reverse: bool, products: jax.Array, carry: Carry, recurrent: Carry) -> tuple[Any, Any]:
    """What `through_time` returns, and what its gradient needs of each time."""

    def step(carry: Carry, x: jax.Array) -> tuple[Carry, tuple[Any, ...]]:
        new, through_gates = jax.vjp(partial(_gates, cell), x, _product(carry["h"], recurrent), carry)
        return new, (new["h"], carry["h"], through_gates)

    carry, (states, before, through_gates) = jax.lax.scan(step, carry, products, reverse=reverse)
    return (states, carry), (before, through_gates, recurrent)


def _backwards(cell: str, reverse: bool, known: Any, wanted: tuple[jax.Array, Carry]) -> tuple[jax.Array, Carry, Carry]:
    """The gradients of the products, the first carry and the recurrent arrays."""
    before, through_gates, recurrent = known

    def step(above: Carry, at: tuple[Any, ...]) -> tuple[Carry, tuple[jax.Array, jax.Array]]:
        through_gates, h, state = at
        dx, dproduct, below = through_gates({**above, "h": above["h"] + state})
        through_product = jax.linear_transpose(partial(_product, recurrent={"kernel": recurrent["kernel"]}), h)
        return {**below, "h": below["h"] + through_product(dproduct)[0]}, (dx, dproduct)

    states, last = wanted
    first, (dx, dproducts) = jax.lax.scan(step, last, (through_gates, before, states), reverse=not reverse)
    h, dproducts = (x.reshape(-1, x.shape[-1]) for x in (before, dproducts))  # of all times at once
    _, through_product = jax.vjp(partial(_product, h), recurrent)
    return dx, first, through_product(dproducts)[0]


through_time.defvjp(_forwards, _backwards)


def _by_kernel(
    cell: str, reverse: bool, products: jax.Array, carry: Carry, recurrent: Carry
) -> tuple[jax.Array, Carry]:
    """`through_time` of a cell whose step takes U."""

    def step(carry: Carry, x: jax.Array) -> tuple[Carry, jax.Array]:
        new = CELLS[cell].step(x.astype(carry["h"].dtype), recurrent["kernel"], carry)
        return new, new["h"]

    carry, states = jax.lax.scan(step, carry, products, reverse=reverse)
    return states, carry


def zero_carry(cell: str, rows: int, units: int, dtype: Any = jnp.float32) -> Carry:
    """The state before the first input: {"h": zeros [rows, units], ...}."""
    return {name: jnp.zeros((rows, units), at_least_float32(dtype)) for name in find_cell(cell).carry}


class Gate(NamedTuple):
    """A block of a cell's products and the activation function that it goes through."""

    name: str
    function: str


GATES = {
    "rnn": (Gate("state", "tanh"),), "rnn_sigmoid": (Gate("state", "sigmoid"),), "rnn_relu": (Gate("state", "relu"),),
    "lstm": (
        Gate("input_gate", "sigmoid"), Gate("forget_gate", "sigmoid"), Gate("candidate", "tanh"),
        Gate("output_gate", "sigmoid"),
    ),
    "gru": (Gate("reset_gate", "sigmoid"), Gate("update_gate", "sigmoid"), Gate("candidate", "tanh")),
}  # fmt: skip
GATES["gru_before"] = GATES["gru"]


def gate_inputs(cell: str, products: jax.Array, states: jax.Array, recurrent: dict[str, jax.Array]) -> list[jax.Array]:
    """The inputs of the gates `GATES[cell]`, before their activation functions.

    Args:
        cell: of CELLS.
        products: [t, b, blocks u], `x W + b`.
        states: [t, b, u], the state h' before each input.
        recurrent: {"kernel": [u, blocks u]}, for a GRU also {"bias": [u]}.

    Returns:
        One array [t, b, u] for each gate.
    """
    blocks = len(GATES[cell])
    x = jnp.split(products, blocks, -1)  # of [t, b, u]
    h = jnp.split(states.astype(products.dtype) @ recurrent["kernel"], blocks, -1)
    if cell == "gru":  # the reset gate acts on the product, as in `gru`
        h[2] = jax.nn.sigmoid(x[0] + h[0]) * (h[2] + recurrent["bias"][None, None])
    if cell == "gru_before":
        reset = (jax.nn.sigmoid(x[0] + h[0]) * states).astype(products.dtype)
        h[2] = reset @ jnp.split(recurrent["kernel"], blocks, -1)[2]
    return [a + b for a, b in zip(x, h, strict=True)]


class Gates(nn.Module):
    """Records the gates of a layer for diagnostics (`nn/observe.py`), each as an activation of that name."""

    cell: str

    @nn.compact
    def __call__(self, products: jax.Array, states: jax.Array, recurrent: dict[str, jax.Array]) -> None:
        """Args: see `gate_inputs`."""
        for gate, z in zip(GATES[self.cell], gate_inputs(self.cell, products, states, recurrent), strict=True):
            observe.Activation(name=gate.name)(z, DERIVATIVES[gate.function](z))


def _orthogonal_blocks(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """An orthogonal matrix for each block, which keeps the norm of the state at first: [u, blocks u]."""
    units, blocks = shape[0], shape[1] // shape[0]
    one = nn.initializers.orthogonal()
    return jnp.concatenate([one(k, (units, units), dtype) for k in jax.random.split(key, blocks)], 1)


def _identity_blocks(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """The identity in each block: a vanilla cell of ReLU adds up its inputs at first."""
    del key
    return jnp.tile(jnp.eye(shape[0], dtype=dtype), (1, shape[1] // shape[0]))


RECURRENT_INITS = {"orthogonal": _orthogonal_blocks, "identity": _identity_blocks}


def _forget_gate(bias: float, key: jax.Array, shape: tuple[int], dtype: Any) -> jax.Array:
    """Zeros, but `bias` for the forget gate."""
    del key
    units = shape[0] // 4
    return jnp.zeros(shape, dtype).at[units : 2 * units].set(bias)


class Recurrent(nn.Module):
    """One layer of recurrent cells.

    Attributes:
        cell: "lstm"; "gru", or "gru_before" with its reset gate before the product; "rnn" of tanh, "rnn_sigmoid" or
            "rnn_relu".
        units: size of the state.
        reverse: whether it reads the sequence backwards.
        forget_bias: first bias of an LSTM's forget gate. With 1 it remembers from the start (Jozefowicz et al. 2015,
            "An Empirical Exploration of Recurrent Network Architectures", section 2.2).
        recurrent_init: of each block of the recurrent matrix: "orthogonal", which keeps the norm of the state, or
            "identity" (Le et al. 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units").
        dtype: of the matrix products.
    """

    cell: str
    units: int
    reverse: bool = False
    forget_bias: float = 1.0
    recurrent_init: str = "orthogonal"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, carry: Carry | None = None) -> tuple[jax.Array, Carry]:
        """Reads a sequence.

        Args:
            x: float [b, t, d].
            carry: the state before the first input; zeros by default.

        Returns:
            The states h after each input, [b, t, u], in the order of the inputs; the carry after the last input read.
        """
        cell, wide = find_cell(self.cell), at_least_float32(self.dtype)
        width = cell.blocks * self.units
        bias_init = self._bias_init()
        project = nn.Dense(width, bias_init=bias_init, dtype=self.dtype, param_dtype=wide, name="input")
        shape = (self.units, width)
        check_name(self.recurrent_init, RECURRENT_INITS, f"config.model.recurrent_init={self.recurrent_init!r}")
        kernel = self.param("recurrent_kernel", RECURRENT_INITS[self.recurrent_init], shape, wide)
        recurrent = {"kernel": kernel.astype(self.dtype)}
        if self.cell == "gru":
            recurrent["bias"] = self.param("recurrent_bias", nn.initializers.zeros, (self.units,), wide)
        if carry is None:
            carry = zero_carry(self.cell, x.shape[0], self.units, self.dtype)
        products = project(jnp.swapaxes(x, 0, 1))  # [t, b, blocks u]

        first = carry["h"][None]  # [1, b, u]
        run = _by_kernel if cell.by_kernel else through_time
        states, carry = run(self.cell, self.reverse, products, carry, recurrent)  # [t, b, u]
        if observe.inside():
            before = (states[1:], first) if self.reverse else (first, states[:-1])
            Gates(self.cell, name="gates")(products, jnp.concatenate(before), recurrent)
        return jnp.swapaxes(states, 0, 1), carry  # [b, t, u]

    def _bias_init(self) -> Callable[..., jax.Array]:
        if self.cell == "lstm":
            return partial(_forget_gate, self.forget_bias)
        if self.forget_bias != 1.0:
            raise ConfigError(
                f"config.model.forget_bias={self.forget_bias} is of an LSTM's gate, which cell={self.cell!r} has not; "
                "leave it out"
            )
        return nn.initializers.zeros


class Bidirectional(nn.Module):
    """A layer that reads forwards and one that reads backwards, with their states concatenated.

    Attributes: see `Recurrent`.

    Reference: Schuster and Paliwal 1997, "Bidirectional Recurrent Neural Networks".
    """

    cell: str
    units: int
    forget_bias: float = 1.0
    recurrent_init: str = "orthogonal"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x float [b, t, d]. Returns: states [b, t, 2 u], forwards first."""
        first = {"forget_bias": self.forget_bias, "recurrent_init": self.recurrent_init, "dtype": self.dtype}
        forwards, _ = Recurrent(self.cell, self.units, **first, name="forwards")(x)
        backwards, _ = Recurrent(self.cell, self.units, reverse=True, **first, name="backwards")(x)
        return jnp.concatenate([forwards, backwards], -1)
