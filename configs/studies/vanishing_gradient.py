"""A discriminator that is too good leaves no gradient to a generator that plays the zero-sum game.

    python launch.py --config configs/studies/vanishing_gradient.py --workdir runs/studies_vanishing_gradient

Goodfellow et al. 2014, section 3; Arjovsky and Bottou 2017, "Towards Principled Methods for Training Generative
Adversarial Networks", section 2 and figure 2.

Measured, seed 0: while the discriminator trains for 1,000 steps against a generator that stands still, the base-10
logarithm of the norm of the generator's gradient falls from 0.78 to -7.61 by the minimax loss and rises from 0.97 to
1.79 by the non-saturating one; the discriminator ends with an accuracy of 1. 11 s on two CPU cores.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` makes it smaller."""
    arg = configs.parse_arg(arg, smoke=False)
    if arg.smoke:
        return studies.base("vanishing_gradient", steps=(0, 2, 4), width=8, batch=16)
    return studies.base("vanishing_gradient", steps=(0, 5, 10, 20, 50, 100, 200, 500, 1000))
