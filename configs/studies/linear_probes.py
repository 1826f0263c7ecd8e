"""Linear probes on digits: what layers of a network, trained on the digits 0 to 4, know of the digits 5 to 9.

    python launch.py --config configs/studies/linear_probes.py --workdir runs/studies_linear_probes

Yosinski et al. 2014, "How Transferable are Features in Deep Neural Networks?"; Zeiler and Fergus 2014, "Visualizing and
Understanding Convolutional Networks", table 7 (classifiers on each layer); Dosovitskiy et al. 2021, figure 4 (few-shot
accuracy of linear probes over the size of pre-training). Networks are trained on 0, 50, 150 and 450 images, five seeds;
each probe's strength is chosen on validation images.

Measured, seed 0, on 179 test digits. The percentages right, with 95 % intervals over seeds, of probes on all training
digits of each layer, and of probes on k of each class, by the last layer:

    trained on  first maps         second maps         last layer         k = 1  5     10    25
    nothing     97.1 [95.0, 99.2]  97.8 [96.1, 99.5]  91.5 [84.5, 98.5]  55.8   76.9  83.0  87.3
    50          97.7 [96.3, 99.0]  98.3 [97.5, 99.2]  95.2 [94.4, 96.0]  52.6   80.4  88.4  92.3
    150         97.9 [96.7, 99.0]  98.5 [97.8, 99.3]  96.1 [93.2, 99.0]  53.2   80.9  88.1  92.8
    450         98.2 [96.6, 99.8]  98.8 [98.0, 99.5]  96.0 [94.2, 97.8]  53.1   79.1  88.0  92.2

The pixels themselves give 98.3 %, so that there is little for layers to add. In pairs with the weights of the same seed
before training, one of the 21 gains has an interval without 0, as chance alone would give: that of the first maps by
450 images, 1.1 points [0.1, 2.1]. Those of the last layer are about 5 points with 10 and 25 of each class, their
intervals from about -1 to 11, and about -3 with one. Nor do more than 50 images make a difference that 179 digits and
five seeds could show. 17 s on two busy CPU cores, and 25 s of compiling.
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
