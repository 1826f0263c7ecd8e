"""Translation of a small language into another one: a Transformer, and recurrent networks with and without attention.

    python launch.py --config configs/sequence/translate.py --workdir runs/translate_transformer
    python launch.py --config configs/sequence/translate.py:model=attention --workdir runs/translate_attention
    python launch.py --config configs/sequence/translate.py:model=plain --workdir runs/translate_plain

Vaswani et al. 2017, "Attention Is All You Need"; Bahdanau et al. 2015; Sutskever et al. 2014. The sentences of
`toy_translation`, 20,000 to train on, 1,000 to select on and 2,000 to test on, of at most 24 symbols, are written anew
in another order and with other endings.

Measured on the test split with seed 0, on two shared CPU cores:

    model        greedy_exact      beam_exact        wall time
    transformer  99.4 % [98.95, 99.66]  99.4 % [98.95, 99.66]  23 min
    attention    not measured yet
    plain        not measured yet
"""

from cvdl_jax.config import configs

MODELS = {
    "transformer": {"name": "transformer_base", "width": 128, "hidden": 256, "heads": 4, "depth": 2, "dropout": 0.0},
    "attention": {"name": "seq2seq_attention", "width": 96, "units": 128},
    "plain": {"name": "seq2seq_plain", "width": 96, "units": 192, "layers": 1},
}
SMALL = {
    "transformer": {"width": 16, "hidden": 16, "heads": 2, "depth": 1},
    "attention": {"width": 8, "units": 8},
    "plain": {"width": 8, "units": 8},
}


def get_config(arg=None):
    """The run's numbers; `model` is transformer, attention or plain; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, model=configs.OneOf(MODELS), smoke=False)
    config = configs.base(decoding={"beams": 4, "length_penalty": 0.0})
    config.experiment = "translate"
    sizes = "(phrases=2, digits=1, train=32, validation=16, test=16)" if arg.smoke else ""
    config.data = {"name": f"toy_translation{sizes}", "train": "train", "validation": "validation", "test": "test"}
    config.model = MODELS[arg.model]
    config.loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.1}
    config.optim = {"name": "adam", "lr": 2e-3, "b2": 0.98, "clip_norm": 1.0}
    config.optim.schedule = {"name": "inverse_sqrt", "warmup_steps": 400}
    config.total_epochs, config.batch_size = 15, 64
    config.eval = {"every_percent": 20}
    config.select = {"metric": "validation/greedy_exact", "mode": "max"}
    if arg.smoke:
        config.model.update(SMALL[arg.model])
        config.decoding.beams = 2
        return configs.smoke(config)
    return config
