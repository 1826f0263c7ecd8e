"""Recurrent networks that label sequences of symbols or vectors: one label, one for each step, or several afterwards.

Such a network is `model(x, train) -> (scores, out)` of a structure (`nn/structures.py`).
"""

from typing import Any

import jax.numpy as jnp

from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.structures import SequenceLabeller

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


def build(
    variant: str, num_classes: int, structure: str, steps: int, dtype: Any = jnp.float32, **overrides: Any
) -> SequenceLabeller:
    """A variant of the table with overrides."""
    context = {"num_classes": num_classes, "structure": structure, "steps": steps, "dtype": dtype}
    return from_row(SequenceLabeller, VARIANTS[variant], overrides, **context)
