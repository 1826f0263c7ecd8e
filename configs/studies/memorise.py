"""Random-label memorisation on digits: a small network fits labels drawn at random as well as true ones.

    python launch.py --config configs/studies/memorise.py --workdir runs/studies_memorise

Reference: Zhang et al. 2017, "Understanding Deep Learning Requires Rethinking Generalization", section 2.

Measured, seed 0: 100 % of 1,149 training images right with either kind of label. Of 289 validation images 98.3 % with
true labels, 8.0 % with random ones; the gap of the losses is 0.09 and 7.7. 17 s of CPU time.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "train", "validation": "validation"}
    config = configs.base(study={"data": data, "examples": 32 if arg.smoke else 0})
    config.experiment = "studies.memorise"
    config.total_steps = 4000
    config.batch_size = 128
    config.log.every_steps = 200
    config.eval = {"every_percent": 5}
    config.model = {"name": "mlp", "hidden": (256, 256)}
    config.optim = {"name": "adam", "lr": 2e-3, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
