"""Graph convolution: one labelled member a side tells how the karate club split; a perceptron without edges cannot.

python launch.py --config configs/studies/graph_convolution.py --workdir runs/studies_graph
python launch.py --config configs/studies/graph_convolution.py:kind=blocks --workdir runs/studies_graph_blocks

Kipf and Welling 2017, "Semi-Supervised Classification with Graph Convolutional Networks". Zachary's karate club, whose
members have no features, or random graphs of three communities with weak features and four labelled nodes a class. 20
seeds, each with its own labelled nodes; accuracies are of the others.

Measured with seed 0, mean accuracy in percent over 20 seeds, on two CPU cores that ran other programs too:

    kind    mlp   gcn   gain in pairs      wall time
    karate  50.5  89.1  38.6 [32.5, 44.7]  8 s
    blocks  34.6  92.4  57.8 [54.7, 60.8]  12 s
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `kind` is karate or blocks; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, kind=configs.OneOf(("karate", "blocks")), smoke=False)
    study = {"kind": arg.kind, "seeds": 2 if arg.smoke else 20}
    if arg.kind == "blocks":
        study |= {"labelled": 4, "nodes": 8 if arg.smoke else 40}
    config = configs.base(study=study)
    config.experiment = "studies.graph_convolution"
    config.total_steps = 200
    config.batch_size = 1
    config.eval = {"every_percent": 50}
    config.log.every_steps = 50
    config.model = {"name": "gcn"}
    config.optim = {"name": "adamw", "lr": 0.01, "weight_decay": 0.05}
    return configs.smoke(config) if arg.smoke else config
