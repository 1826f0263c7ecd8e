"""A value-based agent and two policy-based ones on one task: DQN, REINFORCE and PPO on CartPole-v1.

    python launch.py --table configs/tables/cartpole.py --workers 2

The same environment and the same test, the mean return of 100 episodes; learning curves are in the report. Measured
with three seeds (`results/tables/cartpole`): all nine runs reach 500.0, so that the task does not tell them apart; DQN
took 38 s a run, PPO 20 s, REINFORCE 8 s, compilation included, on two CPU cores that ran other programs too.
"""

from cvdl_jax.config import configs


def get_table(arg=None):
    """The table; `smoke` makes every run two steps, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2))
    tiny = ":smoke" if arg.smoke else ""
    agents = {"DQN (values)": "dqn", "REINFORCE (policy)": "reinforce", "PPO (policy and values)": "ppo"}
    return {
        "title": "Value-based and policy-based agents on CartPole-v1",
        "caption": "Mean return of 100 episodes of the greedy policy at the selected step; 500 is the most.",
        "metric": {"key": "test/return", "label": "return", "unit": "", "better": "max"},
        "seeds": arg.seeds,
        "data": "CartPole-v1",
        "protocol": "640,000 decisions for DQN, at most 2.4 million for REINFORCE, 307,200 for PPO",
        "rows": [{"name": name, "config": f"configs/rl/{file}.py{tiny}"} for name, file in agents.items()],
    }
