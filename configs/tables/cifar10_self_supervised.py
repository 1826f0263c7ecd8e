"""Encoders trained without labels on CIFAR-10, by probes of their features, beside first weights and labels.

    python launch.py --table configs/tables/cifar10_self_supervised.py --workers 1

All but the masked autoencoder are a ResNet-20 of 0.27 million parameters, trained for 30 epochs, which is a fraction
of what the papers train much larger networks for (200 to 1,000 epochs): none of their numbers is comparable, and none
is quoted. "First weights" is SimCLR's encoder after an epoch at a rate of 1e-12, which only its batch statistics
notice; "labels" is the same network as a classifier, for as many epochs, and probed alike. Needs CIFAR-10, prepared
by TFDS.
"""

from cvdl_jax.config import configs

EPOCHS = 30
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
    """The table; `smoke` makes every run two steps, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0,))
    short = [] if arg.smoke else [f"config.total_epochs={EPOCHS}"]
    rows = [{"name": name, "config": spec(text, arg.smoke), "overrides": short}
            for name, text in METHODS.items()]  # fmt: skip
    first = [*([] if arg.smoke else ["config.total_epochs=1"]), "config.optim.lr=1e-12"]
    rows.insert(0, {"name": "First weights", "config": spec("simclr", arg.smoke), "overrides": first})
    return {
        "title": f"Features learned without labels on CIFAR-10, {EPOCHS} epochs",
        "caption": "Test accuracy of linear scores on frozen features, fitted to the labels of all training images; no "
        "label chose an encoder or a step, but in the last row, a classifier whose features are probed alike.",
        "metric": {"key": "test/linear_accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "CIFAR-10",
        "protocol": f"45,000 images to train on for {EPOCHS} epochs, without their labels but in the last row",
        "rows": rows,
    }
