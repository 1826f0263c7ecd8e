"""Captions of drawn scenes: a convolutional network and an LSTM, with attention over the grid of features or without.

    python launch.py --config configs/multimodal/caption.py --workdir runs/caption_soft
    python launch.py --config configs/multimodal/caption.py:attention=none --workdir runs/caption_none

Xu et al. 2015, "Show, Attend and Tell"; Vinyals et al. 2015, "Show and Tell". The scenes (`captioned_scenes`) show one
or two coloured shapes, with three or four captions each: 4,000 to train on, 500 to select on, 500 to test on. A caption
is written by three beams; BLEU-4 counts against all captions of a scene, `exact` those that are one of them. Sets of
TFDS with captions, such as coco_captions, are named by --config.data.name.

Measured on the test split with seed 0:

    attention  bleu4             exact  wall time
    soft       not measured yet
    none       not measured yet
"""

from cvdl_jax.config import configs

SMALL = "size=24, train=32, validation=16, test=16"


def get_config(arg=None):
    """The run's numbers; `attention` is soft or none; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, attention=configs.OneOf(["soft", "none"]), smoke=False)
    soft = arg.attention == "soft"
    config = configs.base(doubly_stochastic=0.1 if soft else 0.0, decode={"beams": 3, "length_penalty": 0.0})
    config.experiment = "caption"
    config.data = {"name": f"captioned_scenes({SMALL if arg.smoke else ''})", "train": "train"}
    config.data.update({"validation": "validation", "test": "test", "caption_length": 16, "features": ("image",)})
    config.normalise = {"mean": (0.366, 0.364, 0.369), "std": (0.148, 0.144, 0.148)}
    config.model = {"name": "captioner", "attention": arg.attention, "dropout": 0.1}
    config.augment = "brightness(amount=0.1)"
    config.total_epochs, config.batch_size = 30, 32
    config.optim = {"name": "adam", "lr": 1e-3, "clip_norm": 5.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 10}
    config.select = {"metric": "validation/bleu4", "mode": "max"}
    if arg.smoke:
        config.model.update({"embedding": 4, "units": 6, "asked": 4, "backbone": {"channels": (4, 4, 4)}})
    return configs.smoke(config) if arg.smoke else config
