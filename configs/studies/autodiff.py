"""The graph engine, the equations of back-propagation, automatic differentiation and differences give one gradient.

    python launch.py --config configs/studies/autodiff.py --workdir runs/studies_autodiff

Baydin et al. 2018, section 2.1 and figure 3, for the error of differences against their step.

Measured: tape and equations within 6.3e-15 of `jax.grad` in float64; central differences at best 1.8e-10 (h = 1e-5) in
float64 and 9.9e-5 (h = 1e-2) in float32, forward differences 7.4e-8 (1e-7) and 2.0e-3 (1e-3); 1 s on two CPU cores.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` makes it smaller."""
    arg = configs.parse_arg(arg, smoke=False)
    if arg.smoke:
        return studies.base("autodiff", sizes=(2, 3, 1), examples=3, least=-4)
    return studies.base("autodiff", sizes=(6, 10, 3), examples=20, least=-12)
