"""A discriminator that is too good leaves no gradient to a generator that plays the zero-sum game.

    python launch.py --config configs/studies/vanishing_gradient.py --workdir runs/studies_vanishing_gradient

Goodfellow et al. 2014, section 3; Arjovsky and Bottou 2017, "Towards Principled Methods for Training Generative
Adversarial Networks", section 2 and figure 2.

Measured: not measured yet.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` makes it smaller."""
    arg = configs.parse_arg(arg, smoke=False)
    if arg.smoke:
        return studies.base("vanishing_gradient", steps=(0, 2, 4), width=8, batch=16)
    return studies.base("vanishing_gradient", steps=(0, 5, 10, 20, 50, 100, 200, 500, 1000))
