"""Learning from 50 to 500 digits: L2, dropout, augmentation, transfer and an auxiliary task, beside nothing.

    python launch.py --config configs/studies/small_data.py --workdir runs/studies_small_data

A small convolutional network on the digits 5 to 9 of scikit-learn; four seeds, whose sets are nested. Transfer begins
with the same network trained on all 576 digits 0 to 4, its layers frozen or at a tenth of the rate of its head, which
is five times that of the others: in 250 steps at theirs it does not get far. The auxiliary task is to tell by how many
quarters the same images were turned (Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image
Rotations"), by a head of its own. Each method has two settings, of which the better one on 144 validation images is
tested; one would seldom have as many.

Not measured yet.
"""

from cvdl_jax.config import configs

BACKBONE = "(?!head/).*"
METHODS = {
    "plain": {"as_it_is": {}},
    "l2": {
        name: {"optim": {"penalty": {"name": "l2", "strength": strength}}}
        for name, strength in (("weak", 1e-3), ("strong", 1e-2))
    },
    "dropout": {name: {"model": {"dropout": rate}} for name, rate in (("weak", 0.2), ("strong", 0.5))},
    "augmentation": {
        "moved": {"augment": "padded_crop(padding=1)"},
        "turned": {"augment": "rotate(degrees=15) | translate(fraction=0.1)"},
    },
    "transfer": {
        "frozen": {"transfer": True, "optim": {"lr": 1e-2, "freeze": BACKBONE}},
        "tenth": {"transfer": True, "optim": {"lr": 1e-2, "lr_factors": ((BACKBONE, 0.1),)}},
    },
    "auxiliary": {"weak": {"auxiliary": 0.1}, "strong": {"auxiliary": 1.0}},
}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = {"methods": METHODS, "data": data, "source": tuple("01234"), "target": tuple("56789"), "seeds": 4}
    if arg.smoke:
        kept = {"plain": ("as_it_is",), "transfer": ("frozen", "tenth"), "auxiliary": ("weak",)}
        methods = {name: {setting: METHODS[name][setting] for setting in settings} for name, settings in kept.items()}
        study |= {"methods": methods, "sizes": (20, 40), "seeds": 2}
    config = configs.base(study=study)
    config.experiment = "studies.small_data"
    config.total_steps = 250
    config.batch_size = 32
    config.log.every_steps = 50
    config.eval = {"every_percent": 100}
    config.model = {"name": "convnet", "channels": (8, 16), "units": (32,)}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.0, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
