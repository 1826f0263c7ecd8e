"""What small random, Xavier and He initialisation do to activations and gradients in ten layers.

    python launch.py --config configs/studies/activation_statistics.py --workdir runs/studies_activation_statistics

After a notebook of A. Karpathy, whose printed lists are in the experiment; Glorot and Bengio 2010, section 4.2; He et
al. 2015, section 2.2.

Measured, seed 0, mean of ten seeds: N(0, 0.01^2) with tanh: activations shrink from 0.2138 to 3e-7, gradients by 1.3e-6
on the way back; Xavier with tanh: 0.6280 to 0.2271, gradients by 0.28; Xavier with ReLU: 0.5847 to 0.0251, by 0.043;
He with ReLU: 0.8268 to 0.8039, by 0.98. Largest difference from a printed standard deviation: 0.4 %, 0.8 %, 5.1 % and
17.8 %; the last two are 2.0 and 2.1 standard deviations between seeds. 45 s on two shared CPU cores.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` makes the layers small."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("activation_statistics", units=500, examples=1000, seeds=10)
    if arg.smoke:
        config.study = {"units": 40, "examples": 60, "seeds": 2}
    return config
