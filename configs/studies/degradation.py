"""Degradation on digits: plain networks fit their training set worse the deeper they are, residual networks do not.

    python launch.py --config configs/studies/degradation.py --workdir runs/studies_degradation

He et al. 2016, "Deep Residual Learning for Image Recognition", sections 1 and 4.2, figure 6.

Measured, seed 0, accuracy on the 1,149 training images after 20 epochs: plain networks of 8, 20 and 44 layers 100, 100
and 67.5 %; residual ones 100 % each. On 359 test images the plain ones reach 98.6, 98.1 and 57.7 %, residual ones 98.9,
98.1 and 98.9 %. So it is no lack of data that harms the deepest plain network, and no lack of a solution: those of 8
and 20 layers, made as deep by blocks that are the identity, give the same logits within 1.9e-6, of either kind. 18
minutes, 7 of them compiling, on two CPU cores that many other programs shared.
"""

from configs import datasets
from cvdl_jax.config import configs

DEPTHS = (8, 20, 44)


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    kinds = {"plain": "none", "residual": "A"}
    models = {
        f"{kind}_{depth}": {"depths": ((depth - 2) // 6,) * 3, "shortcut": shortcut}
        for depth in (DEPTHS[:1] if arg.smoke else DEPTHS)
        for kind, shortcut in kinds.items()
    }
    config = configs.base(study={"models": models})
    datasets.classification(config, "digits")
    config.select = {"metric": "", "mode": "max"}
    config.experiment = "studies.degradation"
    config.total_epochs = 20
    config.eval = {"every_epochs": 10}
    config.model = {"name": "resnet20"}
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    return configs.smoke(config) if arg.smoke else config
