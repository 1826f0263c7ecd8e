"""Tabular Q-learning on the 4 x 4 grid world of Sutton and Barto 2018, example 4.1.

    python launch.py --config configs/rl/qlearn.py --workdir runs/gridworld_qlearn

Sixteen environments share one table; each step moves its entries by lr times the mean error. The policy explores at
random throughout, so every action is tried, and the table becomes that of value iteration.

Measured on two shared CPU cores, compilation included:

    environment  largest error of the table  wall time
    gridworld    below 1e-4                  14 s
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(
        environment={"name": "gridworld", "size": 4, "max_steps": 100},
        agent={"discount": 1.0, "capacity": 1, "draws": 1, "target_every": 1, "episodes": 100},
        exploration={"name": "epsilon_greedy", "start": 1.0, "end": 1.0, "steps": 0},
    )
    config.experiment = "qlearn"
    config.total_steps = 2000
    config.batch_size = 16
    config.eval = {"every_steps": 500}
    config.log.every_steps = 100
    config.model = {"name": "linear", "bias": False}
    config.loss = {"name": "squared"}
    config.optim = {"name": "sgd", "lr": 1.0}
    return configs.smoke(config) if arg.smoke else config
