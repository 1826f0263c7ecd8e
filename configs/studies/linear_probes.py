"""Linear probes on digits: what layers of a network, trained on the digits 0 to 4, know of the digits 5 to 9.

    python launch.py --config configs/studies/linear_probes.py --workdir runs/studies_linear_probes

Yosinski et al. 2014, "How Transferable are Features in Deep Neural Networks?"; Zeiler and Fergus 2014, "Visualizing and
Understanding Convolutional Networks", table 7 (classifiers on each layer); Dosovitskiy et al. 2021, figure 4 (few-shot
accuracy of linear probes over the size of pre-training). Networks are trained on 0, 50, 150 and 450 images, five seeds;
each probe's strength is chosen on validation images.

Not measured yet.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = {"data": data, "source": tuple("01234"), "target": tuple("56789")}
    if arg.smoke:
        study |= {"sizes": (20, 40), "shots": (1, 2), "draws": 2, "seeds": 2, "strengths": (0.1, 1.0)}
    config = configs.base(study=study)
    config.experiment = "studies.linear_probes"
    config.total_steps = 400
    config.batch_size = 32
    config.log.every_steps = 100
    config.eval = {"every_percent": 100}
    config.model = {"name": "convnet", "channels": (16, 32), "units": (64,)}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.01, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
