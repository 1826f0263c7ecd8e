"""The crowding problem: what t-SNE mends of SNE, on clusters at equal distances and on digits.

    python launch.py --config configs/studies/crowding.py --workdir runs/studies_crowding
    python launch.py --config configs/studies/crowding.py:data=digits --workdir runs/studies_crowding_digits

Hinton and Roweis 2002, "Stochastic Neighbor Embedding"; van der Maaten and Hinton 2008, "Visualizing Data using t-SNE",
section 3.2. Both maps by the same descent, without exaggeration; gap is the distance of a point to the nearest other
cluster over that to half of its own.

Measured on the test split with seed 0:

    data      silhouette SNE / t-SNE  gap SNE / t-SNE  nearest neighbours of one class  wall time
    clusters  0.53 / 0.72             1.55 / 2.68      94.0 / 97.7 %                    not recorded
    digits    0.39 / 0.48             0.93 / 1.19      95.3 / 98.3 %                    not recorded
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `data` is clusters or digits; `smoke` makes it tiny."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("clusters", "digits")), smoke=False)
    data = {} if arg.data == "clusters" else {"name": "digits", "train": "", "test": "test"}
    config = studies.base("crowding", data=data, clusters=10, points=30, perplexity=20.0, steps=600, rate=0.1)
    if arg.smoke:
        config.study.update({"clusters": 3, "points": 5, "perplexity": 3.0, "steps": 2})
    return config
