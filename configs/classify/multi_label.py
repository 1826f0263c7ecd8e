"""Multi-label classification: which of six shapes are in a drawn scene of up to five objects, 64x64 pixels.

    python launch.py --config configs/classify/multi_label.py --workdir runs/shapes_multi_label
    python launch.py --config configs/classify/multi_label.py:data=bccd --workdir runs/bccd_multi_label
    python launch.py --config configs/classify/multi_label.py:table=/path/labels.csv --workdir runs/mine

Independent sigmoids on a ResNet-20 (He et al. 2016, section 4.2). `data=bccd` asks which kinds of blood cells are in a
microscope image, at 120x160 pixels. `table` names images of your own (`docs/datasets.md`), whose validation and test
parts are cut at random, each image made a square of 64 pixels.

Measured on the test split with seed 0, on two CPU cores:

    data    mean average precision  exact matches        wall time
    shapes  99.4 %                  86.8 % [83.6, 89.5]  32 min, of one core that ran other programs
    bccd    not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is shapes or bccd, `table` a file of your own; `smoke` makes it two steps."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("shapes", "bccd")), table="", smoke=False)
    config = configs.base()
    config.experiment = "multi_label"
    datasets.shapes(config, (), smoke=arg.smoke)
    config.total_epochs = 20
    config.batch_size = 64
    if arg.table:
        config.data = {"name": f"csv:{arg.table}", "train": "train", "split": {"fractions": (0.7, 0.15, 0.15)}}
        config.data.image_size = (64, 64)
        config.normalise = {"fit": "standardise"}
        config.total_epochs, config.batch_size = 40, 16
    elif arg.data == "bccd" and not arg.smoke:
        config.data = {"name": "bccd", "train": "train", "validation": "validation", "test": "test"}
        config.data.image_size = (120, 160)
        config.normalise = {}
        config.total_epochs, config.batch_size = 40, 16
    config.data.features = ("image", "label")
    config.data.label_set = "labels" if arg.table else "objects/label"
    config.augment = "flip | vertical_flip"
    config.model = {"name": "resnet20"}
    config.loss = {"name": "sigmoid_cross_entropy"}
    config.optim = {
        "name": "adamw",
        "lr": 4e-3,
        "weight_decay": 1e-3,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    config.eval = {"every_percent": 20}
    config.select = {"metric": "validation/mean_ap", "mode": "max"}
    return configs.smoke(config) if arg.smoke else config
