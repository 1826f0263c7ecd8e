"""Softmax classifier on digits by stratified 5-fold cross-validation; every run is tested, for their ensemble.

    python launch.py --sweep configs/sweeps/digits_stratified.py
    python launch.py --ensemble runs/sweeps/digits_stratified

The 1,438 images of train and validation are folded, so that every fold shows each digit as often as the others, at most
one image off. The five models are tested on the 359 images that none of them has seen, and then together.

Measured: validation accuracy 96.17 % [93.80, 98.55] (Student-t over five folds); on the test images the five models
have 96.32 % in the mean, their mean probability 96.10 % [93.56, 97.66], their majority vote 96.38 % [93.90, 97.87].
"""

from cvdl_jax.config import configs


def get_sweep(arg=None):
    """The folds; `smoke` makes it two runs of two steps."""
    arg = configs.parse_arg(arg, smoke=False, folds=5)
    return {
        "title": "Softmax classifier on digits, stratified cross-validation",
        "config": "configs/classify/softmax.py" + (":smoke" if arg.smoke else ""),
        "objective": {"metric": "validation/accuracy", "mode": "max"},
        "kfold": {
            "folds": 2 if arg.smoke else arg.folds,
            "split": "train+validation",
            "stratified": True,
            "test": True,
        },
    }
