"""A narrow GoogLeNet on digits, with and without auxiliary classifiers in training.

    python launch.py --table configs/tables/digits_auxiliary.py

Szegedy et al. 2015, "Going Deeper with Convolutions", section 5: losses of two classifiers of inner maps are added with
weight 0.3, and evaluation has none. That network has 22 layers, this one 9, without batch normalisation as there.
Measured (`results/tables/digits_auxiliary`): 92.1 % without and 94.6 % with them, three seeds, which are too few to
tell; of one seed McNemar's test does (27 against 7 digits).
"""

from cvdl_jax.config import configs

MODULE = (12, 12, 16, 12, 12, 12)
MODEL = {"name": "googlenet_tiny", "stem": (12, 12, 16), "modules": ((MODULE,), (MODULE, MODULE))}
HEADS = {"auxiliary": True, "heads": ((0, 0), (1, 0))}


def get_table(arg=None):
    """The table; `smoke` makes every run two steps, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2))
    spec = f"configs/classify/resnet20.py{':smoke' if arg.smoke else ''}"
    common = ["config.data.image_size=(32,32)", "config.augment=padded_crop(padding=4)", "config.optim.lr=0.02"]
    common += [] if arg.smoke else ["config.total_epochs=15"]
    changes = {"without": (MODEL, []), "weight 0.3": (MODEL | HEADS, ["config.auxiliary_weight=0.3"])}
    return {
        "title": "Auxiliary classifiers of a narrow GoogLeNet on digits",
        "caption": "Test accuracy after 15 epochs; the checkpoint is selected on the validation split.",
        "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "digits",
        "protocol": "stratified splits of 1,149 images to train on, 289 to select on and 359 to test on",
        "rows": [
            {"name": name, "config": spec, "overrides": [*common, f"config.model={model}", *more]}
            for name, (model, more) in changes.items()
        ],
    }
