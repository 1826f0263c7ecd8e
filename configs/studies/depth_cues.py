"""Cues of depth: block matching in a pair of views, the eight-point algorithm, time of flight, patterns and lasers.

python launch.py --config configs/studies/depth_cues.py --workdir runs/studies_depth_cues

Scharstein and Szeliski 2002 (stereo); Hartley 1997 and Fischler and Bolles 1981 (two views); Hansard et al. 2013 (time
of flight). Ten drawn pairs of 96x96 pixels with a baseline of 25 cm, and ten draws of 60 points.

Measured with seed 0, the percentage of pixels to one pixel of disparity, in equal light and where the right camera
has 60 % of the contrast:

    method  equal light  60 %
    ssd     95.8         42.4
    sad     97.5         12.7
    census  98.9         98.9

The left-right check of the census keeps 92.8 % of all pixels with a depth, 98.5 % of these right. The direction of t is
wrong by 0.00, 0.50, 1.0 and 2.0 degrees with noise of 0, 1/4, 1/2 and 1 pixel; with 30 % of wrong pairs by 99, and by
0.9 with RANSAC. At 3 m light of 10 and 40 MHz has deviations of 17 and 4.1 mm. A laser's are 5, 20 and 81 mm at 1, 2
and 4 m.
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
