"""CLIP: images and their captions in one space, compared by cosines; classes by prompts, without a label in training.

    python launch.py --config configs/multimodal/clip.py --workdir runs/clip
    python launch.py --config configs/multimodal/clip.py:identical=negative --workdir runs/clip_negative

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision". The scenes
(`captioned_scenes`) are drawn: 4,000 to train on, 500 to select on. The 500 of the test have combinations of colour and
shape that no training image has; the prompts name all 42 combinations. `identical` says what a caption is that two
images of a batch share: with 36 combinations in training that is common, and with four hundred million it is not.

Measured on the test split with seed 0, on two CPU cores that ran other programs for all of the time; by chance it would
be 2.4 %, 0.039 and 0.039:

    identical  zero_shot_accuracy     image_to_text_recall1  text_to_image_recall1  wall time
    positive   35.6 % [31.53, 39.89]  0.896                  0.885                  10 min
    negative   not measured yet
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `identical` is positive or negative; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, identical=configs.OneOf(("positive", "negative")), smoke=False)
    config = configs.base(contrast={"identical": arg.identical}, zero_shot={})
    config.experiment = "image_text"
    sizes = "(size=32, train=40, validation=17, test=16, unseen=16)" if arg.smoke else ""
    config.data = {"name": f"captioned_scenes{sizes}", "train": "train", "validation": "validation", "test": "unseen"}
    config.data.update({"features": ("image", "label"), "caption_length": 16})
    config.normalise = {"mean": (0.366, 0.364, 0.369), "std": (0.148, 0.144, 0.148)}
    config.zero_shot = {"templates": ("a {label}", "a large {label}", "a small {label}")}
    config.total_epochs, config.batch_size = 40, 128
    config.model = {"name": "clip_small"}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-2, "clip_norm": 1.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 10}
    config.select = {"metric": "validation/text_to_image_recall1", "mode": "max"}
    if arg.smoke:
        config.model.update({"text_width": 16, "head_size": 8, "text_depth": 1, "embedding": 8})
        config.model.backbone = {"name": "resnet8_tiny"}
    return configs.smoke(config) if arg.smoke else config
