"""A learning rate that is too high kills ReLU units for good; a slope on the negative side keeps them alive.

    python launch.py --config configs/studies/dead_units.py --workdir runs/studies_dead_units

Maas et al. 2013, section 2, for Leaky ReLU; He et al. 2015, section 2.1, for PReLU. The run switches on the diagnostics
that every run has: `dead` is the share of units of a layer whose derivative is below 0.01 for every validation image.

Measured: dead units of the three layers with ReLU 94, 84 and 83 %, with Leaky ReLU and PReLU none, with sigmoid 41, 100
and 100 %; test accuracy 50.42, 84.68, 88.58 and 10.03 %, seed 0, 23 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    models = {
        "relu": {"activation": "relu"},
        "leaky_relu": {"activation": "leaky_relu(slope=0.1)"},
        "prelu": {"activation": "prelu"},
        "sigmoid": {"activation": "sigmoid"},
    }
    config = configs.base(study={"models": models})
    datasets.digits(config)
    config.select = {"metric": "", "mode": "max"}
    config.experiment = "studies.perceptrons"
    config.diagnostics = {"activations": True, "gradients": True}
    config.total_epochs = 20
    config.batch_size = 64
    config.eval = {"every_epochs": 2}
    config.model = {"name": "mlp", "hidden": (64, 64, 64)}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adam", "lr": 0.1}
    return configs.smoke(config) if arg.smoke else config
