"""Generators of MNIST beside control rows, by the Frechet distance of features of our LeNet-5.

    python launch.py --table configs/tables/mnist_generators.py

A VAE (Kingma and Welling 2014), DCGAN (Radford et al. 2016), LSGAN (Mao et al. 2017), WGAN-GP (Gulrajani et al. 2017)
and DDPM (Ho et al. 2020), of about ten minutes each on two CPU cores, the DDPM of forty, and three rows that are no
trained generators (`configs/generate/controls.py`). Distances are of 10,000 samples from the 10,000 test images, in the
space of the layer before the scores of `lenet5_mnist`. The runs also say how many classes are covered and how far the
nearest training images are, and show samples beside these.
"""

from cvdl_jax.config import configs

DIGEST = "2b0a792c"  # the first digits of the SHA-256 of lenet5_mnist
JUDGE = [
    "config.judge.file=lenet5_mnist", f"config.judge.sha256={DIGEST}", "config.judge.layer=pre_logits",
    "config.judge.samples=10000",
]  # fmt: skip
# Steps that fit the time: DCGAN made 10,000 steps in 681 s, WGAN-GP 7,000 in 616 s.
ROWS = {
    "real images": ("controls", "kind=real", "training images, drawn with replacement", []),
    "Gaussian of pixels": ("controls", "", "mean and covariance of the training pixels", []),
    "untrained DCGAN": ("controls", "kind=untrained", "first weights", []),
    "VAE": ("vae", "", "20 epochs", []),
    "DCGAN": ("dcgan", "", "8,000 steps of 64 images, averaged", ["config.total_steps=8000"]),
    "LSGAN": (
        "dcgan", "", "8,000 steps of 64 images, averaged",
        ["config.total_steps=8000", "config.loss.name=least_squares"],
    ),
    "WGAN-GP": ("wgan_gp", "", "6,500 steps of 5 times 32 images, averaged", ["config.total_steps=6500"]),
    "DDPM": (
        "ddpm", "", "half as wide, 8,000 steps of 64 images, averaged; 50 steps of DDIM",
        ["config.total_steps=8000", "config.model.width=16"],
    ),
}  # fmt: skip


def get_table(arg=None):
    """The table; `smoke` makes every run two steps on digits, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, smoke=False, seeds=(0,))
    seeds = ", ".join(map(str, arg.seeds))
    samples = 359 if arg.smoke else 10_000
    rows = []
    for name, (config, words, protocol, overrides) in ROWS.items():
        words = ",".join(part for part in (words, "data=mnist", "smoke" * arg.smoke) if part)
        file = f"configs/generate/{config}.py:{words}"
        kept = [key for key in overrides if not arg.smoke or "total_steps" not in key]
        rows.append({"name": name, "config": file, "overrides": [*kept, *JUDGE], "protocol": protocol})
    return {
        "title": f"Generators of MNIST, seed{'s' * (len(arg.seeds) > 1)} {seeds}",
        "caption": "Frechet distance of features of LeNet-5 between samples and test images, as many of each; less is "
        "better. The distance of one half of the test images from the other is frechet_halves of every run.",
        "metric": {
            "key": f"distance/frechet_{samples}_pre_logits_{DIGEST}", "label": "Frechet distance", "unit": "",
            "better": "min", "digits": 2,
        },
        "columns": [
            {"key": "judge/classes", "label": "classes covered", "digits": 0},
            {"key": f"distance/precision_{samples}_pre_logits_{DIGEST}", "label": "precision", "digits": 2},
            {"key": f"distance/recall_{samples}_pre_logits_{DIGEST}", "label": "recall", "digits": 2},
            {"key": "samples/nearest", "label": "to the nearest training image", "better": "none", "digits": 2},
        ],
        "seeds": arg.seeds,
        "data": "digits" if arg.smoke else "MNIST",
        "protocol": "54,000 images to train on",
        "rows": rows,
    }  # fmt: skip
