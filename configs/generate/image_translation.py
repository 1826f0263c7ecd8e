"""Translation of images between two sets of them, by CycleGAN without pairs or by pix2pix with them.

    python launch.py --config configs/generate/image_translation.py --workdir runs/faces_cyclegan
    python launch.py --config configs/generate/image_translation.py:method=paired --workdir runs/faces_pix2pix

Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"; Isola et al. 2017,
"Image-to-Image Translation with Conditional Adversarial Networks".

Two folders of your own, in which files of one name are pairs with `method=paired`, and which may have different numbers
of images without; each may hold train, val and test, else these are cut from it:

    python launch.py --config \
        configs/generate/image_translation.py:before=/path/photos,after=/path/paintings --workdir runs/paintings

Then images of a folder, as PNG files of each generator in runs/photos_forward and runs/photos_backward:

    python launch.py --mode predict --workdir runs/paintings --input /path/photos --out runs/photos.csv

Drawn faces become beings of another world, and back. The pairs of the test split are hidden from unpaired training and
measure it: l1 is the mean absolute difference of pixels in 0..1. The weight of a cycle is half the paper's, beside
least squares with a half. Of folders without pairs only cycles are measured. For images of 256 pixels (`size=256`):
cyclegan_generator or unet, and patch_discriminator. An epoch is one of the larger folder; the smaller one begins anew
whenever all of its images have been shown.

    method    forward l1 on test    of unchanged images  wall time
    unpaired  not measured yet
    paired    not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

METHODS = {
    "unpaired": {
        "steps": 8000,
        "generator": {"name": "translator_small"},
        "loss": "least_squares",
        "objective": {"name": "unpaired", "cycle": 5.0, "identity": 0.0, "pool": 50},
    },
    "paired": {
        "steps": 4000,
        "generator": {"name": "unet", "widths": (24, 48, 96, 192), "norm": "instance", "padding": "same"},
        "loss": "non_saturating",
        "objective": {"name": "paired", "l1": 100.0},
    },
}


def get_config(arg=None):
    """The run's numbers; `before` and `after` are folders of your own; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, method=configs.OneOf(METHODS), before="", after="", size=64, smoke=False)
    chosen = METHODS[arg.method]
    config = configs.base(objective=chosen["objective"])
    settings = ["paired=1"] if arg.method == "paired" else []
    settings += ["size=16, train=16, validation=8, test=8"] if arg.smoke else []
    settings += [f"size={arg.size}"] if arg.size != 64 and not arg.smoke else []
    config.experiment = "translate_images"
    config.data = {
        "name": f"face_domains({', '.join(settings)})" if settings else "face_domains",
        "train": "train",
        "validation": "validation",
        "test": "test",
    }
    if arg.before or arg.after:
        datasets.two_folders(config, arg.before, arg.after, arg.method == "paired", 16 if arg.smoke else arg.size)
    config.normalise = {}
    config.total_steps, config.batch_size, config.eval_batch_size = chosen["steps"], 4, 50
    config.model = {"generator": chosen["generator"], "discriminator": {"name": "patch_discriminator_34"}}
    config.loss = {"name": chosen["loss"]}
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.5}
    config.optim = {"generators": dict(adam), "discriminators": dict(adam)}
    config.ema = {"decay": 0.995, "warmup": True}
    config.eval = {"every_percent": 25}
    config.log.every_steps = 100
    config.select = {"metric": "", "mode": "min"}  # the newest: nothing that is known without pairs would choose
    if arg.smoke:
        config.model.generator.update(
            {"widths": (24, 24)} if arg.method == "paired" else {"width": 24, "blocks": 1, "stem": 3}
        )
        config.model.discriminator.widths = (72,)  # more channels than conv.py sums by shifting, which compiles slowly
        config.objective.update({} if arg.method == "paired" else {"pool": 2})
    return configs.smoke(config) if arg.smoke else config
