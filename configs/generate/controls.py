"""Control rows of a table of generators: real images, a normal distribution of pixels, an untrained DCGAN.

    python launch.py --config configs/generate/controls.py --workdir runs/mnist_gaussian
    python launch.py --config configs/generate/controls.py:kind=real --workdir runs/mnist_real
    python launch.py --config configs/generate/controls.py:kind=untrained --workdir runs/mnist_untrained
    python launch.py --config configs/generate/controls.py:data=digits --workdir runs/digits_gaussian
    ... --config.judge.file=lenet5_mnist --config.judge.layer=pre_logits --config.judge.samples=10000

"real" draws training images, which the test images that they are compared with do not contain; the distance of one half
of the test images from the other, `frechet_halves`, is reported by every run that has a judge. A generator is worth
quoting where it beats the other two five-fold.

Measured with seed 0, Frechet distance of features of the LeNet-5, 10,000 samples of MNIST, whose halves are 1.33 apart,
and 359 of the digits, whose halves are 7.05 apart:

    kind       frechet           classes covered  wall time
    gaussian   367.0             9                20 s
    real       1.06              10               20 s
    untrained  1,078             1                30 s

    data    frechet           wall time, gaussian
    mnist   367.0             20 s
    digits  35.5              20 s
"""

from configs import datasets
from configs.generate import dcgan
from cvdl_jax.config import configs

KINDS = ("gaussian", "real", "untrained")


def get_config(arg=None):
    """The run's numbers; `kind` of KINDS; `data` is mnist or digits; `smoke` takes digits."""
    arg = configs.parse_arg(arg, kind=configs.OneOf(KINDS), data=configs.OneOf(["mnist", "digits"]), smoke=False)
    config = configs.base(control={"kind": arg.kind}, judge={})
    datasets.images(config, arg.data, arg.smoke)
    config.experiment, config.normalise = "control_samples", {}
    config.total_steps, config.batch_size = 0, 16 if arg.smoke else 100
    config.eval = {"every_steps": 1}
    config.select = {"metric": "", "mode": "min"}
    if arg.kind == "untrained":
        config.model = dcgan.SIZES[arg.data]["generator"]
    return config
