"""Inpainting of drawn faces in two stages, with a local and a global critic (WGAN-GP).

    python launch.py --config configs/generate/inpainting.py --workdir runs/faces_inpainting

Yu et al. 2018, "Generative Image Inpainting with Contextual Attention", section 3 without its attention; Iizuka et al.
2017, "Globally and Locally Consistent Image Completion", for the two critics. A hole of 24x24 pixels of 64x64; l1 is
the mean absolute difference inside of it, in 0..1, of faces of people that training has not seen.

    coarse            refined  mean colour  wall time
    not measured yet
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(critic_steps=1 if arg.smoke else 5, hole={"side": 8 if arg.smoke else 24})
    config.experiment = "inpaint"
    name = "faces(size=16, train=16, validation=8, test=8)" if arg.smoke else "faces"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test", "features": ("image",)}
    config.normalise = {}
    config.total_steps, config.batch_size, config.eval_batch_size = 4000, 40, 50
    critic = {"name": "dcgan_discriminator_28", "widths": (32, 64, 128), "norm": "layer"}
    config.model = {
        "coarse": {"name": "translator_small", "norm": "none", "blocks": 2, "kernel_init": "he_normal"},
        "refined": {"name": "translator_small", "norm": "none", "blocks": 4, "kernel_init": "he_normal"},
        "global": dict(critic),
        "local": dict(critic),
    }
    config.loss = {"name": "wasserstein", "penalty": 10.0}
    adam = {"name": "adam", "lr": 1e-4, "b1": 0.5, "b2": 0.9}
    config.optim = {"critics": dict(adam), "generators": {**adam, "lr": 3e-4}}
    config.ema = {"decay": 0.995, "warmup": True}
    config.eval = {"every_percent": 25}
    config.log.every_steps = 100
    config.select = {"metric": "validation/refined_l1", "mode": "min"}
    if arg.smoke:
        for part in ("coarse", "refined"):
            config.model[part].update({"width": 24, "blocks": 1, "stem": 3})
        for part in ("global", "local"):
            config.model[part].widths = (24,)
    return configs.smoke(config) if arg.smoke else config
