"""Robust accuracy of a trained classifier: clean, under projected gradient descent, and under an ensemble of attacks.

    python launch.py --config configs/classify/robust_mnist.py --workdir runs/robust_mnist
    python launch.py --config configs/studies/adversarial_accuracy.py --workdir runs/adversarial_accuracy \
        --config.study.workdir=runs/robust_mnist

The second command attacks the selected checkpoint of the first one's run, which takes an hour or two of two CPU cores;
it can do without, of a linear classifier of digits. `configs/tables/mnist_robustness.py` is a table of it.
`--config.study.attacks` takes what `--mode attack` takes after --method: by default PGD of 40 steps of 0.01, the attack
of Madry et al. 2018, table 1, and `autoattack`, which is weaker than AutoAttack (Croce and Hein 2020).
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies

PGD = "pgd(eps=0.3, steps=40, step_size=0.01)"
ATTACKS = f"{PGD} | autoattack(eps=0.3)"


def get_config(arg=None):
    """The study's numbers; `smoke` makes short attacks on a few images."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("adversarial_accuracy", workdir="", split="test", images=1000, attacks=ATTACKS)
    if arg.smoke:
        config.study.update({"images": 20, "attacks": "pgd(eps=0.3, steps=2) | fgsm(eps=0.3)"})
    return config
