"""A two-layer recurrent network that predicts the next character of Shakespeare's plays: LSTM, GRU or tanh units.

    python launch.py --config configs/sequence/char_rnn.py --workdir runs/tiny_shakespeare_lstm
    python launch.py --config configs/sequence/char_rnn.py:cell=gru --workdir runs/tiny_shakespeare_gru
    python launch.py --config configs/sequence/char_rnn.py:cell=rnn --workdir runs/tiny_shakespeare_rnn

The text and its splits are those of TFDS: 1,003,854 characters to train on, 55,770 to select on, 55,770 to test on.
Model as in Karpathy et al. 2016, "Visualizing and Understanding Recurrent Networks", section 3. For comparison, a
5-gram model reaches 1.770 nats per character on the last tenth of the text, which validation and test halve.

Measured with seed 0, in nats per character, on two CPU cores that ran other programs too (six of them beside the GRU):

    cell  validation/loss  test/loss  wall time
    lstm  1.378            1.536      24 min
    gru   1.374            1.522      2,245 s
    rnn   1.652            1.724      356 s
"""

from cvdl_jax.config import configs

RATES = {"lstm": 8e-3, "gru": 8e-3, "rnn": 1e-3}


def get_config(arg=None):
    """The run's numbers; `cell` is lstm, gru or rnn; `smoke` makes it two steps on a generated text."""
    arg = configs.parse_arg(arg, cell=configs.OneOf(RATES), smoke=False)
    config = configs.base(
        text={"name": "tiny_shakespeare", "train": "train", "validation": "validation", "test": "test"},
        streams={"length": 64, "evaluation": 1, "reset": 0.02},
        sample={"prompt": "\n", "length": 500, "temperatures": (0.5, 0.8, 1.0)},
    )
    config.experiment = "language"
    config.steps_per_call = 10  # a call takes a second or two, so that signals are answered soon
    config.total_steps = 6000  # 12 times through the text
    config.batch_size = 32  # streams
    config.eval = {"every_steps": 500}
    config.model = {"name": arg.cell, "layers": 2, "units": 256, "dropout": 0.2}
    config.optim = {
        "name": "adam",
        "lr": RATES[arg.cell],
        "clip_norm": 1.0,
        "schedule": {"name": "cosine", "warmup_percent": 2},
    }
    config.select = {"metric": "validation/loss", "mode": "min"}
    if arg.smoke:
        config.text = {"name": "additions"}
        config.model.update({"units": 16, "dropout": 0.1})
        config.streams.update({"length": 8, "evaluation": 4})
        config.sample.length = 20
        return configs.smoke(config)
    return config
