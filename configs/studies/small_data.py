"""Learning from 50 to 500 digits: weight decay, dropout, augmentation, transfer and an auxiliary task, beside nothing.

    python launch.py --config configs/studies/small_data.py --workdir runs/studies_small_data

A LeNet-5 on the digits of scikit-learn, enlarged to 32x32; three seeds, whose sets are nested. Transfer begins with a
LeNet-5 of MNIST that is part of this repository (test accuracy there 99.18 %), its layers frozen or at a tenth of the
rate; the auxiliary task is to tell by how many quarters the same images were turned (Gidaris et al. 2018, "Unsupervised
Representation Learning by Predicting Image Rotations"), by a head of its own. Each method
has two settings, of which the better one on 289 validation images is tested, which is more than one would have.

Not measured yet.
"""

from configs import datasets
from cvdl_jax.config import configs

BACKBONE = "(?!head/).*"
METHODS = {
    "plain": {"as_it_is": {}},
    "l2": {name: {"optim": {"weight_decay": decay}} for name, decay in (("weak", 0.1), ("strong", 1.0))},
    "dropout": {name: {"model": {"dropout": rate}} for name, rate in (("weak", 0.2), ("strong", 0.5))},
    "augmentation": {
        "moved": {"augment": "padded_crop(padding=2)"},
        "turned": {"augment": "rotate(degrees=15) | translate(fraction=0.1)"},
    },
    "transfer": {
        "frozen": {"transfer": True, "optim": {"freeze": BACKBONE}},
        "tenth": {"transfer": True, "optim": {"lr_factors": ((BACKBONE, 0.1),)}},
    },
    "auxiliary": {"weak": {"auxiliary": 0.1}, "strong": {"auxiliary": 1.0}},
}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test", "image_size": (32, 32)}
    study = {"methods": METHODS, "data": data, "source": "lenet5_mnist"}
    if arg.smoke:
        kept = {"plain": ("as_it_is",), "transfer": ("frozen", "tenth"), "auxiliary": ("weak",)}
        methods = {name: {setting: METHODS[name][setting] for setting in settings} for name, settings in kept.items()}
        study |= {"methods": methods, "sizes": (20, 40), "seeds": 2}
    config = configs.base(study=study)
    config.experiment = "studies.small_data"
    config.normalise = datasets.MNIST
    config.total_steps = 200
    config.batch_size = 32
    config.log.every_steps = 50
    config.eval = {"every_percent": 100}
    config.model = {"name": "lenet5", "activation": "relu", "pool": "max"}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.0, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
