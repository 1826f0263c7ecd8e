"""A prototypical network (Snell et al. 2017) on characters of alphabets that it was not trained on.

    python launch.py --config configs/regimes/prototypical.py --workdir runs/prototypical
    python launch.py --config configs/regimes/prototypical.py:data=faces --workdir runs/prototypical_faces
    python launch.py --config configs/regimes/prototypical.py:shots=5 --workdir runs/prototypical_5_shots

Conv-4, whose 64 features are the embedding, is trained on episodes of 20 characters with `shots` drawings each and five
queries (the paper: 60 characters and the same shots as in evaluation), on the five alphabets of `omniglot_small`'s
small1, without the paper's new classes by rotation; Tagalog selects the checkpoint. Evaluated on 600 episodes of five
characters of Katakana and Sanskrit, one or five drawings of each and 15 queries. `data=faces` are drawn portraits,
whose classes are people, and need no data folder.

Measured on the test split with seed 0, on two CPU cores that ran other programs; the intervals are over episodes:

    data      5way_1shot_accuracy    5way_5shot_accuracy    wall time
    omniglot  80.2 % [79.43, 80.98]  92.6 % [92.16, 93.00]  4 min
    faces     92.3 % [91.60, 92.96]  96.0 % [95.51, 96.52]  5 min
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` chooses, `shots` are those of training; `smoke` makes it two steps on a few faces."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("omniglot", "faces")), shots=1, smoke=False)
    config = configs.base(few_shot={"training_shots": arg.shots, "way": 5, "shots": (1, 5), "queries": 15})
    config.few_shot.episodes = 600
    config.experiment = "few_shot"
    config.data = {"train": "train", "validation": "validation", "test": "test"}
    config.data.episodes = {"classes": 20, "images": arg.shots + 5}
    config.batch_size, config.total_steps = 20 * (arg.shots + 5), 500
    if arg.data == "faces" or arg.smoke:
        size = "size=32, views=8, train=64, validation=64, test=64" if arg.smoke else "size=32, views=20, train=4000"
        config.data.update({"name": f"faces({size})", "features": ("image", "identity")})
        config.data.episodes.entry = "identity"
    else:
        config.data.update({"name": "disjoint_classes", "image_size": (28, 28)})
    config.normalise = {"fit": "standardise"}
    config.model = {"name": "conv4"}
    config.optim = {"name": "adamw", "lr": 1e-3, "weight_decay": 1e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 20}
    config.select = {"metric": "validation/5way_1shot_accuracy", "mode": "max"}
    if arg.smoke:
        config.data.episodes.update({"classes": 4, "images": 4})
        config.few_shot.update({"training_shots": 1, "queries": 3, "episodes": 10})
        config.model.channels = (4, 4)
    return configs.smoke(config) if arg.smoke else config
