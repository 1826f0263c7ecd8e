"""Proximal policy optimisation on CartPole-v1 or Pong.

    python launch.py --config configs/rl/ppo.py --workdir runs/cartpole_ppo
    python launch.py --config configs/rl/ppo.py:environment=pong --workdir runs/pong_ppo

Schulman et al. 2017, "Proximal Policy Optimization Algorithms", with the numbers of its section 6.1 for small tasks
where they fit. With `--config.agent.epochs=1 --config.agent.parts=1` it is an advantage actor-critic. Pong is our own
field (`cvdl_jax/rl/pong.py`) of games to five points: a return of 5 wins every point, that of a random player is near
-4; `--config.environment.observation=pixels` plays from pictures.

Measured with seed 0 on two CPU cores that ran other programs too, compilation included; cartpole with seeds 1 and 2,
too (`configs/tables/cartpole.py`), all alike:

    environment  test/return  wall time
    cartpole     500.0        24 s
    pong         4.82         49 s
"""

from cvdl_jax.config import configs

STEPS = {"cartpole": 150, "pong": 600}  # 300,000 and 2.5 million decisions


def get_config(arg=None):
    """The run's numbers; `environment` is cartpole or pong; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, environment=configs.OneOf(STEPS), smoke=False)
    config = configs.base(
        environment={"name": arg.environment, **({"max_steps": 8} if arg.smoke else {})},
        agent={"discount": 0.99, "trace": 0.95, "horizon": 8 if arg.smoke else 128, "episodes": 100},
    )
    config.experiment = "ppo"
    config.total_steps = STEPS[arg.environment]
    config.batch_size = {"cartpole": 16, "pong": 32}[arg.environment]  # environments
    config.eval = {"every_percent": 10}
    config.log.every_steps = 20
    config.model = {"name": "mlp", "hidden": (64, 64)}
    config.optim = {"name": "adam", "lr": 2.5e-3 if arg.environment == "cartpole" else 1e-3, "clip_norm": 0.5}
    config.optim.schedule = {"name": "linear"}
    config.select = {"metric": "validation/return", "mode": "max"}
    return configs.smoke(config) if arg.smoke else config
