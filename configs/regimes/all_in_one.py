"""All-In-One: faces found and analysed by one network, trained on sources with different labels.

    python launch.py --config configs/regimes/all_in_one.py --workdir runs/all_in_one
    python launch.py --config configs/regimes/all_in_one.py:weights=uncertainty --workdir runs/all_in_one_learned
    python launch.py --config configs/regimes/all_in_one.py:size=paper --workdir runs/all_in_one_227

Ranjan et al. 2017, "An All-In-One Convolutional Neural Network for Face Analysis": is there a face, 21 landmarks and
which of them can be seen, pitch, yaw and roll, smile, gender, age and identity. The faces are drawn (`face_tasks`;
nobody is shown): 8,000 to train on, 800 to select on, 2,000 to test on. Each of four sources has labels of its own, as
the paper's six data sets, and every batch has the same share of each. `size=small` is a narrow network for 64 pixels,
`paper` the published one of 97 million parameters for 227. Both drop half of their dense units; without, the validation
loss of the small one was 3.29 at best, with it 3.10 (16 epochs in place of 40: 3.23).

The weights are not the paper's. Those of detection, landmarks, visibility, pose and gender are HyperFace's (Ranjan et
al. 2016), its predecessor; the other tasks have 1. Each is divided by the share of the images that have the label. The
paper fine-tunes a network that has learned 10,548 people; this one begins anew. Of the age's two losses the bounded one
ends with a half, where the paper's ends alone: it does not hold what is off by more than three sigma, and in a trial on
2,000 faces ages were unlearned, training examples off by 15 years at the end, by 3 with the Euclidean loss alone.

Measured on the test split with seed 0, on one CPU core that other programs shared:

    size         faces found  landmarks (pixels)  pose (degrees)  smile   gender  age (years)  identity  wall time
    small        100.0 %      4.1                 5.4             77.0 %  77.9 %  12.9         61.4 %    12 min
    paper        not measured yet

    weights      faces found  landmarks (pixels)  pose (degrees)  smile   gender  age (years)  identity  wall time
    fixed        100.0 %      4.1                 5.4             77.0 %  77.9 %  12.9         61.4 %    12 min
    uncertainty  100.0 %      5.7                 7.5             82.2 %  80.7 %  13.2         55.0 %    11 min

Chance is 50 % for smile and gender, 2 % for identity.
"""

from cvdl_jax.config import configs

# The weight of each task; detection is known of a quarter of the examples, its landmarks of a sixth.
TASKS = {
    "detection": {"name": "binary", "entry": "face", "mask": "known/face", "weight": 4.0},
    "landmarks": {"name": "landmarks", "entry": "landmarks", "mask": "known/landmarks", "visible": "visibility",
                  "weight": 30.0},
    "visibility": {"name": "several", "entry": "visibility", "mask": "known/landmarks", "loss": "square",
                   "weight": 3.0},
    "pose": {"name": "regression", "entry": "angles", "mask": "known/angles", "scale": 30.0, "weight": 30.0},
    "smile": {"name": "binary", "entry": "smile", "mask": "known/smile", "weight": 4.0},
    "gender": {"name": "binary", "entry": "gender", "mask": "known/gender", "weight": 2.7},
    "age": {"name": "age", "entry": "age", "mask": "known/age", "sigma": 3.0, "centre": 44.0, "scale": 20.0,
            "blend": 0.5, "weight": 4.0},
    "identity": {"name": "classification", "entry": "identity", "mask": "known/identity", "weight": 4.0},
}  # fmt: skip
# A source has one apparent age for each face, but no deviation of its annotators: sigma is ours.
SMALL = {
    "maps": (16, 32, 48, 48, 64, 64, 64), "stem": (5, 2), "branch": 32, "local": 128, "task": 64, "person": (64, 32),
    "face": (128, 64), "places": 3, "dropout": 0.5,
}  # fmt: skip


def get_config(arg=None):
    """The run's numbers; `size` is small or paper, `weights` fixed or uncertainty; `smoke` makes it two steps."""
    arg = configs.parse_arg(
        arg, size=configs.OneOf(("small", "paper")), weights=configs.OneOf(("fixed", "uncertainty")), smoke=False
    )
    paper = arg.size == "paper" and not arg.smoke
    side, people = 227 if paper else 64, 50
    name = f"face_tasks(size={side})"
    if arg.smoke:
        side, people = 36, 6
        name = f"face_tasks(size={side}, people={people}, train=32, validation=16, test=16)"
    tasks = {task: dict(section) for task, section in TASKS.items()}
    if arg.weights == "uncertainty":
        for section in tasks.values():
            section.pop("weight")
    tasks["landmarks"]["size"], tasks["identity"]["classes"] = float(side), people
    config = configs.base(tasks=tasks, balance={"weights": arg.weights})
    config.experiment = "multi_task"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test", "spread": "source"}
    config.normalise = {"fit": "standardise"}
    config.model = {"name": "all_in_one"} if paper else {"name": "all_in_one", **SMALL}
    config.augment = "brightness(amount=0.2) | contrast(amount=0.2)"
    config.total_epochs, config.batch_size = 40, 64
    config.optim = {"name": "adamw", "lr": 1e-3, "weight_decay": 1e-3, "clip_norm": 10.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 5}
    config.select = {"metric": "validation/loss", "mode": "min"}
    if arg.smoke:
        tiny = {"maps": (4, 4, 6, 6, 8, 8, 8), "stem": (3, 2), "branch": 4, "local": 16, "task": 8, "places": 2}
        config.model.update({**tiny, "person": (12, 6), "face": (16, 8)})
    return configs.smoke(config) if arg.smoke else config
