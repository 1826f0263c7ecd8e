"""What single choices change on MNIST, 3 epochs and three seeds: activation and initialisation, LeNet-5's ingredients.

    python launch.py --table configs/tables/mnist_ablations.py

Every row of the first part is the MLP 784-300-100-10 without dropout, trained by SGD with momentum, which forgives less
than Adam does; of the second LeNet-5 with one thing changed at a time from Adam, no dropout, no normalisation and no
augmentation. Three epochs are short: what needs long training to pay (dropout, augmentation) cannot show it here.
Three seeds are too few for a paired test to find anything significant; the intervals over seeds say how far to trust a
difference. Needs MNIST, prepared by TFDS.

Measured: 27 minutes for the 60 runs, two at a time, on two CPU cores that ran tests as well.
"""

from cvdl_jax.config import configs

PROTOCOL = "54,000 images to train on for 3 epochs, 6,000 to select on"
ACTIVATIONS = ("relu", "tanh", "sigmoid")
INITS = {"He": "he_normal", "Xavier": "glorot_normal", "N(0, 0.01²)": "normal(std=0.01)"}
SGD = ["config.optim.name=sgd", "config.optim.momentum=0.9", "config.optim.lr=0.05", "config.optim.weight_decay=0.0"]
OPTIMIZERS = {
    "SGD": ["config.optim.name=sgd", "config.optim.lr=0.05"],
    "SGD with momentum": ["config.optim.name=sgd", "config.optim.momentum=0.9", "config.optim.lr=0.02"],
    "RMSProp": ["config.optim.name=rmsprop", "config.optim.lr=0.001"],
    "AdaGrad": ["config.optim.name=adagrad", "config.optim.lr=0.02"],
}
CHANGES = {
    "dropout 0.25": ["config.model.dropout=0.25"],
    "dropout 0.5": ["config.model.dropout=0.5"],
    "batch norm": ["config.model.norm=batch"],
    "random crops": ["config.augment=padded_crop(padding=2)"],
    "rotation by 15°": ["config.augment=rotate(degrees=15.0)"],
    "crops and rotation": ["config.augment=rotate(degrees=15.0) | padded_crop(padding=2)"],
}


def get_table(arg=None):
    """The table; `smoke` makes every run two steps on digits, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2))
    short = [] if arg.smoke else ["config.total_epochs=3"]
    suffix = ".py:data=mnist,smoke" if arg.smoke else ".py:data=mnist"
    rows = []
    for activation in ACTIVATIONS:
        for name, init in INITS.items():
            model = [f"config.model.activation={activation}", f"config.model.kernel_init={init}"]
            overrides = [*short, "config.model.dropout=0.0", *SGD, *model]
            rows.append(
                {
                    "name": f"MLP, {activation}, {name}",
                    "config": f"configs/classify/mlp{suffix}",
                    "overrides": overrides,
                }
            )
    plain = ["config.augment=", "config.optim.name=adam", "config.optim.weight_decay=0.0"]
    changes = {"Adam, nothing added": []} | CHANGES
    changes |= {name: ["config.optim.weight_decay=0.0", *change] for name, change in OPTIMIZERS.items()}
    for name, change in changes.items():
        keys = {override.partition("=")[0] for override in change}
        kept = [override for override in plain if override.partition("=")[0] not in keys]
        overrides = [*short, *kept, *change]
        rows.append({"name": f"LeNet-5, {name}", "config": f"configs/classify/lenet5{suffix}", "overrides": overrides})
    return {
        "title": "Single choices on MNIST, 3 epochs, 3 seeds",
        "caption": "Test accuracy on the 10,000 test images of MNIST after 3 epochs (of three seeds each; a comparison "
        "of ingredients, not of what they can reach); the checkpoint is selected on validation images.",
        "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "MNIST",
        "protocol": PROTOCOL,
        "rows": rows,
    }
