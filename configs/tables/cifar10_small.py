"""Five small networks on CIFAR-10 after 4 epochs: what two CPU cores can do in an afternoon.

    python launch.py --table configs/tables/cifar10_small.py --workers 1

Four epochs are far from what the papers train for (160 to 300), so none of their numbers is comparable, and none is
quoted: the order of the rows is that of how fast they learn. The convolutional networks share one recipe, that of
ResNet-20 with a short cosine schedule; LeNet-5 and the transformer have their own. MobileNet v1 is a quarter as wide,
with one stride less; DenseNet-BC has 40 layers and growth 12. Needs CIFAR-10, prepared by TFDS.
"""

from cvdl_jax.config import configs

EPOCHS = 4
COSINE = "config.optim.schedule={'name':'cosine','warmup_percent':5}"
MODELS = {
    "ResNet-20": {},
    "MobileNet v1, 0.25": {"name": "mobilenet_v1", "width": 0.25, "strides": (1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1)},
    "DenseNet-BC-40": {"name": "densenet_bc100_12", "depths": (6, 6, 6)},
}


def get_table(arg=None):
    """The table; `smoke` makes every run two steps, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2))
    suffix = ".py:data=cifar10,smoke" if arg.smoke else ".py:data=cifar10"
    short = [] if arg.smoke else [f"config.total_epochs={EPOCHS}", "config.eval={'every_epochs':1}"]
    rows = [{"name": "LeNet-5", "config": f"configs/classify/lenet5{suffix}", "overrides": short}]
    for name, model in MODELS.items():
        own = [f"config.model={model}"] if model else []
        overrides = [*short, *own, COSINE]
        rows.append({"name": name, "config": f"configs/classify/resnet20{suffix}", "overrides": overrides})
    rows.append({"name": "ViT-Ti/4", "config": f"configs/classify/vit_tiny{suffix}", "overrides": short})
    for row in rows[2:]:
        row["seeds"] = arg.seeds[:1]  # too slow for more
    return {
        "title": f"Small networks on CIFAR-10, {EPOCHS} epochs",
        "caption": f"Test accuracy on the 10,000 test images after {EPOCHS} epochs, which is a fraction of what these "
        "networks are usually trained for; the checkpoint is selected on validation images. Our copy of the images is "
        "a lossy one.",
        "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "CIFAR-10",
        "protocol": f"45,000 images to train on for {EPOCHS} epochs, 5,000 to select on",
        "rows": rows,
    }
