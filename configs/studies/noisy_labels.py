"""Wrong labels in training: what they cost on the test split, and that networks learn them by heart.

    python launch.py --config configs/studies/noisy_labels.py --workdir runs/noisy_labels
    python launch.py --config configs/studies/noisy_labels.py:kind=asymmetric --workdir runs/noisy_labels_asymmetric

Perceptrons on digits, with 0, 20, 40 and 60 % (asymmetric: 0 to 45 %) of the training labels replaced by any other
class, or by the next. Sun et al. 2017, "Revisiting Unreasonable Effectiveness of Data", train on 300 million images
about a fifth of whose labels are wrong; Zhang et al. 2017 fit labels without any meaning.

Measured on the test split with seed 0: accuracy in percent at the four shares, and of the mislabelled training images
those that get their wrong label:

    kind        none  least  middle  most  learned by heart
    symmetric   97.8  85.0   67.7    46.5  100 % at every share
    asymmetric  97.8  88.0   73.0    54.9  100 % at every share

Perceptrons of this size fit every label, right or wrong, and answer wrongly labelled training images accordingly.
57 and 12 s on two busy CPU cores; one seed.
"""

from cvdl_jax.config import configs

SHARES = {"symmetric": (0.0, 0.2, 0.4, 0.6), "asymmetric": (0.0, 0.15, 0.3, 0.45)}


def get_config(arg=None):
    """The run's numbers; `kind` is symmetric or asymmetric; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, kind=configs.OneOf(SHARES), smoke=False)
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    examples = 32 if arg.smoke else 0
    config = configs.base(
        study={"data": data, "kind": arg.kind, "shares": SHARES[arg.kind], "examples": examples},
    )
    config.experiment = "studies.noisy_labels"
    config.total_steps = 3000
    config.batch_size = 128
    config.log.every_steps = 200
    config.eval = {"every_percent": 10}
    config.select = {"metric": "", "mode": "max"}  # the newest: what memorisation does is seen late
    config.model = {"name": "mlp", "hidden": (256, 256)}
    config.optim = {"name": "adam", "lr": 1e-3, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
