"""Recognition of a motion in clips of moving digits: a convolutional network on each frame, an LSTM over the frames.

    python launch.py --config configs/sequence/moving_digits.py --workdir runs/moving_digits
    python launch.py --config configs/sequence/moving_digits.py:target=digit --workdir runs/moving_digits_digit

Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and Description", section 4.1.
The clips (`moving_digits`) are 8 frames of 24x24 pixels in which a scan of scikit-learn's digits stays, or moves in one
of four directions and comes in again on the other side, so that a frame alone says nothing about the motion: 3,000 to
train on, 500 to select on, 1,000 to test on.

Measured on the test split with seed 0, on one CPU core:

    target  accuracy                 wall time
    motion  99.2 % [98.43, 99.59]    55 s
    digit   78.5 % [75.85, 80.93]    56 s
"""

from cvdl_jax.config import configs

LABELS = {"motion": "label", "digit": "digit"}
SMALL = "frames=3, train=32, validation=16, test=16"


def get_config(arg=None):
    """The run's numbers; `target` is motion or digit; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, target=configs.OneOf(LABELS), smoke=False)
    config = configs.base(inputs="frames", targets="label", structure="many_to_one", ignore=())
    config.experiment = "sequence_labels"
    config.data = {"name": f"moving_digits({SMALL if arg.smoke else ''})", "train": "train"}
    config.data.update({"validation": "validation", "test": "test", "label": LABELS[arg.target]})
    config.data.features = ("frames", "label")
    config.normalise = {"mean": (0.14,), "std": (0.27,)}
    config.model = {"name": "lrcn", "units": 64}
    config.loss = {"name": "softmax_cross_entropy"}
    config.total_epochs, config.batch_size = 20, 32
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-3, "clip_norm": 1.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 10}
    config.select = {"metric": "validation/accuracy", "mode": "max"}
    if arg.smoke:
        config.model.update({"units": 4, "backbone": {"channels": (4, 4), "units": (8,)}})
    return configs.smoke(config) if arg.smoke else config
