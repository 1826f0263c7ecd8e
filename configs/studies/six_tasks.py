"""One scene, six tasks: drawn scenes with the labels of classification to panoptic segmentation, checked and shown.

    python launch.py --config configs/studies/six_tasks.py --workdir runs/studies_six_tasks

After figure 1 of Kirillov et al. 2019, "Panoptic Segmentation", and the taxonomies of COCO. Every label follows from
the mask of the objects: boxes are bounds of masks, a semantic mask joins the objects of a class, a panoptic one says
class and object, and a scene is named after its largest object.
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The study's numbers; `smoke` makes the scenes few."""
    arg = configs.parse_arg(arg, smoke=False)
    config = studies.base("six_tasks", name="shapes", split="test", scenes=500, drawn=4)
    if arg.smoke:
        config.study.update({"name": "shapes(size=32, train=32, validation=16, test=16)", "scenes": 16, "drawn": 2})
    return config
