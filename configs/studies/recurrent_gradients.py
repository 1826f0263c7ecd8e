"""Gradients through fifty steps of recurrent networks vanish, explode or arrive, by cell, function and first matrix.

    python launch.py --config configs/studies/recurrent_gradients.py --workdir runs/studies_recurrent_gradients

Pascanu et al. 2013, "On the Difficulty of Training Recurrent Neural Networks", section 2; Le et al. 2015; Jozefowicz et
al. 2015, section 2.2. The derivative of ReLU is 0 or 1: its gradients explode through the recurrent matrix alone.

Measured with seed 0, as the power of ten by which a gradient changes over 50 steps: tanh -17.3 at a spectral radius of
0.5, -3.9 at 1, 0.0 at 1.5, -3.8 with an orthogonal matrix; sigmoid -31.9 at 1, -8.5 at 4; ReLU -8.3 at 1, +8.8 at 2,
-0.6 with the identity; LSTM -8.0, -2.3 and +0.7 with forget biases of 0, 1 and 4; GRU -7.5 and -0.4 with biases of 0
and 4. Clipping leaves of the gradient of ReLU at 2, of norm 4e9, the norm 1. 4 s on two CPU cores that ran others too.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies

CASES = (
    "tanh 0.5", "tanh 1.0", "tanh 1.5", "tanh orthogonal", "sigmoid 1.0", "sigmoid 4.0", "relu 1.0", "relu 2.0",
    "relu identity", "lstm 0", "lstm 1", "lstm 4", "gru 0", "gru 4",
)  # fmt: skip


def get_config(arg=None):
    """The study's numbers; `smoke` makes it smaller."""
    arg = configs.parse_arg(arg, smoke=False)
    if arg.smoke:
        return studies.base("recurrent_gradients", cases=("tanh 0.5", "lstm 1"), lag=4, units=4, examples=2)
    return studies.base("recurrent_gradients", cases=CASES, lag=50, units=32, examples=8)
