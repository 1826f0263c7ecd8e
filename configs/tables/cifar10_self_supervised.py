"""Encoders trained without labels on CIFAR-10, by probes of their features, beside first weights and labels.

    python launch.py --table configs/tables/cifar10_self_supervised.py --workers 1
    python launch.py --table configs/tables/cifar10_self_supervised.py:images=45000,epochs=30 --workers 1

The first command is for a CPU: 10,000 images for 6 epochs took about an hour of one core that others shared
(`results/tables/cifar10_self_supervised`). All but the masked autoencoder are a ResNet-8 of 75,000 parameters, where
the papers train networks a hundred times as large on five times the images for a hundred times as long: none of their
numbers is comparable, and none is quoted. "First weights" is SimCLR's encoder after an epoch at a rate of 1e-12, which
only its batch statistics notice; "labels" is the same network as a classifier, for as many epochs, and probed alike.
Needs CIFAR-10, prepared by TFDS.
"""

from cvdl_jax.config import configs

METHODS = {
    "SimCLR": "simclr",
    "MoCo v2": "momentum",
    "BYOL": "momentum:method=byol",
    "DINO": "momentum:method=dino",
    "Instance discrimination": "instance_discrimination",
    "Rotation": "pretext",
    "Jigsaw, 2x2": "pretext:task=jigsaw",
    "Masked autoencoder": "mae",
    "Labels": "pretext:task=labels",
}


def spec(text, smoke):
    """The config of a method with its arguments, on CIFAR-10."""
    name, _, words = text.partition(":")
    return f"configs/regimes/{name}.py:" + ",".join([*filter(None, [words]), "data=cifar10", *["smoke"] * smoke])


def get_table(arg=None):
    """The table, of `images` for `epochs`; `smoke` makes every run two steps, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, images=10_000, epochs=6, smoke=False, seeds=(0,))
    rows = [{"name": "First weights", "config": spec("simclr", arg.smoke)}]
    rows += [{"name": name, "config": spec(text, arg.smoke)} for name, text in METHODS.items()]
    for i, row in enumerate(rows):
        overrides = ["config.optim.lr=1e-12"] if i == 0 else []
        if not arg.smoke:
            overrides += [f"config.total_epochs={arg.epochs if i else 1}", f"config.data.train=train[:{arg.images}]"]
            overrides += ["config.eval={'every_percent':100}"]
            overrides += [] if row["config"].startswith("configs/regimes/mae") else ["config.model.depths=(1,1,1)"]
        row["overrides"] = overrides
    return {
        "title": f"Features learned without labels from {arg.images:,} images of CIFAR-10, {arg.epochs} epochs",
        "caption": "Test accuracy of linear scores on frozen features, fitted to the labels of the same images; no "
        "label chose an encoder or a step, but in the last row, a classifier whose features are probed alike.",
        "metric": {"key": "test/linear_accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "columns": [{"key": "test/knn_accuracy", "label": "nearest neighbours", "unit": "%"}],
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "CIFAR-10",
        "protocol": f"{arg.images:,} images for {arg.epochs} epochs, without their labels but in the last row",
        "rows": rows,
    }
