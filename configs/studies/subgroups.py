"""A bias audit: accuracy in every group of a test set, the worst group, and parity gaps with their intervals.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/studies/subgroups.py --workdir runs/subgroups \
        --config.study.workdir=runs/mnist_lenet5 --config.study.positive=8

Groups are an entry of the data set, `--config.study.group=NAME`, or terciles of brightness. Demographic parity and
equal opportunity (Hardt et al. 2016) are measured where a class counts as positive. Without a run, of a linear
classifier of digits.

Measured with seed 0 of the first command's run after `--config.total_epochs=2`, on the test split: accuracies of dark,
middle and bright images 98.32 % [97.83, 98.70], 98.74 % and 98.92 % [98.51, 99.22], the largest gap 0.6 points [0.2,
1.2] (p = 0.09 of a test that all are equal: the largest of several gaps is above 0 by chance, too). An eight is named
10.9 points [9.6, 12.3] more often in one group than in another, which have more eights and fewer; of the eights, the
gap in what is found is 2.4 points [0.4, 6.2] (p = 0.14).
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
