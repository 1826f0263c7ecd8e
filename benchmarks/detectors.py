"""How many images a second detectors take, from pixels to boxes after suppression, and the speed-up over the slowest.

    python -m benchmarks.detectors [--rounds 3] [--size 240 320] [NAME ...]

Images come one at a time, as in the tables of papers: one image of noise goes through normalised pixels, network,
decoding and suppression in one compiled function. Weights are random, so that all score thresholds are 0 and every
detector hands as many candidates to the suppression as it is allowed to. The slowest of a run, by its median, is the 1
of the last column; a ratio is the median of the ratios of rounds.
"""

import argparse
import json
import statistics
from functools import partial

from benchmarks import common

WINDOW = {"loss": {"name": "hard_negatives"}, "match": {}, "boxes": {"weight": 0.0}}
EMPTY = {"loss": {}, "match": {}, "boxes": {}}
DETECTORS = {
    "window, crops": ({"name": "sliding_window", "form": "crops"}, WINDOW),
    "window, convolutional": ({"name": "sliding_window"}, WINDOW),
    "ssd": ({"name": "ssd_small"}, {**EMPTY, "loss": {"name": "hard_negatives"}}),
    "retinanet": ({"name": "retinanet_small"}, {**EMPTY, "loss": {"name": "focal"}}),
    "fcos": ({"name": "fcos_small"}, {**EMPTY, "loss": {"name": "focal"}}),
    "yolo_anchors": ({"name": "yolo_anchors_small"}, EMPTY),
    "yolo_v1": ({"name": "yolo_v1_small"}, EMPTY),
    "faster_rcnn": ({"name": "faster_rcnn_small"}, {**EMPTY, "loss": {"name": "cross_entropy"}}),
}
CLASSES = 20


def seconds(name: str, size: tuple[int, int]) -> float:
    """Seconds of one image, from pixels to detections."""
    import jax

    from cvdl_jax.engine import xla_flags
    from cvdl_jax.models import registry
    from cvdl_jax.models.criterion import outputs_of
    from cvdl_jax.ops.suppression import detections

    xla_flags.prepare()
    section, sections = DETECTORS[name]
    model = registry.create(section, "config.model", outputs=outputs_of(sections["loss"], CLASSES))
    criterion = model.criterion(sections)
    image = jax.random.uniform(jax.random.key(0), (1, *size, 3))
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(1), image)

    @jax.jit
    def run(variables, image):
        made, scores = criterion.decode(*model.apply(variables, image, False))
        return detections(made[0], scores[0], score_threshold=0.0)

    return common.seconds_per_call(lambda: jax.block_until_ready(run(variables, image)), seconds=4.0)


def table(figures: dict[str, list[float]]) -> tuple[list[str], list[list]]:
    """The header and the rows, from the slowest to the fastest.

    Args:
        figures: {detector: seconds of an image in each round}.
    """
    medians = {name: statistics.median(seconds) for name, seconds in figures.items()}
    order = sorted(medians, key=medians.get, reverse=True)
    slowest = figures[order[0]]
    rows = [[name, medians[name], 1 / medians[name], common.median_ratio(slowest, figures[name])] for name in order]
    return ["detector", "seconds an image", "images a second", f"speed-up over {order[0]}"], rows


def main() -> None:
    """Compares, in rounds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("detectors", nargs="*", default=list(DETECTORS), metavar="NAME", help=", ".join(DETECTORS))
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    flags.add_argument("--child", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        print(json.dumps({"seconds": seconds(args.child, tuple(args.size))}))
        return
    unknown = [name for name in args.detectors if name not in DETECTORS]
    if unknown:
        flags.error(f"there is no {unknown[0]!r}; known: {', '.join(DETECTORS)}")
    machine, sides = common.machine(), [str(n) for n in args.size]

    def measure(name: str) -> float:
        return common.child("benchmarks.detectors", "--child", name, "--size", *sides)["seconds"]

    figures = common.rounds({name: partial(measure, name) for name in args.detectors}, args.rounds)
    header, rows = table(figures)
    common.report("detectors", header, rows, {"machine": machine, "size": sides, "seconds_of_rounds": figures})


if __name__ == "__main__":
    main()
