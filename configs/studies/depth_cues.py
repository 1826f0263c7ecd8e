"""Cues of depth: block matching in a pair of views, the eight-point algorithm, time of flight, patterns and lasers.

python launch.py --config configs/studies/depth_cues.py --workdir runs/studies_depth_cues

Scharstein and Szeliski 2002 (stereo); Hartley 1997 and Fischler and Bolles 1981 (two views); Hansard et al. 2013 (time
of flight). Ten drawn pairs of 96x96 pixels with a baseline of 25 cm, and ten draws of 60 points.

Measured with seed 0:

    not measured yet
"""

from cvdl_jax.config import configs
from cvdl_jax.core import studies


def get_config(arg=None):
    """The run's numbers; `smoke` makes it one small scene."""
    arg = configs.parse_arg(arg, smoke=False)
    study = {"seeds": 10, "size": 96, "baseline": 0.25, "window": 7, "disparities": 16, "points": 60, "samples": 200}
    if arg.smoke:
        study |= {"seeds": 1, "size": 32, "disparities": 8, "points": 16, "samples": 4}
    return studies.base("depth_cues", **study)
