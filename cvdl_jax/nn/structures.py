"""Which inputs a recurrent network reads and which of its states are read off: the structures of input and output.

A network that runs for T steps has an input at some of them and an output at some; where there is no input it reads a
vector of zeros.

    structure     inputs at      outputs at                example
    one_to_one    0              0                         an ordinary network
    one_to_many   0              0 ... s - 1               a caption of an image
    many_to_one   0 ... t - 1    t - 1                     the motion in a clip
    many_to_many  0 ... t - 1    0 ... t - 1, in step      a label for each pen movement
    delayed       0 ... t - 1    t ... t + s - 1           a translation, written after everything is read

Reference: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks", the first figure.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size, check_name
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.common import head
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.recurrent import Bidirectional, Recurrent

STRUCTURES = ("one_to_one", "one_to_many", "many_to_one", "many_to_many", "delayed")
SEVERAL = ("one_to_many", "delayed")  # whose number of outputs is not that of the inputs


def check(structure: str, steps: int) -> None:
    """Refuses an unknown structure, or a number of outputs that it does not ask for.

    Raises:
        ConfigError: naming the value.
    """
    check_name(structure, STRUCTURES, f"structure={structure!r} is not known")
    if steps < 1 or (steps > 1 and structure not in SEVERAL):
        raise ConfigError(f"structure={structure!r} has no use for steps={steps}; leave it at 1")


def laid_out(x: jax.Array, structure: str, steps: int = 1) -> jax.Array:
    """The inputs of every step, zeros where there is none.

    Args:
        x: float [b, d] where the structure begins with one, else [b, t, d].
        structure: of STRUCTURES.
        steps: s, the number of outputs of "one_to_many" and "delayed".

    Returns:
        [b, T, d].

    Raises:
        ConfigError: for an input of another shape.
    """
    check(structure, steps)
    one = structure.startswith("one")
    if x.ndim != (2 if one else 3):
        raise ConfigError(f"structure={structure!r} takes inputs {'[b, d]' if one else '[b, t, d]'}, got {x.shape}")
    x = x[:, None] if one else x
    later = {"one_to_many": steps - 1, "delayed": steps}.get(structure, 0)
    return jnp.pad(x, ((0, 0), (0, later), (0, 0)))


def outputs(states: jax.Array, structure: str, steps: int = 1, both_ways: bool = False) -> jax.Array:
    """The states that are read off.

    Args:
        states: of every step, [b, T, u].
        structure: of STRUCTURES.
        steps: s.
        both_ways: the second half of u is of a layer that reads backwards, whose last state is the first.

    Returns:
        [b, u] where the structure ends in one, else [b, t or s, u].
    """
    check(structure, steps)
    if structure == "delayed":
        return states[:, -steps:]
    if not structure.endswith("one"):
        return states
    if not both_ways:
        return states[:, -1]
    forwards, backwards = jnp.split(states, 2, -1)
    return jnp.concatenate([forwards[:, -1], backwards[:, 0]], -1)


class SequenceLabeller(nn.Module):
    """Layers of recurrent cells, and a linear layer of scores on the states that the structure reads off.

    Attributes:
        num_classes: scores of an output.
        structure: of STRUCTURES.
        steps: outputs of "one_to_many" and "delayed"; 1 for the others.
        cell: see `nn/recurrent.py:Recurrent`, as `forget_bias` and `recurrent_init`.
        layers: number of recurrent layers.
        units: of every layer, in each direction.
        bidirectional: every layer reads both ways; only where all outputs come with the last input or before it.
        dropout: rate on the output of each layer.
        forget_bias: first bias of the forget gates of an LSTM.
        recurrent_init: "orthogonal" or "identity".
        dtype: of the matrix products; states and scores are at least float32.
    """

    num_classes: int
    structure: str = "many_to_one"
    steps: Size = 1
    cell: str = "lstm"
    layers: Layers = 1
    units: Size = 64
    bidirectional: bool = False
    dropout: Share = 0.0
    forget_bias: float = 1.0
    recurrent_init: str = "orthogonal"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores of the outputs.

        Args:
            x: float [b, t, d], or [b, d] where the structure begins with one; or int [b, t] or [b], symbols that are
                numbered as the classes are.
            train: dropout on.

        Returns:
            scores [b, num_classes], or [b, t or steps, num_classes]; {"pre_logits": the states they are made of}.

        Raises:
            ConfigError: for an input that the structure does not take, or a bidirectional network that would have to
                know inputs that do not exist.
        """
        if self.bidirectional and not self.structure.startswith("many"):
            raise ConfigError(
                f"config.model.bidirectional=True reads whole sequences, which structure={self.structure!r} has not; "
                "leave it out"
            )
        if jnp.issubdtype(x.dtype, jnp.integer):
            x = jax.nn.one_hot(x, self.num_classes, dtype=self.dtype)
        x = laid_out(x, self.structure, self.steps)
        how = {"forget_bias": self.forget_bias, "recurrent_init": self.recurrent_init, "dtype": self.dtype}
        for layer in (f"layer{i}" for i in range(self.layers)):
            if self.bidirectional:
                x = Bidirectional(self.cell, self.units, **how, name=layer)(x)
            else:
                x, _ = Recurrent(self.cell, self.units, **how, name=layer)(x)
            x = Dropout(self.dropout)(x, train)  # [b, T, units]
        x = outputs(x, self.structure, self.steps, self.bidirectional)
        return head(x, self.num_classes, self.dtype), {"pre_logits": x}
