"""Recurrent networks that label sequences of symbols or vectors: one label, one for each step, or several afterwards.

Such a network is `model(x, train) -> (scores, out)` of a structure (`nn/structures.py`).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn import structures
from cvdl_jax.nn.common import head
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.recurrent import Bidirectional, Recurrent

VARIANTS = {
    # one layer and a linear one, the sizes of Le et al. 2015, section 4.1, with 64 in the place of 100 units
    "lstm_labeller": {
        "input": (50, 2), "num_classes": 10, "structure": "many_to_one", "steps": 1, "cell": "lstm",
        "params": 17_802,  # 4 * 64 * (2 + 64 + 1) + 65 * 10
    },
    "gru_labeller": {
        "input": (50, 2), "num_classes": 10, "structure": "many_to_one", "steps": 1, "cell": "gru",
        "params": 13_578,  # 3 * 64 * (2 + 64 + 1) + 64 + 65 * 10
    },
    "rnn_labeller": {
        "input": (50, 2), "num_classes": 10, "structure": "many_to_one", "steps": 1, "cell": "rnn",
        "params": 4_938,  # 64 * (2 + 64 + 1) + 65 * 10
    },
    # Graves et al. 2009, "A Novel Connectionist System for Unconstrained Handwriting Recognition", section 4: 100 cells
    # each way
    "blstm_labeller": {
        "input": (50, 3), "num_classes": 10, "structure": "many_to_many", "steps": 1, "cell": "lstm", "units": 100,
        "bidirectional": True,
        "params": 85_210,  # 2 * 4 * 100 * (3 + 100 + 1) + 201 * 10
    },
    "lstm_labeller_tiny": {
        "input": (5, 3), "num_classes": 10, "structure": "many_to_one", "steps": 1, "cell": "lstm", "units": 4,
        "params": 178,  # 4 * 4 * (3 + 4 + 1) + 5 * 10
    },
}  # fmt: skip


class SequenceLabeller(nn.Module):
    """Layers of recurrent cells, and a linear layer of scores on the states that the structure reads off.

    Attributes:
        num_classes: scores of an output.
        structure: of `nn/structures.py`.
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
        x = structures.laid_out(x, self.structure, self.steps)
        how = {"forget_bias": self.forget_bias, "recurrent_init": self.recurrent_init, "dtype": self.dtype}
        for layer in (f"layer{i}" for i in range(self.layers)):
            if self.bidirectional:
                x = Bidirectional(self.cell, self.units, **how, name=layer)(x)
            else:
                x, _ = Recurrent(self.cell, self.units, **how, name=layer)(x)
            x = Dropout(self.dropout)(x, train)  # [b, T, units]
        x = structures.outputs(x, self.structure, self.steps, self.bidirectional)
        return head(x, self.num_classes, self.dtype), {"pre_logits": x}


def build(
    variant: str, num_classes: int, structure: str, steps: int, dtype: Any = jnp.float32, **overrides: Any
) -> SequenceLabeller:
    """A variant of the table with overrides."""
    context = {"num_classes": num_classes, "structure": structure, "steps": steps, "dtype": dtype}
    return from_row(SequenceLabeller, VARIANTS[variant], overrides, **context)
