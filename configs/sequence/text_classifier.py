"""Is a review good or bad? A small Transformer from scratch, or a BERT, fine-tuned if it was pre-trained.

    python launch.py --config configs/sequence/text_classifier.py --workdir runs/reviews
    python launch.py --config configs/sequence/text_classifier.py:model=bert --workdir runs/reviews_bert
    python launch.py --config configs/sequence/text_classifier.py:model=bert --workdir runs/reviews_tuned \
        --config.init_from=runs/bert_reviews --config.data.text.vocabulary=runs/bert_reviews/figures/vocabulary.txt

Vaswani et al. 2017, "Attention Is All You Need", section 3.1 (the encoder); Devlin et al. 2019, "BERT", sections 3.2
and 4.1: the features of [CLS], a linear layer, all parameters trained. Drawn reviews, 4,000 to train on, 500 to select
on and 1,000 to test on; a good and a bad one have the same words, and differ in which word "not" belongs to, so that no
count of words does better than chance. For texts of your own: `--config.data.name=NAME`, a TFDS set with `text` and
`label`, such as imdb_reviews, with `--config.data.text.length=512 --config.data.text.truncate=True`; with
`--config.data.text.buckets=(128,256)` a step of shorter texts computes fewer columns.

Measured on the test split with seed 0, on two CPU cores that ran other programs too:

    model             accuracy                  wall time
    text_transformer  99.3 % [98.56, 99.66]     49 s
    bert              100.0 % [99.62, 100.00]   102 s, fine-tuned as in the third command
"""

from cvdl_jax.config import configs

MODELS = {
    "text_transformer": {"name": "text_transformer"},
    "bert": {"name": "bert_tiny", "width": 64, "depth": 2, "heads": 4, "hidden": 256, "positions": 128},
}


def get_config(arg=None):
    """The run's numbers; `model` is text_transformer or bert; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, model=configs.OneOf(MODELS), smoke=False)
    config = configs.base(head_dropout=0.1)
    config.experiment = "classify_text"
    name = "reviews(train=200, validation=12, test=12)" if arg.smoke else "reviews"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test", "text": {"length": 96}}
    config.total_epochs, config.batch_size = 4, 64
    config.eval = {"every_percent": 10}
    config.model = MODELS[arg.model]
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "clip_norm": 1.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.select = {"metric": "validation/accuracy", "mode": "max"}
    if arg.smoke:
        config.model.update({"width": 16, "hidden": 32, "heads": 2})
    return configs.smoke(config) if arg.smoke else config
