"""FreezeD: from the digits 0 to 4 to the digits 5 to 9 with 200 images, the first layers of the discriminator frozen.

    python launch.py --config configs/generate/freeze_d.py --workdir runs/mnist_0_to_4
    python launch.py --config configs/generate/freeze_d.py:stage=frozen --workdir runs/mnist_frozen
    python launch.py --config configs/generate/freeze_d.py:stage=tuned --workdir runs/mnist_tuned

Mo et al. 2020, "Freeze the Discriminator: a Simple Baseline for Fine-Tuning GANs". The first stage trains on all images
of 0 to 4. The others begin with its players, those of the first command's folder or of what `--config.init_from`
names: "frozen" does not train the layers of the three highest resolutions of the discriminator, whose maps are 16x16,
8x8 and 4x4; "tuned" trains all.

Measured with seed 0 on two CPU cores:

    stage    sliced_wasserstein  wall time
    source   not measured yet
    frozen   not measured yet
    tuned    not measured yet
"""

from configs.generate import ada
from cvdl_jax.config import configs

STAGES = ("source", "frozen", "tuned")


def get_config(arg=None):
    """The run's numbers; `stage` of STAGES; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, stage=configs.OneOf(STAGES), smoke=False)
    config = configs.base(critic_steps=1, judge={}, growth={}, ada={})
    ada.small(config, arg.smoke)
    config.data.only = tuple("01234" if arg.stage == "source" else "56789")
    if arg.stage != "source":
        config.data.first, config.total_steps = 200, 2000
        config.init_from = "" if arg.smoke else "runs/mnist_0_to_4"
    if arg.stage == "frozen":
        config.optim.discriminator.freeze = "conv[012]/.*"
    return configs.smoke(config) if arg.smoke else config
