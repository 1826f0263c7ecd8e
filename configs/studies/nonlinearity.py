"""Linear layers in a row are one linear map: five of them cannot separate rings that two layers with a ReLU separate.

    python launch.py --config configs/studies/nonlinearity.py --workdir runs/studies_nonlinearity

Minsky and Papert 1969, chapter 1, for what a linear threshold cannot decide. `data` is any of the toy sets.

Measured on circles: test accuracy 46.80 % linear, 46.60 % with five linear layers, 100.00 % with one hidden layer of
ReLU and with four, seed 0; 10 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is circles, xor, spirals or blobs; `smoke` makes it two steps."""
    arg = configs.parse_arg(arg, smoke=False, data="circles")
    models = {
        "linear": {"hidden": ()},
        "five_linear": {"hidden": (32, 32, 32, 32), "activation": "identity"},
        "relu": {"hidden": (32,)},
        "deep_relu": {"hidden": (32, 32, 32, 32)},
    }
    config = configs.base(study={"models": models})
    config.experiment = "studies.perceptrons"
    datasets.toy(config, arg.data)
    config.total_epochs = 60
    config.batch_size = 100
    config.eval = {"every_epochs": 10}
    config.model = {"name": "mlp"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adam", "lr": 1e-2, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
