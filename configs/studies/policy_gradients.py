"""Why policy gradients are noisy, and what helps: rewards to go, baselines, and the mean of many episodes.

python launch.py --config configs/studies/policy_gradients.py --workdir runs/studies_policy_gradients

Williams 1992; Greensmith et al. 2004, "Variance Reduction Techniques for Gradient Estimates in Reinforcement Learning".
CartPole, at most 200 steps, a policy after 60 training steps; all four estimates have one mean.

Measured, seed 0, with 512 episodes at a mean return of 194: the variance of the gradient of one episode is 3.4e7 by
whole returns, 6.4e6 by rewards to go, 3.0e6 by these less the learned value, and 4.7e5 by these less the mean of other
episodes at the same time; means of 8 episodes have 0.99 times an eighth of it. Nearly all of these episodes last to the
end, where rewards to go depend on the time alone, which a mean over episodes knows and a value of the state does not.
24 s on two CPU cores that ran other programs too.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(
        environment={"name": "cartpole", "max_steps": 8 if arg.smoke else 200},
        agent={"discount": 1.0, "to_go": True, "baseline": "value"},
        study={"episodes": 16 if arg.smoke else 512, "together": 8},
    )
    config.experiment = "studies.policy_gradient_variance"
    config.total_steps = 60
    config.batch_size = 16
    config.eval = {"every_steps": 10}
    config.log.every_steps = 10
    config.model = {"name": "mlp", "hidden": (64,)}
    config.optim = {"name": "adam", "lr": 3e-3, "lr_factors": (("value/.*", 10.0),)}
    return configs.smoke(config) if arg.smoke else config
