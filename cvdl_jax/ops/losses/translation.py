"""What is wanted of networks from image to image, by name, besides the adversarial game of `adversarial.py`.

config.objective = dict(name="paired", l1=100.0)
config.objective = dict(name="unpaired", cycle=10.0)
"""

from typing import NamedTuple

from cvdl_jax.config.binding import Counted, NotNegative

FORWARD, BACKWARD = "forward", "backward"  # from "image" to "image_after", and back


class Objective(NamedTuple):
    """What is wanted besides the adversarial game.

    Attributes:
        ways: the generators there are: forward alone, or both.
        l1: weight of the distance to the image that is known to belong to the input; of one way.
        cycle: weight of the distance of what was translated there and back; of two ways.
        identity: weight of the distance of an image of the target's domain to its translation; of two ways.
        pool: made images that are kept for each row, to show the discriminator older ones; 0 for none.
    """

    ways: tuple[str, ...]
    l1: float = 0.0
    cycle: float = 0.0
    identity: float = 0.0
    pool: int = 0


def paired(l1: NotNegative = 100.0) -> Objective:
    """One generator; each input has its target, and the discriminator sees both (pix2pix).

    Args:
        l1: see `Objective`.

    Reference: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", equation 4.
    """
    return Objective((FORWARD,), l1=l1)


def unpaired(cycle: NotNegative = 10.0, identity: NotNegative = 0.0, pool: Counted = 50) -> Objective:
    """Two generators and two discriminators on two sets of images (CycleGAN).

    `L = L_GAN(G, D_Y) + L_GAN(F, D_X) + cycle (|F(G(x)) - x|_1 + |G(F(y)) - y|_1) + identity (|G(y) - y|_1 + ...)`,
    each distance a mean over the numbers of an image. The paper has 10, 5 or 0 and 50, beside least squares without the
    halves of `adversarial.least_squares`.

    Args:
        cycle: see `Objective`, as the next two.
        identity: likewise.
        pool: likewise.

    Reference: Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
        equations 2 and 3, section 5.2; the images kept are of Shrivastava et al. 2017, section 2.3.
    """
    return Objective((FORWARD, BACKWARD), cycle=cycle, identity=identity, pool=pool)
