"""Group normalisation and weight standardisation do not mind small batches, which batch normalisation cannot use.

    python launch.py --config configs/studies/small_batches.py --workdir runs/studies_small_batches

Wu and He 2018, "Group Normalization", section 4.1 and figure 1; Qiao et al. 2019, "Micro-Batch Training with
Batch-Channel Normalization and Weight Standardization". A ResNet of one block of 16 channels, the learning rate in
proportion to the batch size.

Measured, test accuracy at batch sizes 1, 2, 8 and 64, seed 0: batch normalisation 69.6, 97.2, 98.3 and 96.9 %, group
normalisation 96.7, 93.9, 96.1 and 91.9 %, with weight standardisation 98.3, 97.8, 98.1 and 95.8 %. At size 1 a channel
has the 64 pixels of one image, and what fails is evaluation by other statistics: on the validation images, 61.9 % with
running averages, 63.3 % with those of the whole training split (config.batch_stats="exact"), 96.5 % with each image's
own ("batch", config.eval_batch_size=1). 5 min on two busy CPU cores, half of it compiling.
"""

from configs import datasets
from cvdl_jax.config import configs

BATCHES = (1, 2, 8, 64)
KINDS = {
    "batch": {"norm": "batch"},
    "group": {"norm": "group(groups=4)"},
    "standardised": {"norm": "group(groups=4)", "conv": "standardised"},
}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    batches = (2, 16) if arg.smoke else BATCHES
    cases = {f"{kind}_{size}": {"batch": size, **fields} for kind, fields in KINDS.items() for size in batches}
    config = configs.base(study={"cases": cases})
    datasets.digits(config)
    config.select = {"metric": "", "mode": "max"}
    config.experiment = "studies.normalisation"
    config.total_epochs = 8
    config.batch_size = 64
    config.eval = {"every_epochs": 4}
    config.log.every_steps = 18
    config.model = {"name": "resnet8_tiny", "depths": (1,), "widths": (16,)}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    return configs.smoke(config) if arg.smoke else config
