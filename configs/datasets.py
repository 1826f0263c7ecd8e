"""What the configs of one data set share: its splits, sizes and pixel statistics."""

from ml_collections import ConfigDict

# Means and standard deviations of the training pixels, in 0..1 and per channel; those of CIFAR-10 as usually quoted.
DIGITS = {"mean": (0.3048,), "std": (0.3752,)}
MNIST = {"mean": (0.1307,), "std": (0.3081,)}
CIFAR10 = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
SHAPES = {"mean": (0.3789, 0.3744, 0.3801), "std": (0.1768, 0.1671, 0.1768)}


def digits(config: ConfigDict, size: int = 8, channels: int = 1) -> None:
    """The 1,797 scanned digits of scikit-learn, 8x8, enlarged to `size`; stratified splits of 1149, 289 and 359."""
    config.data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    if size != 8:
        config.data.image_size = (size, size)
    if channels != 1:
        config.data.channels = channels
    config.normalise = DIGITS
    config.select = {"metric": "validation/accuracy", "mode": "max"}


def mnist(config: ConfigDict, size: int = 28, smoke: bool = False) -> None:
    """MNIST: 54,000 images to train on, the last 6,000 of the training set to select on, 10,000 to test on."""
    if smoke:  # a smoke run needs no data folder
        return digits(config, size)
    config.data = {"name": "mnist", "train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    if size != 28:
        config.data.image_size = (size, size)
    config.normalise = MNIST
    config.select = {"metric": "validation/accuracy", "mode": "max"}


def cifar10(config: ConfigDict, smoke: bool = False) -> None:
    """CIFAR-10: 45,000 images to train on, 5,000 to select on, 10,000 to test on, as in He et al. 2016, section 4.2."""
    if smoke:
        return digits(config, 32, channels=3)
    config.data = {"name": "cifar10", "train": "train[:45000]", "validation": "train[45000:]", "test": "test"}
    config.normalise = CIFAR10
    config.select = {"metric": "validation/accuracy", "mode": "max"}


def shapes(config: ConfigDict, features: tuple[str, ...], smoke: bool = False) -> None:
    """Drawn scenes of up to five of six shapes, 64x64: 2,000 to train on, 300 to select on, 500 to test on.

    Args:
        config: changed in place.
        features: the entries to keep, such as image, label, objects/bbox, objects/label and segmentation_mask.
        smoke: a few scenes of 32x32.
    """
    name = "shapes(size=32, train=32, validation=16, test=16)" if smoke else "shapes"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test", "features": features}
    if any(name.startswith("objects/") for name in features):
        config.data.max_boxes = 5
    config.normalise = SHAPES
