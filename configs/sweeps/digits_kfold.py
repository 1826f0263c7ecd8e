"""Softmax classifier and linear support vector machine on digits, compared by 5-fold cross-validation.

    python launch.py --sweep configs/sweeps/digits_kfold.py --workers 2

The 1,438 images of train and validation are folded; the 359 of test stay unseen. The folds are contiguous and not
stratified: of the 288 images of the first one 22 to 36 show each digit, which is how random folds would be, too.

Measured: validation accuracy 94.71 % [92.82, 96.61] with softmax cross-entropy, 93.88 % [92.43, 95.33] with the hinge
loss (Student-t over five folds, one seed); 147 s for the ten runs, one at a time, on two shared CPU cores.
"""

from cvdl_jax.config import configs


def get_sweep(arg=None):
    """The folds; `smoke` makes it four runs of two steps."""
    arg = configs.parse_arg(arg, smoke=False, folds=5)
    return {
        "title": "Losses of a linear classifier on digits, cross-validated",
        "config": "configs/classify/softmax.py" + (":smoke" if arg.smoke else ""),
        "objective": {"metric": "validation/accuracy", "mode": "max"},
        "grid": {"loss.name": ["softmax_cross_entropy", "multiclass_hinge"]},
        "kfold": {"folds": 2 if arg.smoke else arg.folds, "split": "train+validation"},
    }
