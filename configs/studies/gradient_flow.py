"""Gradients through twenty layers vanish, explode or arrive, by activation and initial weights.

    python launch.py --config configs/studies/gradient_flow.py --workdir runs/studies_gradient_flow

Glorot and Bengio 2010, section 4.2 and figures 6 and 7; He et al. 2015, section 2.2.

Measured, as the power of ten by which the gradient changes from the last layer to the first: ReLU +0.1 with He's
weights, -2.8 with LeCun's, -23.7 with 0.01, +6.3 with a gain of 3; tanh -0.7 with LeCun's, -20.8 with 0.01; sigmoid
-12.0 with LeCun's; 1 s on two CPU cores.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies

CASES = (
    "sigmoid lecun", "sigmoid large", "tanh small", "tanh lecun", "tanh large",
    "relu small", "relu lecun", "relu he", "relu large", "leaky_relu he",
)  # fmt: skip


def get_config(arg=None):
    """The study's numbers; `smoke` makes it smaller."""
    arg = configs.parse_arg(arg, smoke=False)
    if arg.smoke:
        return studies.base("gradient_flow", cases=("relu he", "tanh lecun"), depth=3, width=8, examples=8)
    return studies.base("gradient_flow", cases=CASES, depth=20, width=64, examples=128)
