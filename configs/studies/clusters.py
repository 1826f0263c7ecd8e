"""The test digits clustered without labels: k-means, Gaussian mixtures and four linkages.

    python launch.py --config configs/studies/clusters.py --workdir runs/studies_clusters
    python launch.py --config configs/studies/clusters.py:data=mnist --workdir runs/studies_clusters_mnist

Lloyd 1982; Arthur and Vassilvitskii 2007 (k-means++); Dempster, Laird and Rubin 1977 (mixtures by EM); Ward 1963.

Measured on the test split with seed 0, adjusted Rand index of ten clusters of ten principal components:

    data    k-means  mixture, diagonal  full  single  complete  average  Ward  wall time
    digits  0.646    0.568              0.548  0.099  0.566    0.652    0.685  not recorded
    mnist   not measured yet
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `data` is digits or mnist; `smoke` makes it tiny."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("digits", "mnist")), smoke=False)
    name = "digits" if arg.smoke else arg.data
    config = studies.base(
        "clusters", data={"name": name, "train": "", "test": "test"}, limit=400, clusters=10, components=10,
        iterations=50, restarts=5, floor=1e-3,
    )  # fmt: skip
    if arg.smoke:
        config.study.update({"limit": 24, "clusters": 3, "components": 2, "iterations": 2, "restarts": 1})
    return config
