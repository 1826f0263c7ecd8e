"""REINFORCE on CartPole-v1: whole episodes, rewards to go, and the mean of the other episodes as baseline.

    python launch.py --config configs/rl/reinforce.py --workdir runs/cartpole_reinforce
    python launch.py --config configs/rl/reinforce.py:baseline=value --workdir runs/cartpole_reinforce_value
    python launch.py --config configs/rl/reinforce.py:baseline=none --workdir runs/cartpole_reinforce_none

Williams 1992; Sutton and Barto 2018, section 13.4 (a learned baseline). The task counts as solved at a mean return of
475 over 100 episodes.

Measured with seed 0 on two CPU cores that ran other programs too, compilation included; the selected step is 80, 100
and 60. That no baseline is needed here does not say that its estimates are not noisier: see
`configs/studies/policy_gradients.py`:

    baseline  test/return  wall time
    mean      500.0        19 s
    value     500.0        21 s
    none      500.0        15 s
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `baseline` is mean, value or none; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, baseline=configs.OneOf(("mean", "value", "none")), smoke=False)
    config = configs.base(
        environment={"name": "cartpole", **({"max_steps": 8} if arg.smoke else {})},
        agent={"discount": 1.0, "to_go": True, "baseline": arg.baseline, "episodes": 100},
    )
    config.experiment = "reinforce"
    config.total_steps = 300
    config.batch_size = 16  # episodes
    config.eval = {"every_steps": 20}
    config.log.every_steps = 20
    config.model = {"name": "mlp", "hidden": (64,)}
    config.optim = {"name": "adam", "lr": 3e-3}
    if arg.baseline == "value":  # returns reach 500
        config.optim.lr_factors = (("value/.*", 10.0),)
    config.select = {"metric": "validation/return", "mode": "max"}
    return configs.smoke(config) if arg.smoke else config
