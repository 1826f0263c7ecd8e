"""Distillation: a perceptron learns 1,000 digits of MNIST from a LeNet-5 that has seen all of them.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/regimes/distill.py --workdir runs/mnist_soft
    python launch.py --config configs/regimes/distill.py:targets=hard --workdir runs/mnist_hard
    python launch.py --config configs/regimes/distill.py:targets=labels --workdir runs/mnist_labels

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 3; Touvron et al. 2021, equation 3, for
"hard". The first command trains the teacher; `--config.distill.workdir=""` with `--config.distill.file=lenet5_mnist`
takes one of ours, and `:examples=0` all images. The teacher sees the images as they are augmented for the student.
"labels" trains the student as it is trained otherwise, by experiments/classify.py.

Measured on the test split with seed 0:

    targets  test accuracy           wall time
    soft     95.47 % [95.04, 95.86]  40 s
    hard     93.80 % [93.31, 94.26]  46 s
    labels   93.57 % [93.07, 94.03]  11 s

on two busy CPU cores, with a teacher of ours (`lenet5_mnist`, 99.18 %), and one seed each. Soft targets are 1.9 points
above labels; the intervals of hard targets and labels overlap.
"""

from configs import datasets
from cvdl_jax.config import configs

TARGETS = {
    "soft": {"kind": "soft", "temperature": 4.0, "share": 0.9},
    "hard": {"kind": "hard", "share": 0.5},
    "labels": {},
}


def get_config(arg=None):
    """The run's numbers; `targets` of TARGETS, `examples` of MNIST (0 for all); `smoke` makes it two steps on digits,
    with a teacher of ours.
    """
    arg = configs.parse_arg(arg, targets=configs.OneOf(TARGETS), examples=1000, smoke=False)
    teacher = {"file": "lenet5_mnist"} if arg.smoke else {"workdir": "runs/mnist_lenet5"}
    learns = arg.targets != "labels"
    config = configs.base(distill=teacher | TARGETS[arg.targets]) if learns else configs.base()
    config.experiment = "distill" if learns else "classify"
    datasets.classification(config, "mnist", arg.smoke, size=32)
    if arg.examples and not arg.smoke:
        config.data.first = arg.examples
    config.total_steps = 2000
    config.batch_size = 64
    config.eval = {"every_percent": 10}
    config.augment = "padded_crop(padding=2)"
    config.model = {"name": "mlp", "hidden": (100,)}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    return configs.smoke(config) if arg.smoke else config
