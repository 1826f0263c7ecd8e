"""Accuracy misleads when positives are rare: the digit 8 against the rest, at 9, 5 and 2 % of positives.

    python launch.py --config configs/studies/unbalanced.py --workdir runs/studies_unbalanced

Reference: Saito and Rehmsmeier 2015, "The Precision-Recall Plot Is More Informative than the ROC Plot When Evaluating
Binary Classifiers on Imbalanced Datasets"; Chicco and Jurman 2020, on the Matthews correlation.

Measured, seed 0, means over 20 draws: with 2 % of positives calling everything negative is right for 98.0 %, a logistic
regression for 98.6 %, though it finds only 29 % of the positives: balanced accuracy 0.644 against 0.5, Matthews 0.53
against undefined, F1 0.42 against 0. At a threshold of 0.02 it finds 93 %, with a precision of 0.11. From 9 % to 2 % of
positives the ROC AUC goes from 0.975 to 0.958, the average precision from 0.893 to 0.671; the AUC of its decisions at
1/2 is their balanced accuracy, 0.644. 14 s of CPU time.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The run's numbers; `smoke` makes it tiny."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "train", "test": "validation+test"}
    draws = 2 if arg.smoke else 20
    return studies.base("unbalanced", data=data, positive=8, prevalences=(0.09, 0.05, 0.02), draws=draws)
