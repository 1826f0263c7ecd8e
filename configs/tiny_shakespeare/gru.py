"""A two-layer gated recurrent unit network that predicts the next character of Shakespeare's plays.

    python launch.py --config configs/tiny_shakespeare/gru.py --workdir runs/tiny_shakespeare_gru

Text, streams and optimizer as in lstm.py. Not measured yet.
"""

from configs.tiny_shakespeare import lstm


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps on a generated text."""
    config = lstm.get_config(arg)
    config.model.name = "gru"
    return config
