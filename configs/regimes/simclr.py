"""SimCLR: an encoder trained without labels, so that two augmented views of an image are alike and others are not.

    python launch.py --config configs/regimes/simclr.py --workdir runs/digits_simclr
    python launch.py --config configs/regimes/simclr.py:data=cifar10 --workdir runs/cifar10_simclr

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations". Appendix B.9 says what is
used on CIFAR-10: random resized crops, flips, colour distortion of strength 0.5 and no blur, temperature 0.5, up to
1,000 epochs with batches of 512 and more. Here are a ResNet-20, batches of 256 and few epochs. Digits are grey, and not
flipped. The accuracies are those of probes of the frozen features of the last step, which no label has chosen: least
squares on all training labels, and 20 nearest neighbours among 5,000 of them. The README of google-research/simclr
says of its recipe for one GPU, a ResNet-18, that a linear classifier reaches around 91 % on CIFAR-10; the paper's
94.0 % (appendix B.9, quoted from memory) are of a ResNet-50 after 1,000 epochs.

Fine-tune the encoder on the labels:

    python launch.py --config configs/classify/resnet20.py:data=cifar10 --workdir runs/cifar10_finetuned \
        --config.init_from=runs/cifar10_simclr --config.init.rename='(("/encoder/", "/"),)'

Measured on the test split with seed 0, on CPU cores that ran other programs:

    data     linear_accuracy         knn_accuracy            wall time
    digits   98.33 % [96.40, 99.23]  98.61 % [96.78, 99.40]  527 s
    cifar10  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

COLOUR = "color_jitter(0.4, 0.4, 0.4, 0.1, probability=0.8) | grayscale(probability=0.2)"  # strength 0.5
VIEWS = {
    "digits": "random_resized_crop(scale=(0.4, 1.0)) | brightness(amount=0.4) | blur(0.1, 1.0)",
    "cifar10": f"random_resized_crop | flip | {COLOUR}",
}


def get_config(arg=None):
    """The run's numbers; `data` is digits or cifar10; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(VIEWS), smoke=False)
    config = configs.base(views=VIEWS[arg.data], contrast={"temperature": 0.5}, probe={}, projection={})
    datasets.unlabelled(config, arg.data, arg.smoke)
    config.experiment = "contrastive"
    datasets.small_resnet(config, arg.smoke)
    config.projection = {"hidden": (128,), "size": 64}
    config.total_epochs = 60 if arg.data == "digits" else 30
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    return configs.smoke(config) if arg.smoke else config
