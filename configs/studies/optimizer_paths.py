"""Optimizers on level sets: their paths on a ravine, a saddle, Rosenbrock's valley and Beale's function.

python launch.py --config configs/studies/optimizer_paths.py --workdir runs/studies_optimizer_paths

Goodfellow, Bengio and Courville 2016, "Deep Learning", figures 8.5 and 8.6, are of this kind.

Measured: steps after which the loss stays within 1 % of its first distance to the minimum (200: not within 200 steps).

    surface      sgd  momentum  nesterov  adagrad  rmsprop  rmsprop_norm  adam  schedule_free
    ravine       103        44        19       12      125           167    36            139
    saddle       140        63        87       20       95           116    69             56
    rosenbrock   184        60       108      200      200           200    66            150
    beale         28        72        33       20      127           100    36             39

Each at the rate that ends lowest, not soonest, and stays in the figure. 6 s on two CPU cores.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies

OPTIMIZERS = {
    "sgd": {"name": "sgd"},
    "momentum": {"name": "sgd", "momentum": 0.9},
    "nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "adagrad": {"name": "adagrad"},
    "rmsprop": {"name": "rmsprop"},
    "rmsprop_norm": {"name": "rmsprop", "norm": "tensor"},
    "adam": {"name": "adam"},
    "schedule_free": {"name": "schedule_free_sgd"},
}


def get_config(arg=None):
    """The run's numbers; `smoke` leaves two optimizers, two rates and few steps."""
    arg = configs.parse_arg(arg, smoke=False)
    optimizers = {name: OPTIMIZERS[name] for name in ("sgd", "adam")} if arg.smoke else OPTIMIZERS
    rates = (0.001, 0.01) if arg.smoke else tuple(float(f"{10 ** (k / 4):.3g}") for k in range(-16, 3))
    return studies.base("optimizer_paths", optimizers=optimizers, steps=5 if arg.smoke else 200, rates=rates)
