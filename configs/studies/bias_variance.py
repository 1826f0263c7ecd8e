"""Bias and variance of polynomials fitted to a noisy sine: one falls with the degree, the other rises.

    python launch.py --config configs/studies/bias_variance.py --workdir runs/studies_bias_variance

Reference: Geman et al. 1992, "Neural Networks and the Bias/Variance Dilemma".

Measured, seed 0, 500 samples of 25: bias^2 0.495, 0.203, 0.0048, 3.6e-5 and variance 0.003, 0.007, 0.014, 0.023 for
degrees 0, 1, 3, 5; variance 0.64 for degree 12. Degree 3 has the smallest error, 0.019. 4 s of CPU time.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The run's numbers; `smoke` makes it tiny."""
    arg = configs.parse_arg(arg, smoke=False)
    if arg.smoke:
        return studies.base("bias_variance", degrees=(0, 3, 9), repeats=10)
    return studies.base("bias_variance", degrees=(0, 1, 2, 3, 5, 7, 9, 12), examples=25, noise=0.3, repeats=500)
