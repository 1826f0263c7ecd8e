"""A vision transformer beside a ResNet of as many parameters on 1, 5, 20 and 100 % of MNIST, three seeds.

    python launch.py --table configs/tables/mnist_data_size.py

A small version of figures 3 and 4 of Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words". All runs take the same
2,000 steps, so that the parts differ in how often an image is seen, 237 times to 2.4 times, and not in time. Needs
MNIST, prepared by TFDS. Not measured yet.
"""

from cvdl_jax.config import configs

NAMES = {"vit": "ViT, 16 patches", "resnet": "ResNet-8"}
PERCENT = (1, 5, 20, 100)


def get_table(arg=None):
    """The table; `smoke` makes every run two steps on digits, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2))
    rows = [
        {
            "name": f"{name}, {percent} %",
            "config": f"configs/studies/data_size.py:model={model},percent={percent}{',smoke' if arg.smoke else ''}",
            "protocol": f"the first {540 * percent:,} training images, 2,000 steps of 64",
        }
        for percent in PERCENT
        for model, name in NAMES.items()
    ]
    return {
        "title": "A vision transformer and a ResNet on parts of MNIST, 3 seeds",
        "caption": "Test accuracy on the 10,000 test images of MNIST, at 16x16 pixels, after 2,000 steps of 64 images, "
        "whatever the number of training images; both networks have about 24,000 parameters and the same optimizer.",
        "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "MNIST",
        "protocol": "2,000 steps of 64 images",
        "rows": rows,
    }
