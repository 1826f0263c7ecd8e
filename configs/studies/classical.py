"""Classical vision: descriptors with a linear SVM, the detector of Viola and Jones, edges, points, cuts, and regions.

    python launch.py --config configs/studies/classical.py --workdir runs/classical_hog
    python launch.py --config configs/studies/classical.py:part=fisher --workdir runs/classical_fisher
    python launch.py --config configs/studies/classical.py:part=pixels --workdir runs/classical_pixels
    python launch.py --config configs/studies/classical.py:part=faces --workdir runs/classical_faces
    python launch.py --config configs/studies/classical.py:part=edges --workdir runs/classical_edges
    python launch.py --config configs/studies/classical.py:part=sift --workdir runs/classical_sift
    python launch.py --config configs/studies/classical.py:part=cuts --workdir runs/classical_cuts
    python launch.py --config configs/studies/classical.py:part=regions --workdir runs/classical_regions
    python launch.py --config configs/studies/classical.py:data=digits --workdir runs/classical_digits

Dalal and Triggs 2005 (HOG); Perronnin, Sanchez and Mensink 2010 (Fisher vectors of SIFT); Viola and Jones 2004; Canny
1986; Lowe 2004 (SIFT); Shi and Malik 2000 (normalised cuts); Otsu 1979 and Hu 1962 (regions). The cost of the SVM and
the votes of a detection are chosen on validation data. `data` is that of hog, fisher and pixels, of which the first
2,000 images of every split are used; the other parts draw their images.

Measured on the test split with seed 0:

    part     what is measured                                          result            wall time
    hog      accuracy                                                  97.4 %            7 s
    fisher   accuracy                                                  96.3 %            25 s
    pixels   accuracy                                                  89.5 %            38 s
    faces    precision and recall                                      67.9 % and 78.3 %  28 s
    edges    precision and recall                                      100 % and 100 %   2 s
    sift     share of right matches                                    66.4 %            5 s
    cuts     adjusted Rand index                                       1.00              3 s
    regions  error of orientation and area                             0.57 deg, 0.78 %  3 s

    data     accuracy of HOG
    mnist    97.4 %
    digits   98.6 %
"""

from configs import datasets
from cvdl_jax.config import configs
from cvdl_jax.core import studies

PARTS = ("hog", "fisher", "pixels", "faces", "edges", "sift", "cuts", "regions")
FACES = {
    "window": 18, "features": 1200, "faces": 600, "others": 20000, "stages": 8, "stumps": 40, "detection": 0.985,
    "false_positive": 0.4, "scenes": 30, "size": 128, "scale": 1.2,
}  # fmt: skip
FEW = {"features": 60, "faces": 12, "others": 60, "stages": 1, "stumps": 2, "scenes": 1, "size": 64}


def get_config(arg=None):
    """The study's numbers; `part` is one of PARTS, `data` mnist or digits; `smoke` makes it tiny."""
    arg = configs.parse_arg(arg, part=configs.OneOf(PARTS), data=configs.OneOf(("mnist", "digits")), smoke=False)
    if arg.part == "faces":
        return studies.base("viola_jones", **(FACES | FEW if arg.smoke else FACES))
    if arg.part in PARTS[4:]:
        return studies.base("early_vision", part=arg.part, images=1 if arg.smoke else 10, noise=0.05)
    holder = configs.base()
    datasets.images(holder, arg.data, arg.smoke, 28)
    config = studies.base(
        "descriptors", descriptor=arg.part, data=holder.data.to_dict(), limit=2000, costs=(0.01, 0.1, 1.0, 10.0)
    )
    if arg.part == "hog":
        config.study.cell = 7
    if arg.part == "fisher":
        config.study.update({"step": 4, "components": 32, "mixture": 8})
    if arg.smoke:
        config.study.update({"limit": 80, "costs": (0.1,)})
        if arg.part == "fisher":
            config.study.update({"components": 2, "mixture": 2})
    return config
