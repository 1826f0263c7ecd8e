"""Gradient descent on a quadratic converges below the rate 2 / L, L the largest curvature, and diverges above it.

python launch.py --config configs/studies/learning_rate.py --workdir runs/studies_learning_rate

Nocedal and Wright 2006, "Numerical Optimization", section 3.3; with momentum, 2 (1 + beta) / L (Polyak 1964).

Measured, with L = 20 and mu = 1: divergence from 0.1003 without momentum (2 / L = 0.1, in steps of 0.25 %), and from
0.1900 with 0.9 (predicted 0.19). Steps until the loss is a thousandth: over 500 at 2 % of the threshold, 96 at 20 %, 21
at 90 %, 170 at 99 %. 2 s on two CPU cores.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The run's numbers; `smoke` makes the search coarse."""
    arg = configs.parse_arg(arg, smoke=False)
    size = {"steps": 20, "rates": 21} if arg.smoke else {"steps": 500, "rates": 401}
    return studies.base("learning_rate", curvatures=(1.0, 20.0), momentum=0.9, **size)
