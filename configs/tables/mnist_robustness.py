"""A small convolutional network on MNIST, trained plainly and adversarially: clean and robust accuracy.

    python launch.py --config configs/classify/robust_mnist.py:share=0 --workdir runs/robust_mnist_plain
    python launch.py --config configs/classify/robust_mnist.py --workdir runs/robust_mnist
    python launch.py --table configs/tables/mnist_robustness.py --workers 1

The rows attack runs that exist: the second command trains for an hour or two of two CPU cores, so a run of it that
there is already is named by its folder, `mnist_robustness.py:robust=FOLDER,plain=FOLDER`. Attacks change every pixel by
at most 0.3: PGD of 40 steps of 0.01 from one random start, as in Madry et al. 2018, table 1, and an ensemble of it and
`autoattack`, which is weaker than AutoAttack; an image counts only if none of them fools the network.

Published: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", table 1, typed from
memory; and, of their released network, the best white-box attack in the list of github.com/MadryLab/mnist_challenge.
Theirs has 3.3 million parameters and was trained on all 60,000 images, ours 80,202 and 54,000.
"""

from configs.studies.adversarial_accuracy import PGD
from cvdl_jax.config import configs

CLEAN, UNDER_PGD, UNDER_ALL = "clean accuracy", "accuracy under PGD-40", "accuracy under the ensemble"
THEIRS = "10,000 test images, 3.3 million parameters; 40 steps of 0.01, one random start"


def published(value, metric, source, protocol=THEIRS, memory=True):
    """An accuracy of Madry et al.'s adversarially trained network, in percent."""
    return {
        "value": value, "source": source, "data": "MNIST", "metric": metric, "protocol": protocol, "memory": memory,
    }  # fmt: skip


def get_table(arg=None):
    """The table; `plain` and `robust` are folders of runs, `images` of the test split; `smoke` needs no run."""
    arg = configs.parse_arg(
        arg, plain="runs/robust_mnist_plain", robust="runs/robust_mnist", images=1000, smoke=False, seeds=(0,)
    )
    rows = []
    for name, workdir, more in (("trained plainly", arg.plain, ":share=0"), ("adversarial training", arg.robust, "")):
        command = f"python launch.py --config configs/classify/robust_mnist.py{more} --workdir {workdir}"
        row = {"name": name, "config": f"configs/studies/adversarial_accuracy.py{':smoke' if arg.smoke else ''}"}
        if arg.smoke:  # of the linear classifier, whose rows would be one
            row["overrides"] = [f"config.study.images={20 + len(rows)}"]
        else:
            row["overrides"] = [f"config.study.workdir={workdir}", f"config.study.images={arg.images}"]
            row["needs"] = {"workdir": workdir, "command": command}
        rows.append(row)
    rows[1]["published"] = published(93.2, UNDER_PGD, "Madry et al. 2018, table 1, PGD-40")
    rows[1]["published_columns"] = {
        "study/clean_accuracy": published(98.8, CLEAN, "Madry et al. 2018, table 1, natural"),
        "study/robust_accuracy": published(
            88.0, "accuracy under the best attack", "mnist_challenge, white-box list, Guided Local Attack 2021",
            "10,000 test images, their released network; the best of many attacks", memory=False,
        ),
    }  # fmt: skip
    metric = f"study/{'pgd(eps=0.3, steps=2)' if arg.smoke else PGD}/robust_accuracy"
    return {
        "title": "Robustness of a small network on MNIST",
        "caption": "Accuracy on test images as they are, and when each pixel may change by 0.3.",
        "metric": {"key": metric, "label": UNDER_PGD, "unit": "%", "better": "max"},
        "columns": [
            {"key": "study/clean_accuracy", "label": CLEAN, "unit": "%"},
            {"key": "study/robust_accuracy", "label": UNDER_ALL, "unit": "%"},
        ],
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "MNIST",
        "protocol": f"the first {arg.images:,} test images, 80,202 parameters; 40 steps of 0.01, one random start"
        if arg.images
        else "10,000 test images, 80,202 parameters; 40 steps of 0.01, one random start",
        "rows": rows,
    }
