"""AttGAN on drawn faces: other glasses, moustaches, hats, smiles, hair and skin.

    python launch.py --config configs/generate/attgan.py --workdir runs/faces_attgan

He et al. 2019, "AttGAN: Facial Attribute Editing by Only Changing What You Want", section 4.1: weights 100, 10 and 1,
WGAN-GP with five steps of the critic, Adam at 2e-4 with 0.5 and 0.999. Test faces are of people that training has not
seen; "edited" is how often the critic's classifier sees the attribute that was turned, "kept" the six others.

    edited            kept  of unchanged images  wall time
    not measured yet
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(critic_steps=2 if arg.smoke else 5, weights={})
    config.experiment = "edit_attributes"
    name = "faces(size=16, train=16, validation=8, test=8)" if arg.smoke else "faces"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
    config.data.update({"features": ("image", "label"), "label_set": "attributes"})
    config.normalise = {}
    config.total_steps, config.batch_size, config.eval_batch_size = 4000, 80, 50
    config.model = {"generator": {"name": "attgan_generator_64"}, "discriminator": {"name": "attgan_critic_64"}}
    config.loss = {"name": "wasserstein", "penalty": 10.0}
    config.weights = {"reconstruction": 100.0, "generated": 10.0, "real": 1.0}
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.5}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.999, "warmup": True}
    config.eval = {"every_percent": 25}
    config.log.every_steps = 100
    config.select = {"metric": "", "mode": "min"}  # the newest, as of other adversarial runs
    if arg.smoke:
        config.model.discriminator.update({"widths": (4, 8), "hidden": 6})
        config.model.generator.widths = (4, 8)
    return configs.smoke(config) if arg.smoke else config
