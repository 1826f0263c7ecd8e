"""Texture, shape, angle or size: what a convolutional network goes by, and what its training images change of it.

    python launch.py --config configs/studies/cues.py --workdir runs/studies_cues

Six drawn shapes, each with a texture of its own: four small networks from the same weights are trained on these as they
are, with any texture, at any angle, and of any size. They are tested on shapes without a texture, textures without a
shape, turned and halved objects, and on shapes with the texture of another class (Geirhos et al. 2019, section 2.3):
the shape bias is the share of shapes among the answers that are one of the two.

Not measured yet.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    study = {"training": ("plain", "textures", "angles", "sizes"), "images": 1200, "tested": 600, "size": 32}
    if arg.smoke:
        study |= {"training": ("plain", "textures"), "images": 24, "tested": 30}
    config = configs.base(study=study)
    config.experiment = "studies.cues"
    config.total_steps = 600
    config.batch_size = 64
    config.log.every_steps = 100
    config.eval = {"every_percent": 100}
    config.model = {"name": "convnet", "channels": (16, 32, 64), "units": (64,)}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.01, "schedule": {"name": "cosine"}}
    if arg.smoke:
        config.model.update({"channels": (4, 4), "units": ()})
    return configs.smoke(config) if arg.smoke else config
