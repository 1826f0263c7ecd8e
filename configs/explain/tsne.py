"""Exact t-SNE of the digits, or SNE, from which it comes.

    python launch.py --config configs/explain/tsne.py --workdir runs/digits_tsne
    python launch.py --config configs/explain/tsne.py:method=sne --workdir runs/digits_sne
    ... --config.embed.workdir=runs/digits_lenet5

van der Maaten and Hinton 2008, "Visualizing Data using t-SNE"; Hinton and Roweis 2002, "Stochastic Neighbor Embedding".
Without a run the pixels are embedded, with one its features. The rates suit the 648 points of two splits; they grow
with their number. SNE begins with noise on its gradient that fades, `config.optim.gradient_noise`, as its paper has it.

Measured with seed 0 on two shared CPU cores, beside scikit-learn's exact method with 1,000 iterations; the features are
those of a LeNet-5 (configs/classify/lenet5.py, seed 0):

    of        embedding/kl  scikit-learn  nearest neighbours of one class  wall time
    pixels    0.4837        0.4790        98.15 %                          7 s
    features  0.2726        0.2678        98.46 %                          not recorded

Both methods on pixels, with seed 0; the divergence of SNE is a mean over points, and no other method's:

    method  embedding/kl        nearest neighbours of one class  wall time
    tsne    0.4837              98.15 %                          7 s
    sne     1.2118              89.20 %                          not recorded
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `method` is tsne or sne; `smoke` makes it two steps with a few points."""
    arg = configs.parse_arg(arg, method=configs.OneOf(("tsne", "sne")), smoke=False)
    data = {"name": "digits", "train": "", "validation": "validation", "test": "test"}
    config = configs.base(
        embed={
            "method": arg.method, "workdir": "", "layer": "pre_logits", "data": data, "splits": ("validation", "test"),
            "perplexity": 30.0, "standardise": False, "limit": 0,
        }
    )  # fmt: skip
    config.experiment = "embed"
    config.total_steps = 1000
    config.batch_size = 16  # there are no batches
    config.eval = {"every_steps": 250}
    config.log.every_steps = 50
    if arg.method == "tsne":
        config.embed.update({"exaggeration": 12.0, "exaggeration_steps": 250})
        # Exaggerated affinities bear a rate of about n / (2 exaggeration), n the number of points; without, far more.
        late = {"name": "step", "factor": 16.0, "milestones_steps": (250,)}
        config.optim = {"name": "sgd", "lr": 25.0, "momentum": 0.9, "schedule": late}
    else:
        config.optim = {"name": "sgd", "lr": 30.0, "momentum": 0.9, "schedule": {"name": "cosine"}}
        config.optim.gradient_noise = {"eta": 1e-6, "gamma": 0.55}
    if arg.smoke:
        configs.smoke(config)
        config.embed.update({"limit": 40, "perplexity": 5.0})
        if arg.method == "tsne":
            config.embed.exaggeration_steps = 1
    return config
