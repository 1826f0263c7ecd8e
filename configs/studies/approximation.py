"""Universal approximation: one hidden layer of 1 to 64 tanh units fitted to a curve, and to a few noisy points of it.

    python launch.py --config configs/studies/approximation.py --workdir runs/studies_approximation

Reference: Cybenko 1989, "Approximation by Superpositions of a Sigmoidal Function".

Measured, seed 0: root mean squared error 0.498, 0.104, 0.018, 0.014 with 1, 4, 16, 64 units. 64 units fitted to twelve
noisy points miss them by 3.6e-7, and the curve by 0.26. 11 s of CPU time.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(study={"units": (1, 4, 16, 64), "activation": "tanh", "few": 12, "noise": 0.3})
    config.experiment = "studies.approximation"
    config.total_steps = 10_000
    config.batch_size = 1  # there are no batches
    config.log.every_steps = 500
    config.eval = {"every_percent": 10}
    config.optim = {"name": "adam", "lr": 1e-2, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
