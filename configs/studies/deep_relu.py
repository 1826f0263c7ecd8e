"""Whether 22 and 30 layers of ReLU converge, from He's and from Xavier's initialisation.

    python launch.py --config configs/studies/deep_relu.py --workdir runs/studies_deep_relu

He et al. 2015, "Delving Deep into Rectifiers", figures 2 and 3, at small scale: perceptrons of 64 units on the digits,
SGD with momentum, three seeds. "Ratio" is the training loss divided by that before the first step.

Measured, seed 0, step 500: with 30 layers every He network has a ratio of at most 0.039 (97.13 % training accuracy),
every Xavier network of at least 0.990; with 22 layers at most 0.018 and 0.866 to 0.994. At step 2000
(--config.total_steps=2000) the Xavier networks of 22 layers have converged too, only later: 96.78 % training accuracy.
Those of 30 layers left the plateau between steps 600 and 1200 (ratio 0.27 to 0.32, 71.83 %): at this size the stall is
long, not final as in the paper. 60 s for 500 steps on two shared CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    study = {"layers": (22, 30), "inits": ("he_normal", "xavier_fan_in"), "units": 64, "seeds": 3}
    config = configs.base(study=study)
    datasets.digits(config)
    config.select = {"metric": "", "mode": "max"}
    config.experiment = "studies.deep_relu"
    config.total_steps = 500
    config.batch_size = 64
    config.eval = {"every_steps": 100}
    config.model = {"name": "mlp"}
    config.optim = {"name": "sgd", "lr": 0.003, "momentum": 0.9}
    if arg.smoke:
        configs.smoke(config)
        config.study.update({"layers": (3, 4), "units": 8, "seeds": 2})
    return config
