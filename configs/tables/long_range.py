"""Vanilla and gated cells on two tasks that need a long memory, three seeds.

    python launch.py --table configs/tables/long_range.py
    python launch.py --table configs/tables/long_range.py:data=copying --workdir runs/tables/long_range_copying

The adding problem with 50 numbers and copying over 30 steps, 64 cells each (`configs/sequence/long_range.py`). The
vanilla networks are of tanh with an orthogonal matrix, and of ReLU with the identity (Le et al. 2015); the LSTM is also
shown with its forget gate closed by half at first (bias 0).
"""

from cvdl_jax.config import configs

CELLS = {
    "RNN, tanh": ("rnn", []),
    "RNN, ReLU, identity": ("rnn", ["config.model.cell=rnn_relu", "config.model.recurrent_init=identity"]),
    "GRU": ("gru", []),
    "LSTM": ("lstm", []),
    "LSTM, forget bias 0": ("lstm", ["config.model.forget_bias=0.0"]),
}
TASKS = {"adding": "adding 50 numbers", "copying": "copying over 30 steps"}


def get_table(arg=None):
    """The table; `data` is adding or copying, `smoke` makes every run two steps, `seeds=(0,1)` changes the seeds."""
    arg = configs.parse_arg(arg, data=configs.OneOf(TASKS), smoke=False, seeds=(0, 1, 2))
    adding = arg.data == "adding"
    metric = {"key": "test/loss", "label": "squared error", "unit": "", "better": "min", "digits": 6}
    if not adding:
        metric = {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"}
    file = f"configs/sequence/long_range.py:data={arg.data}"
    return {
        "title": f"Cells with and without gates: {TASKS[arg.data]}",
        "caption": ("The best constant sum has the squared error 1/6" if adding else "Guessing is right once in 8")
        + "; the checkpoint is selected on the validation split.",
        "metric": metric,
        "seeds": arg.seeds,
        "data": arg.data,
        "protocol": "20,000 sequences to train on, 1,000 to select on and 2,000 to test on",
        "rows": [
            {"name": name, "config": f"{file},cell={cell}{',smoke' if arg.smoke else ''}", "overrides": overrides}
            for name, (cell, overrides) in CELLS.items()
        ],
    }
