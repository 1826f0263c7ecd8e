"""Classification with localisation on drawn scenes of one object: a network with a head for the class and the box.

    python launch.py --config configs/detect/localiser.py --workdir runs/shapes_localiser

Sermanet et al. 2014, "OverFeat", section 4, trains the heads one after the other; here they are trained together.
Not measured yet.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `objects` of a scene at most, of which the largest is to be found; `smoke` for two steps."""
    arg = configs.parse_arg(arg, objects=1, smoke=False)
    config = configs.base(match={}, boxes={}, nms={"keep": 1})
    config.experiment = "detect"
    datasets.detection(config, "shapes", arg.smoke, objects=arg.objects)
    config.model = {"name": "localiser", **({"backbone": {"name": "resnet8_tiny"}} if arg.smoke else {})}
    config.loss = {"box_weight": 10.0}
    return configs.smoke(config) if arg.smoke else config
