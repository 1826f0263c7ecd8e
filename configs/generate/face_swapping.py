"""FSGAN on drawn faces: reenactment, segmentation, inpainting, blending, and a detector of what comes out.

    python launch.py --config configs/generate/face_swapping.py --workdir runs/faces_fsgan

Nirkin et al. 2019, "FSGAN: Subject Agnostic Face Swapping and Reenactment", with U-Nets of 64 pixels and without its
perceptual loss. Test faces are of people that training has not seen, and the picture that a swap should be is drawn.

    swapped l1        of unchanged  of pasted  detector AUC  wall time
    not measured yet
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(swap={"steps": 1 if arg.smoke else 2})
    config.experiment = "swap_faces"
    name = "face_pairs(size=16, train=16, validation=8, test=8)" if arg.smoke else "face_pairs"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
    config.normalise = {}
    config.total_steps, config.batch_size, config.eval_batch_size = 6000, 8, 50
    unet = {"name": "unet", "norm": "group(groups=4)", "padding": "same"}
    small, large = ((24,), (24,)) if arg.smoke else ((16, 32, 64), (32, 64, 128, 128))
    config.model = {
        "reenactment": {**unet, "widths": large},
        "segmentation": {**unet, "widths": small},
        "inpainting": {**unet, "widths": small},
        "critic": {"name": "patch_discriminator_34"},
        "detector": {"name": "dcgan_discriminator_28", "widths": (32, 64, 128), "norm": "layer"},
    }
    adam = {"name": "adam", "lr": 5e-4, "b1": 0.5}
    slow = {**adam, "lr": 2e-4}
    config.optim = {name: dict(adam) for name in ("reenactment", "segmentation", "inpainting")}
    config.optim.update({"critic": dict(slow), "detector": dict(slow)})
    config.eval = {"every_percent": 25}
    config.log.every_steps = 100
    config.select = {"metric": "", "mode": "min"}  # the newest: the detector has to fit what it looks at
    if arg.smoke:
        config.model.critic.widths = config.model.detector.widths = (72,)
    return configs.smoke(config) if arg.smoke else config
