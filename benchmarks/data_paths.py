"""Images per second of the ways data reach the step: resident on the device, streamed by Grain, from a folder.

    python -m benchmarks.data_paths [--rounds 3]

The step is a small linear model on 32x32 images, so the data are what is measured. `decode alone` is one thread that
decodes the folder's PNG files with Pillow, without order, batches or a step: what a reader on one core could reach.
"""

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import common

WAYS = {
    "resident": ("digits", "always"),
    "streamed from records (Grain)": ("digits", "never"),
    "folder, resident": ("folder", "always"),
    "folder, streamed (Grain)": ("folder", "never"),
    "decode alone": ("folder", ""),
}
EXAMPLES, BATCH = 4096, 256


def make_folder(where: Path) -> None:
    """PNG files `where/CLASS/i.png`, 32x32x3, smooth as photographs are."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(EXAMPLES):
        target = where / f"class{i % 10}"
        target.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(target / f"{i:05d}.png")


def images_per_second(way: str, where: str) -> float:
    """Of one way, over some seconds of steps."""
    from benchmarks import steps

    kind, resident = WAYS[way]
    if way == "decode alone":
        return decode(Path(where))
    name = "digits" if kind == "digits" else f"folder:{where}"
    more = [f"--config.data.name={name}", f"--config.data.resident={resident}", "--config.data.test="]
    more += ["--config.data.train=train[10%:]", "--config.data.validation=train[:10%]", "--config.data.cache=False"]
    made, built = steps.program("linear", *more, f"--config.batch_size={BATCH}")
    call, count = steps.advance(made, built)
    return BATCH * count / common.seconds_per_call(call, seconds=5.0)


def decode(where: Path) -> float:
    """Images per second of one thread and Pillow."""
    import numpy as np
    from PIL import Image

    files = sorted(where.rglob("*.png"))
    start = time.perf_counter()
    for file in files:
        np.asarray(Image.open(file).convert("RGB"))
    return len(files) / (time.perf_counter() - start)


def main() -> None:
    """Measures, in rounds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        print(json.dumps({"pace": images_per_second(*args.child)}))
        return
    machine = common.machine()
    with tempfile.TemporaryDirectory() as where:
        make_folder(Path(where))

        def measure(way: str) -> float:
            return common.child("benchmarks.data_paths", "--child", way, where)["pace"]

        figures = common.rounds({way: partial(measure, way) for way in WAYS}, args.rounds)
    floor = figures["decode alone"]
    rows = [[w, round(statistics.median(v)), common.median_ratio(v, floor)] for w, v in figures.items()]
    header = ["way", "images/s", "over decoding alone"]
    common.report("data_paths", header, rows, {"machine": machine, "images_per_second_of_rounds": figures})


if __name__ == "__main__":
    main()
