"""Reading strings of five digits: LeNet-5 swept over the string, decoded by Viterbi's algorithm and greedily.

    python launch.py --config configs/studies/digit_strings.py --workdir runs/studies_digit_strings

LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", section VII: a network of single
characters is replicated over the string at the price of a larger convolution, and a grammar composed with its scores.
The strings (`digit_strings`) are composed of MNIST's scans, which overlap by up to 2 pixels of about 20 or stand up to
10 apart, 2 up or down, in noise of 30 grey levels of 255; those of the test split of test images alone.

Measured, seed 0, whole strings right of 2,000 test strings: greedy 85.6 % [83.9, 87.0], Viterbi 91.7 % [90.4, 92.8],
and 92.3 % [91.0, 93.3] with the number of digits known. Viterbi gains 6.1 points [5.0, 7.2] over greedy reading of the
same scores, p < 0.001 (McNemar). The network has 62,017 parameters. Width, norm and windows were chosen on validation
strings. So were the strings: a first set with overlaps of 4 pixels, centres 10 apart and noise of 40, read by a network
without norm that was trained on a quarter of the windows, gave 70 % (greedy), 74 % and 84 % on 400 of them. Ten minutes
of CPU time; 35 minutes of wall time on two CPU cores that ran much else.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    name = (
        "digit_strings(source='digits', digits=3, train=32, validation=16, test=16)" if arg.smoke else "digit_strings"
    )
    config = configs.base(study={"windows": 8, "around": 0.6, "width": 3, "longest": 2})
    config.experiment = "studies.digit_strings"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
    config.normalise = datasets.MNIST
    config.select = {"metric": "validation/viterbi_accuracy", "mode": "max"}
    config.total_epochs = 16
    config.batch_size = 64
    config.log.every_steps = 94
    config.eval = {"every_epochs": 4}
    config.model = {"name": "lenet5", "activation": "relu", "pool": "max", "norm": "batch"}
    config.optim = {"name": "adamw", "lr": 3e-3, "weight_decay": 0.01}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    return configs.smoke(config) if arg.smoke else config
