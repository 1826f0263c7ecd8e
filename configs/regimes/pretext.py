"""Pretext tasks: a network learns to see how far images were turned, or how their tiles were exchanged; then probes.

    python launch.py --config configs/regimes/pretext.py --workdir runs/digits_rotation
    python launch.py --config configs/regimes/pretext.py:task=jigsaw --workdir runs/digits_jigsaw
    python launch.py --config configs/regimes/pretext.py:task=labels --workdir runs/digits_labels
    python launch.py --config configs/regimes/pretext.py:data=cifar10 --workdir runs/cifar10_rotation

Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations"; Noroozi and Favaro 2016,
"Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", with all 24 permutations of 2x2 tiles.
Both label images by what was done to them; `labels`, the control, are those of the data. A ResNet-20; probes as in
`simclr.py`. Fine-tuning as there; the head of the task does not fit and is left out.

Measured on the test split with seed 0; the tasks on digits, the data sets by rotation:

    task      linear_accuracy         knn_accuracy            wall time
    rotation  93.87 % [90.90, 95.92]  81.62 % [77.28, 85.28]  89 s
    jigsaw    88.86 % [85.18, 91.71]  72.70 % [67.87, 77.05]  57 s
    labels    99.44 % [97.99, 99.85]  99.16 % [97.57, 99.72]  60 s

Whether the tasks teach more than untrained weights know is not measured yet. Two cores that ran other programs.

    data     linear_accuracy         knn_accuracy            wall time
    digits   93.87 % [90.90, 95.92]  81.62 % [77.28, 85.28]  89 s
    cifar10  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

TASKS = {"rotation": {}, "jigsaw": {"grid": 2, "permutations": 24}, "labels": {}}
AUGMENT = {"digits": "padded_crop(padding=2)", "cifar10": "flip | padded_crop(padding=4)"}


def get_config(arg=None):
    """The run's numbers; `task` is rotation, jigsaw or labels; `data` is digits or cifar10; `smoke`: two steps."""
    arg = configs.parse_arg(arg, task=configs.OneOf(TASKS), data=configs.OneOf(AUGMENT), smoke=False)
    config = configs.base(pretext={"name": arg.task, **TASKS[arg.task]}, probe={})
    datasets.unlabelled(config, arg.data, arg.smoke)
    config.experiment = "pretext"
    config.augment = AUGMENT[arg.data]
    datasets.small_resnet(config, arg.smoke)
    config.total_epochs = 40 if arg.data == "digits" else 30
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    return configs.smoke(config) if arg.smoke else config
