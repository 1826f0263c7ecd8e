"""Successive halving for LeNet-5 on digits: 27 draws of four hyper-parameters, 3 to 27 epochs.

    python launch.py --sweep configs/sweeps/digits_lenet5_halving.py --workers 2

The 27 trials are trained for 3 epochs, the best 9 for 9 and the best 3 of these for 27: 243 epochs, where 27 trials of
27 epochs would be 729.
"""

from configs.sweeps.digits_lenet5_random import SPACE
from cvdl_jax.config import configs


def get_sweep(arg=None):
    """The draws; `smoke` makes it two runs of two steps and one of four."""
    arg = configs.parse_arg(arg, smoke=False, n=27)
    return {
        "title": "Successive halving for LeNet-5 on digits",
        "config": "configs/classify/lenet5.py" + (":smoke" if arg.smoke else ""),
        "objective": {"metric": "validation/loss", "mode": "min"},  # accuracy has many ties on 289 images
        "random": SPACE | {"n": 2 if arg.smoke else arg.n, "seed": 0},
        "halving": (
            {"budget": "total_steps", "start": 2, "factor": 2, "rungs": 2}
            if arg.smoke
            else {"budget": "total_epochs", "start": 3, "factor": 3, "rungs": 3}
        ),
    }
