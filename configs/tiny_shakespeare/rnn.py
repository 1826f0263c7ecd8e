"""A two-layer vanilla recurrent network (tanh) that predicts the next character of Shakespeare's plays.

    python launch.py --config configs/tiny_shakespeare/rnn.py --workdir runs/tiny_shakespeare_rnn

Text, streams and optimizer as in lstm.py. Measured, seed 0: validation/loss 1.652, test/loss 1.724; 356 s on two CPU
cores, other programs running.
"""

from configs.tiny_shakespeare import lstm


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps on a generated text."""
    config = lstm.get_config(arg)
    config.model.name = "rnn"
    config.optim.lr = 1e-3
    return config
