"""Architecture search on digits, in 125 cells: random search, regularised evolution and one-shot search at one price.

    python launch.py --config configs/studies/architecture_search.py --workdir runs/studies_architecture_search

Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search"; Guo et al. 2020, "Single Path
One-Shot Neural Architecture Search with Uniform Sampling"; the cells are NAS-Bench-201's with one node less. A search
trains 16 children of 150 steps, or shared weights for 2,400 steps.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The run's numbers; `smoke` makes it a tiny search."""
    arg = configs.parse_arg(arg, smoke=False)
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = {"data": data, "repeats": 5, "budget": 16, "population": 6, "sample": 3, "steps": 150}
    if arg.smoke:
        study |= {"repeats": 2, "budget": 2, "population": 1, "sample": 1, "steps": 2, "final": 1, "ranked": 3}
    return studies.base("architecture_search", **study)
