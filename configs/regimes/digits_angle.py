"""Multi-task learning: which digit an image shows, and by which angle it was turned, by one network with two heads.

    python launch.py --config configs/regimes/digits_angle.py --workdir runs/digits_angle
    python launch.py --config configs/regimes/digits_angle.py:weights=uncertainty --workdir runs/digits_angle_learned
    python launch.py --config configs/regimes/digits_angle.py:task=digit --workdir runs/digit_alone
    python launch.py --config configs/regimes/digits_angle.py:task=angle --workdir runs/angle_alone

`rotated_digits`: 4,596 images of 1,149 scans to train on, 289 to select on and 359 to test on, each turned by up to 60
degrees either way. The angle is read from its cosine and sine. `weights=uncertainty` learns how the
two losses are weighed (Kendall et al. 2018). `task` trains one task alone, to compare, or to combine such runs into one
predictor without further training:

    from cvdl_jax.engine import combining
    combined = combining.combine(("runs/digit_alone", "runs/angle_alone"))
    combined.predict(images), combined.measure("test")

Measured on the test split with seed 0, on two CPU cores that others used too:

    weights      digits right     mean error of the angle  wall time
    fixed        97.5 % [95.3, 98.7]  4.3 degrees              122 s
    uncertainty  97.5 % [95.3, 98.7]  4.3 degrees              202 s

    task         digits right     mean error of the angle  wall time
    both         97.5 % [95.3, 98.7]  4.3 degrees              122 s
    digit        98.3 % [96.4, 99.2]  -                        194 s
    angle        -                    3.4 degrees              204 s

The combination of the last two has their figures. One network does both tasks almost as well as one for each.
"""

from cvdl_jax.config import configs

TASKS = {
    "digit": {"name": "classification", "entry": "label", "classes": 10},
    "angle": {"name": "angle", "entry": "angle"},
}


def get_config(arg=None):
    """The run's numbers; `weights` is fixed or uncertainty, `task` both, digit or angle; `smoke` makes it two steps."""
    arg = configs.parse_arg(
        arg, weights=configs.OneOf(("fixed", "uncertainty")), task=configs.OneOf(("both", "digit", "angle")),
        smoke=False,
    )  # fmt: skip
    tasks = TASKS if arg.task == "both" else {arg.task: TASKS[arg.task]}
    config = configs.base(tasks=tasks, balance={"weights": arg.weights})
    config.experiment = "multi_task"
    name = "rotated_digits(copies=1)" if arg.smoke else "rotated_digits"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
    config.normalise = {"fit": "standardise"}
    config.model = {"name": "resnet20"}
    config.total_epochs, config.batch_size = 10, 128
    config.optim = {"name": "adamw", "lr": 4e-3, "weight_decay": 1e-3}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 20}
    config.select = {"metric": "validation/loss", "mode": "min"}
    if arg.smoke:
        config.model.update({"depths": (1, 1, 1), "widths": (4, 8, 16)})
        config.data.update({split: f"{split}[:32]" for split in ("train", "validation", "test")})
    return configs.smoke(config) if arg.smoke else config
