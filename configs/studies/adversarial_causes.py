"""Why adversarial examples exist: the response of a linear score by dimension, and borders near images of digits.

    python launch.py --config configs/studies/adversarial_causes.py --workdir runs/studies_adversarial_causes

Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples", sections 3 and 5: eps |w|_1 grows as the
dimension; and section 8 (borders). Softmax regression on the scanned digits at 8, 16 and 32 pixels a side.

Measured, seed 0, eps 0.1: the worst change grows as n^1.01 and that of random signs as n^0.51 (16 to 16,384);
softmax regression has 96.7, 96.7 and 96.9 % of 359 test digits right, and 63.2, 28.7 and 22.0 % under FGSM. Near six
images of 32 pixels the border is 1.30 away along the gradient, and beyond 2 along noise. 37 s of CPU time.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two sizes and two planes."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "train", "validation": "", "test": "test"}
    study = {"data": data, "eps": 0.1}
    if arg.smoke:
        study |= {"sides": (8, 10), "planes": 2, "points": 9, "dimensions": (16, 64)}
    return studies.base("adversarial_causes", **study)
