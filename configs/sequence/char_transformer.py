"""A decoder-only Transformer that predicts the next character of Shakespeare's plays.

    python launch.py --config configs/sequence/char_transformer.py --workdir runs/shakespeare_gpt
    python launch.py --config configs/sequence/char_transformer.py:positions=rotary --workdir runs/shakespeare_rotary

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", on the text and the splits of `char_rnn.py`;
four blocks of 128 channels see 128 characters. For comparison, the LSTM there reaches 1.378 nats per character on the
validation text, n-grams (n = 1, 2, 3, 5) 3.347, 2.482, 2.046 and 1.770 on the last tenth of the text.

Measured with seed 0, in nats per character, on two CPU cores that ran other programs for all of the time (alone, a step
takes 0.22 s, 2,000 of them 7 minutes); it is behind the LSTM, which took 24 minutes, and was still improving. Its table
of characters did not decay then, as it does now:

    positions  validation/loss   test/loss         wall time
    learned    1.634             1.723             30 min
    rotary     not measured yet
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `positions` are learned or rotary; `smoke` makes it two steps on a generated text."""
    arg = configs.parse_arg(arg, positions=configs.OneOf(["learned", "rotary"]), smoke=False)
    text = {"name": "tiny_shakespeare", "train": "train", "validation": "validation", "test": "test"}
    sample = {"prompt": "\n", "length": 500, "temperatures": (0.5, 0.8, 1.0)}
    config = configs.base(text=text, streams={"length": 128, "evaluation": 16}, sample=sample)
    config.experiment = "language"
    config.model = {"name": "gpt_micro", "context": 128, "rotary": arg.positions == "rotary", "dropout": 0.1}
    config.optim = {"name": "adamw", "lr": 2e-3, "b2": 0.99, "weight_decay": 0.1, "clip_norm": 1.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5, "final": 0.1}
    config.total_steps, config.batch_size = 2000, 32  # streams; 8 times through the text
    config.eval = {"every_steps": 250}
    config.steps_per_call = 10  # a call takes a second or two, so that signals are answered soon
    config.select = {"metric": "validation/loss", "mode": "min"}
    if arg.smoke:
        config.text = {"name": "additions"}
        config.model.update({"width": 16, "heads": 2, "depth": 1, "context": 8})
        config.streams.update({"length": 8, "evaluation": 4})
        config.sample.length = 20
        return configs.smoke(config)
    return config
