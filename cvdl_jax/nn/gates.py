"""The inputs of the gates of a recurrent layer, computed again for whoever looks at how saturated they are."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.nn import observe
from cvdl_jax.ops.activation_derivatives import DERIVATIVES


class Gate(NamedTuple):
    """A block of a cell's products and the function it goes through."""

    name: str
    function: str


GATES = {
    "rnn": (Gate("state", "tanh"),),
    "lstm": (
        Gate("input_gate", "sigmoid"), Gate("forget_gate", "sigmoid"), Gate("candidate", "tanh"),
        Gate("output_gate", "sigmoid"),
    ),
    "gru": (Gate("reset_gate", "sigmoid"), Gate("update_gate", "sigmoid"), Gate("candidate", "tanh")),
}  # fmt: skip


def inputs(cell: str, products: jax.Array, states: jax.Array, recurrent: dict[str, jax.Array]) -> list[jax.Array]:
    """What each of `GATES[cell]` is a function of.

    Args:
        cell: "rnn", "lstm" or "gru".
        products: [t, b, blocks u], `x W + b`.
        states: [t, b, u], the state h' before each input.
        recurrent: {"kernel": [u, blocks u]}, for a GRU also {"bias": [u]}.

    Returns:
        One [t, b, u] for each gate.
    """
    blocks = len(GATES[cell])
    x, h = (jnp.split(each, blocks, -1) for each in (products, states.astype(products.dtype) @ recurrent["kernel"]))
    if cell == "gru":  # the reset gate acts on the product, as in `recurrent.gru`
        h[2] = jax.nn.sigmoid(x[0] + h[0]) * (h[2] + recurrent["bias"][None, None])
    return [a + b for a, b in zip(x, h, strict=True)]


class Gates(nn.Module):
    """Shows the gates of a layer to whoever looks; each is one activation of that name."""

    cell: str

    @nn.compact
    def __call__(self, products: jax.Array, states: jax.Array, recurrent: dict[str, jax.Array]) -> None:
        """Args: see `inputs`."""
        for gate, z in zip(GATES[self.cell], inputs(self.cell, products, states, recurrent), strict=True):
            observe.Activation(name=gate.name)(z, DERIVATIVES[gate.function](z))
