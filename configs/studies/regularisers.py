"""Regularisers on 200 digits: which of them help a perceptron that fits its training set exactly, and by how much.

    python launch.py --config configs/studies/regularisers.py --workdir runs/studies_regularisers

Goodfellow et al. 2016, "Deep Learning", chapter 7. Ten seeds, each with its own 200 training digits, of whose labels a
fifth is drawn at random (`:wrong=0.0` for none). Early stopping looks at 289 validation images with right labels; there
L2, dropout and label smoothing were the best of two to four strengths. Stronger L1 and noise than these cost more.

Measured on 359 test digits, with 95 % intervals of the mean over seeds. Plain training fits all labels, wrong ones too,
and reaches 76.2 % [73.6, 78.8]. In pairs with it, L2 gains 7.9 points [5.4, 10.5], early stopping 7.3 [4.8, 9.8],
dropout 6.3 [4.5, 8.1] (6.0 by the average over 30 masks in place of the one network), label smoothing 2.8 [1.2, 4.4].
Shifted crops 1.2 [-2.0, 4.4], L1 -0.2 [-1.3, 0.9] and noise on gradients -1.3 [-2.9, 0.3] make no clear difference,
but L1 sets 79 % of the parameters to exactly 0. 55 s of CPU time.

With right labels plain training reaches 93.0 % [92.1, 93.8] and little is left to gain: dropout 0.6 [-0.1, 1.2], label
smoothing 0.6 [0.0, 1.2], early stopping 0.0 [-0.6, 0.6]; L2 and noise of these strengths cost 2.1 [0.9, 3.2] and 2.7
[1.9, 3.6] points. 36 s of CPU time.
"""

from cvdl_jax.config import configs

METHODS = {
    "none": {},
    "l2": {"optim": {"penalty": {"name": "l2", "strength": 1e-2}}},
    "l1": {"optim": {"penalty": {"name": "proximal_l1", "strength": 1e-3}}},
    "dropout": {"model": {"dropout": 0.5}},
    "label_smoothing": {"label_smoothing": 0.4},
    "augmentation": {"augment": "padded_crop(padding=1)"},
    "gradient_noise": {"optim": {"gradient_noise": {"eta": 1e-2}}},
}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, wrong=0.2, smoke=False)
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = {"methods": METHODS, "data": data, "wrong": arg.wrong}
    if arg.smoke:
        study |= {"methods": {name: METHODS[name] for name in ("none", "dropout", "l1")}}
        study |= {"examples": 32, "seeds": 2, "masks": 2, "look_every": 1}
    config = configs.base(study=study)
    config.experiment = "studies.regularisers"
    config.total_steps = 1500
    config.batch_size = 32
    config.log.every_steps = 100
    config.eval = {"every_percent": 20}
    config.model = {"name": "mlp", "hidden": (100, 100)}
    config.optim = {"name": "sgd", "lr": 0.3, "momentum": 0.9, "form": "ema"}
    return configs.smoke(config) if arg.smoke else config
