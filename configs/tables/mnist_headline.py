"""Classic classifiers on MNIST beside the numbers of LeCun et al. 1998: 20 epochs, five seeds.

    python launch.py --table configs/tables/mnist_headline.py

The published numbers are those of LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998, figure 9, as the MNIST page of LeCun, Cortes and Burges lists them ("none" under preprocessing).
They are test errors, typed here as accuracies. None is comparable with ours to the last tenth: theirs were trained on
all 60,000 images, ours on 54,000 and selected on the other 6,000. The linear SVM has no published number there.
Needs MNIST, prepared by TFDS. By the times of single runs about half an hour on two CPU cores, most of it LeNet-5.
"""

from cvdl_jax.config import configs

OURS = "54,000 images to train on, 6,000 to select on"
THEIRS = "60,000 images to train on"
SOURCE = "LeCun et al. 1998, figure 9"


def published(error, how):
    """A test error of the paper, in percent, as an accuracy."""
    return {
        "value": 100 - error, "source": f"{SOURCE}: {error} % error", "data": "MNIST", "metric": "test accuracy",
        "protocol": f"{THEIRS}; {how}",
    }  # fmt: skip


def get_table(arg=None):
    """The table; `smoke` makes every run two steps on digits, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2, 3, 4))
    rows = [
        {
            "name": "softmax",
            "config": "softmax",
            "protocol": f"{OURS}; softmax cross-entropy, Adam",
            "published": published(12.0, "linear classifier, one layer, no distortions"),
        },
        {
            "name": "linear SVM",
            "config": "svm",
            "protocol": f"{OURS}; multiclass hinge loss, Adam",
        },
        {
            "name": "MLP 300-100",
            "config": "mlp",
            "protocol": f"{OURS}; ReLU, dropout, softmax cross-entropy, AdamW",
            "published": published(3.05, "28x28-300-100-10, no distortions"),
        },
        {
            "name": "LeNet-5",
            "config": "lenet5",
            "protocol": f"{OURS}; ReLU, max-pooling, softmax cross-entropy, random crops, AdamW",
            "published": published(0.95, "LeNet-5 of 1998, no distortions"),
            "recipe": {"epochs": 20, "memory": True},
        },
    ]  # fmt: skip
    for row in rows:
        row["config"] = f"configs/classify/{row['config']}.py:data=mnist{',smoke' if arg.smoke else ''}"
    return {
        "title": "Classic classifiers on MNIST",
        "caption": "Test accuracy on the 10,000 test images of MNIST; the checkpoint is selected on validation images, "
        "the test set is evaluated once.",
        "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "MNIST",
        "protocol": OURS,
        "rows": rows,
    }
