"""A deep Q-network that balances the pole of CartPole-v1.

    python launch.py --config configs/rl/dqn.py --workdir runs/cartpole_dqn

Mnih et al. 2015, "Human-level control through deep reinforcement learning". The task counts as solved at a mean return
of 475 over 100 episodes.

Measured with seeds 0, 1 and 2 on two shared CPU cores, compilation included:

    environment  test/return  wall time
    cartpole     500.0 each   21 to 23 s
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(
        environment={"name": "cartpole"},
        agent={"discount": 0.99, "capacity": 625, "draws": 8, "target_every": 50, "episodes": 100},
        exploration={"name": "epsilon_greedy", "start": 1.0, "end": 0.05, "steps": 15_000},
    )
    config.experiment = "qlearn"
    config.total_steps = 40_000  # 640,000 environment steps
    config.batch_size = 16  # environments
    config.eval = {"every_steps": 1000}
    config.log.every_steps = 500
    config.model = {"name": "mlp", "hidden": (120, 84)}
    config.loss = {"name": "squared"}
    config.optim = {"name": "adam", "lr": 2.5e-4}
    config.select = {"metric": "validation/return", "mode": "max"}
    return configs.smoke(config) if arg.smoke else config
