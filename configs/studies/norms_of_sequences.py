"""Why Transformers have layer normalisation: batch normalisation of texts depends on who else is in the batch.

    python launch.py --config configs/studies/norms_of_sequences.py --workdir runs/studies_norms_of_sequences

Ba et al. 2016, "Layer Normalization", section 1; Shen et al. 2020, "PowerNorm: Rethinking Batch Normalization in
Transformers", section 3. The classifier of reviews with either norm, at batch sizes 2, 8 and 64, the learning rate in
proportion to the batch size. Reviews have 2 to 8 sentences; batch normalisation takes its statistics of the tokens that
are there, without padding. The figures and a table give the accuracies, of shorter and of longer reviews apart.

Measured on the test split with seed 0:

    norm   batch 2           batch 8  batch 64  wall time
    layer  not measured yet
    batch  not measured yet
"""

from cvdl_jax.config import configs

BATCHES = (2, 8, 64)


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    batches = (8, 16) if arg.smoke else BATCHES
    cases = {f"{norm}_{size}": {"norm": norm, "batch": size} for norm in ("layer", "batch") for size in batches}
    config = configs.base(study={"cases": cases})
    config.experiment = "studies.norms_of_sequences"
    sizes = "least=2, most=8, train=200, validation=12, test=12" if arg.smoke else "least=2, most=8"
    config.data = {"name": f"reviews({sizes})", "train": "train", "validation": "validation", "test": "test"}
    config.data.text = {"length": 128}
    config.select = {"metric": "", "mode": "max"}
    config.total_epochs, config.batch_size = 6, 64
    config.eval = {"every_percent": 20}
    config.model = {"name": "text_transformer", "width": 32, "hidden": 64, "dropout": 0.0}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.01, "clip_norm": 1.0}
    if arg.smoke:
        config.model.update({"width": 8, "depth": 1, "heads": 2, "hidden": 16})
    return configs.smoke(config) if arg.smoke else config
