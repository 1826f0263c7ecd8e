"""Recurrent sequence model: layers of LSTM, GRU or vanilla cells on one-hot symbols, then a linear layer of scores.

A sequence model takes symbols and a state, `model(symbols [b, t], train, carry)`; `sample` draws a sequence from it.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.recurrent import Recurrent, zero_carry
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # two layers, as Karpathy et al. 2016, "Visualizing and Understanding Recurrent Networks", section 3
    "lstm": {
        "input": (1,), "num_classes": 65, "cell": "lstm",
        "params": 871_745,  # 4 * 256 * (65 + 256 + 1) + 4 * 256 * (512 + 1) + 65 * 257
    },
    "gru": {
        "input": (1,), "num_classes": 65, "cell": "gru",
        "params": 658_497,  # 3 * 256 * (65 + 256 + 1) + 3 * 256 * (512 + 1) + 2 * 256 + 65 * 257
    },
    "rnn": {
        "input": (1,), "num_classes": 65, "cell": "rnn",
        "params": 230_465,  # 256 * (65 + 256 + 1) + 256 * (512 + 1) + 65 * 257
    },
    "lstm_tiny": {
        "input": (1,), "num_classes": 65, "cell": "lstm", "units": 8,
        "params": 3_497,  # 4 * 8 * (65 + 8 + 1) + 4 * 8 * (16 + 1) + 65 * 9
    },
    "gru_tiny": {
        "input": (1,), "num_classes": 65, "cell": "gru", "units": 8,
        "params": 2_785,  # 3 * 8 * (65 + 8 + 1) + 3 * 8 * (16 + 1) + 2 * 8 + 65 * 9
    },
    "rnn_tiny": {
        "input": (1,), "num_classes": 65, "cell": "rnn", "units": 8,
        "params": 1_313,  # 8 * (65 + 8 + 1) + 8 * (16 + 1) + 65 * 9
    },
}  # fmt: skip
Carry = dict[str, dict[str, jax.Array]]


class RecurrentModel(nn.Module):
    """Scores of the next symbol after each symbol of a sequence.

    Attributes:
        num_classes: number of symbols.
        cell: see `nn/recurrent.py:Recurrent`, as `forget_bias` and `recurrent_init`.
        layers: number of recurrent layers.
        units: number of units of every layer.
        dropout: rate on the output of each layer, never on the way from one time to the next (Zaremba et al. 2014).
        forget_bias: first bias of the forget gates of an LSTM.
        recurrent_init: "orthogonal" or "identity".
        dtype: dtype of the matrix products; states, gates and scores are at least float32.
    """

    num_classes: int
    cell: str = "lstm"
    layers: Layers = 2
    units: Size = 256
    dropout: Share = 0.0
    forget_bias: float = 1.0
    recurrent_init: str = "orthogonal"
    dtype: Any = jnp.float32

    def zero_carry(self, rows: int) -> Carry:
        """The state before the first symbol: {layer: {name: zeros [rows, units]}}."""
        return {f"layer{i}": zero_carry(self.cell, rows, self.units, self.dtype) for i in range(self.layers)}

    @nn.compact
    def __call__(self, symbols: jax.Array, train: bool, carry: Carry | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Reads symbols and predicts the next ones.

        Args:
            symbols: int [b, t]; -1 is "no symbol", a vector of zeros.
            train: dropout on.
            carry: the state after what came before; zeros by default.

        Returns:
            logits [b, t, num_classes]; {"carry": the state after the last symbol, "pre_logits": [b, t, units]}.
        """
        if min(self.layers, self.units) < 1:
            raise ConfigError(f"config.model: layers={self.layers} and units={self.units} must be at least 1")
        carry = self.zero_carry(symbols.shape[0]) if carry is None else carry
        x = jax.nn.one_hot(symbols, self.num_classes, dtype=self.dtype)  # [b, t, num_classes]
        first, new = {"forget_bias": self.forget_bias, "recurrent_init": self.recurrent_init, "dtype": self.dtype}, {}
        for layer in (f"layer{i}" for i in range(self.layers)):
            x, new[layer] = Recurrent(self.cell, self.units, **first, name=layer)(x, carry[layer])
            x = Dropout(self.dropout)(x, train)  # [b, t, units]
        wide = at_least_float32(self.dtype)
        logits = nn.Dense(self.num_classes, dtype=wide, param_dtype=wide, name="head")(x)
        return logits, {"carry": new, "pre_logits": x}


def build(
    variant: str, num_classes: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any
) -> RecurrentModel:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for `remat`, which is not possible here.
    """
    if remat:
        raise ConfigError(f"{variant} has no blocks to rematerialise; set config.remat=False and a shorter bptt")
    return from_row(RecurrentModel, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def example(row: dict[str, Any]) -> tuple[jax.Array]:
    """One symbol, as int32 [1, 1]."""
    return (jnp.zeros((1, *row["input"]), jnp.int32),)


def sample(
    model: RecurrentModel, params: Any, prompt: jax.Array, key: jax.Array, length: int, temperature: jax.Array
) -> jax.Array:
    """Symbols from the model: each drawn from softmax(scores / temperature) and fed back.

    Args:
        model: the module, without parameters.
        params: parameters of the model.
        prompt: int [p], read first.
        key: a typed key.
        length: symbols to draw.
        temperature: float []; below 1 bolder, towards the most probable symbol; above 1 more random.

    Returns:
        int32 [length].
    """

    def read(symbols: jax.Array, carry: Carry) -> tuple[jax.Array, Carry]:
        logits, out = model.apply({"params": params}, symbols[None], False, carry)
        return logits[0, -1], out["carry"]

    def draw(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        logits, carry = state
        symbol = jax.random.categorical(key, logits / temperature)
        return read(symbol[None], carry), symbol

    start = read(jnp.asarray(prompt), model.zero_carry(1))
    return jax.lax.scan(draw, start, jax.random.split(key, length))[1].astype(jnp.int32)
