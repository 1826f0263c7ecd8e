"""Explanations of a trained classifier by number, a row for each method: what its maps find, and what they depend on.

    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --table configs/tables/explanations.py:workdir=runs/mnist_lenet5 --workers 1
    python launch.py --config configs/classify/multi_label.py --workdir runs/scenes
    python launch.py --table configs/tables/explanations.py:workdir=runs/scenes --workdir runs/tables/scenes --workers 1

The table measures a run that exists: the first command makes it, unless there is one; so do the third and fourth for
scenes, whose masks let the pointing game be played. Each row is the study configs/studies/explanations.py with one
method on validation images; random numbers are the control. They are the same numbers whatever the weights are, so that
their correlation is 1, that of a map which explains nothing. `--table configs/tables/explanations.py:smoke` measures a
network made by hand. Insertion and deletion: Petsiuk et al. 2018, "RISE", section 4.2, of which none is quoted: their
numbers are of a ResNet-50 on ImageNet.
"""

from configs.studies.explanations import METHODS
from cvdl_jax.config import configs

SHUFFLED = {"last_layer": "correlation, last layer shuffled", "all_layers": "correlation, all layers shuffled"}


def get_table(arg=None):
    """The table; `workdir` of a trained run, `images` of its validation split; `smoke` is of a few by hand."""
    arg = configs.parse_arg(arg, workdir="runs/mnist_lenet5", images=100, smoke=False, seeds=(0,))
    first = f"python launch.py --config configs/classify/lenet5.py:data=mnist --workdir {arg.workdir}"
    run = {} if arg.smoke else {"needs": {"workdir": arg.workdir, "command": first}}
    measured = [] if arg.smoke else [f"config.study.workdir={arg.workdir}", f"config.study.images={arg.images}"]
    rows = [
        {
            "name": "random numbers" if method == "random" else method,
            "config": f"configs/studies/explanations.py{':smoke' if arg.smoke else ''}",
            "overrides": ["config.study.alone=True", f"config.study.methods={method}", *measured],
            **run,
        }
        for method in (*map(str.strip, METHODS.split("|")), "random")
    ]
    return {
        "title": "Explanations of a classifier",
        "caption": "Areas below the probability of the explained class while the pixels that a map ranks first are put "
        "into a black image (insertion, higher is better) or blackened in the image (deletion, lower is better); rank "
        "correlation of the maps with those of shuffled weights, near 0 where a map depends on them. Random numbers "
        "are the same whatever the weights are.",
        "metric": {"key": "study/insertion", "label": "insertion area", "digits": 3, "interval": "Student-t"},
        "columns": [
            {"key": "study/deletion", "label": "deletion area", "better": "min", "digits": 3, "interval": "Student-t"},
            *(
                {"key": f"study/like_{key}_randomised", "label": label, "better": "none", "digits": 2}
                for key, label in SHUFFLED.items()
            ),
            {"key": "study/pointing", "label": "pointing game", "unit": "%", "digits": 1, "optional": True},
        ],
        "seeds": arg.seeds,
        "data": "images with a bright square" if arg.smoke else f"validation images of {arg.workdir}",
        "protocol": "a network made by hand" if arg.smoke else f"the first {arg.images} images",
        "rows": rows,
    }
