"""Ensembles of 1, 3, 5 and 7 networks on digits: of one architecture from different first weights, of seven others.

    python launch.py --config configs/studies/ensembles.py --workdir runs/studies_ensembles

Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", table 2 (5 and 7 networks),
and Zeiler and Fergus 2014, table 2 (6), average the probabilities of several networks.

Measured, seed 0, error on 359 test digits, with 95 % intervals over five repeats, which share training and test images:

    networks   one architecture      seven architectures
    1          2.40 % [1.87, 2.92]   2.62 % [1.68, 3.55]
    3          2.01 % [1.55, 2.46]   1.73 % [1.44, 2.02]
    5          1.89 % [1.44, 2.35]   1.67 % [1.33, 2.02]
    7          1.73 % [1.57, 1.88]   1.62 % [1.33, 1.90]

In pairs with one network of the same repeat, seven of one architecture lose 0.67 points [0.27, 1.06] of error, seven
architectures 1.00 [-0.02, 2.03], which may be nothing. On 289 validation digits the gains are 0.48 [-0.50, 1.47] and
1.31 [0.29, 2.34]. About a minute of CPU time, most of it compiling; seven minutes of wall time on two CPU cores that
ran much else.
"""

from configs import datasets
from cvdl_jax.config import configs

HIDDEN = {
    "two": {"hidden": (100, 100)},
    "wide": {"hidden": (300,)},
    "tanh": {"hidden": (64, 64, 64), "activation": "tanh"},
    "narrow": {"hidden": (50,)},
    "normed": {"hidden": (100, 100), "norm": "layer"},
    "deep": {"hidden": (64, 64, 64, 64)},
    "silu": {"hidden": (200, 50), "activation": "silu"},
}
ARCHITECTURES = {name: {"name": "mlp", **fields} for name, fields in HIDDEN.items()}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    study = {"architectures": ARCHITECTURES}
    if arg.smoke:
        study = {"architectures": {k: ARCHITECTURES[k] for k in ("two", "tanh")}, "sizes": (1, 2), "repeats": 2}
    config = configs.base(study=study)
    config.experiment = "studies.ensembles"
    datasets.digits(config)
    config.select = {"metric": "", "mode": "max"}
    config.total_epochs = 30
    config.batch_size = 64
    config.log.every_steps = 54
    config.eval = {"every_epochs": 10}
    config.model = dict(ARCHITECTURES["two"])
    config.optim = {"name": "adam", "lr": 2e-3, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
