"""Units that begin equal stay equal: a perceptron on circles, from zeros, from a constant, and from random weights.

    python launch.py --config configs/studies/symmetry.py --workdir runs/studies_symmetry

Goodfellow et al. 2016, "Deep Learning", section 8.4.

Measured, seed 0, validation accuracy and the number of different units among 16 after training: zeros 50.0 %, 1;
constant 51.4 %, 1; U(0, 0.01) 99.8 %, 16; N(0, 0.01^2) 100 %, 16; sparse 100 %, 16; Xavier (auto, for tanh) 100 %, 16.
20 s on two shared CPU cores.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(study={"inits": ("zeros", "constant(0.1)", "uniform", "normal", "sparse(0.5)", "auto")})
    config.experiment = "studies.symmetry"
    config.data = {"name": "circles", "train": "train", "validation": "validation"}
    config.total_epochs = 40
    config.batch_size = 50
    config.eval = {"every_epochs": 10}
    config.model = {"name": "mlp", "hidden": (16,), "activation": "tanh"}
    config.optim = {"name": "sgd", "lr": 0.5, "momentum": 0.9}
    return configs.smoke(config) if arg.smoke else config
