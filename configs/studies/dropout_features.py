"""Features of an autoencoder of 256 rectified units, learned with half of them dropped and with none.

    python launch.py --config configs/studies/dropout_features.py --workdir runs/studies_dropout_features
    python launch.py --config configs/studies/dropout_features.py:data=digits --workdir runs/studies_dropout_digits

Srivastava et al. 2014, "Dropout", section 7 and figures 7 and 8: with dropout units detect edges, strokes and spots,
and fewer of them are active; without it no single unit says much. Here `zero` is the share of units that are silent,
`activation` their mean, `spread` how evenly a unit's weights lie over the pixels.

Measured with seed 0 on the test images, of without / with dropout:

    data    zero              activation        spread            wall time
    mnist   not measured yet
    digits  0.08 / 0.41       0.85 / 0.25       0.38 / 0.38       21 s
"""

from configs.studies import latent_space
from cvdl_jax.config import configs

RATES = {"plain": 0.0, "dropout": 0.5}


def get_config(arg=None):
    """The run's numbers; `data` is mnist or digits; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(["mnist", "digits"]), smoke=False)
    config = latent_space.get_config(f"data={arg.data}{',smoke' * arg.smoke}")
    network = {"name": "autoencoder_256", "latent": 16 if arg.smoke else 256}
    config.study.models = {name: {"model": {**network, "dropout": rate}} for name, rate in RATES.items()}
    return config
