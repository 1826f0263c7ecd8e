"""A bias audit: accuracy in every group of a test set, the worst group, and parity gaps with their intervals.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/subgroups.py --workdir runs/subgroups \
        --config.study.workdir=runs/mnist_lenet5 --config.study.positive=8

Groups are an entry of the data set, `--config.study.group=NAME`, or terciles of brightness. Demographic parity and
equal opportunity (Hardt et al. 2016) are measured where a class counts as positive. Without a run, of a linear
classifier of digits.

Measured on the test split with seed 0: not measured yet.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` audits a few images."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("subgroups", workdir="", split="test", images=0, group="", positive=-1)
    if arg.smoke:
        config.study.update({"images": 60, "positive": 1})
    return config
