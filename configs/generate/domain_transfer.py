"""Domain transfer network: photos of faces become emoji of the same people, without a pair in training, 32x32 pixels.

    python launch.py --config configs/classify/multi_label.py --config.data.name="faces(size=32)" \
        --config.data.label_set=attributes --workdir runs/faces_attributes
    python launch.py --config configs/generate/domain_transfer.py --workdir runs/faces_to_emoji

Taigman et al. 2017, "Unsupervised Cross-Domain Image Generation": a generator of the features of a frozen encoder, a
discriminator of three classes, and the paper's weights for faces: 100 for the constancy of features, 1 for emoji that
stay as they are, 0.05 for smoothness; all distances are means over numbers. The encoder is the classifier of attributes
that the first command trains (the paper has a network of face recognition). Faces and emoji are drawn, of other people
in each split; l1 is the distance in 0..1 to the emoji of the same person, which training does not use as a pair.

Measured on the test split with seed 0, on one CPU core that other programs shared; the losses were still falling:

    l1     l1 of the photo itself  wall time
    0.096  0.279                   71 min

The outline, the skin and caps come over; hair has other colours, and pixels are noisy: no convincing emoji yet.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size, with an encoder of random weights."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(
        objective={"constancy": 100.0, "identity": 1.0, "smoothness": 0.05},
        encoder={"workdir": "runs/faces_attributes", "checkpoint": "best", "untrained": ""},
    )
    config.experiment = "transfer_domain"
    name = "faces(size=16, train=16, validation=8, test=8)" if arg.smoke else "faces(size=32)"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
    config.data.features = ("image", "image_emoji")
    config.normalise = {}
    config.total_steps, config.batch_size = 4000, 64
    config.model = {
        "generator": {"name": "dcgan_generator", "widths": (128, 64, 32), "kernel": 4},
        "discriminator": {"name": "dcgan_discriminator", "widths": (32, 64, 128), "kernel": 4},
    }
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.5}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.995, "warmup": True}
    config.eval = {"every_percent": 10}
    config.log.every_steps = 100
    config.select = {"metric": "", "mode": "min"}  # the newest: nothing that is known without pairs would choose
    if arg.smoke:
        config.encoder = {"untrained": "resnet8_tiny"}
        config.model.generator.widths, config.model.discriminator.widths = (16, 8), (8, 16)
    return configs.smoke(config) if arg.smoke else config
