"""The detector of Viola and Jones on drawn scenes: rates of its stages, precision and recall of its detections.

Windows to train on, held-out windows that set the cuts of stages, scenes on which the number of votes that a detection
needs is chosen, and scenes to test on are drawn from numbers of their own. A face counts as detected once, by a box of
an intersection over union of a half or more; other boxes are false.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Inside, Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data import face_scenes
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.classical import viola_jones as vj

READS = ("study",)
HELD, CHOSEN_ON, TESTED_ON = 10**6, 2 * 10**6, 3 * 10**6  # first numbers of what is drawn
VOTES = (2, 3, 4, 6, 8, 12, 16, 24)  # of which the scenes of CHOSEN_ON choose


class Faces(NamedTuple):
    """The arguments of `config.study`."""

    window: Size = 18  # side in pixels
    features: Size = 1200  # drawn among all
    faces: Size = 600  # to train on; a third as many are held out
    others: Size = 20000
    stages: Size = 8
    stumps: Size = 40  # of a stage at most
    detection: Inside = 0.985  # of a stage at least
    false_positive: Inside = 0.4  # of a stage at most
    scenes: Size = 30  # to choose on, and as many to test on
    size: Size = 128  # of a scene in pixels
    scale: Positive = 1.2  # from one size of faces to the next, above 1


def drawn(study, seed):
    """Features, and windows for training and held out."""
    every = vj.haar_features(study.window)
    if study.features > len(every.weights):
        most = f"{len(every.weights)}, which a window of {study.window} pixels has"
        raise ConfigError(f"config.study.features={study.features} is more than {most}")
    chosen = np.random.default_rng(seed).permutation(len(every.weights))[: study.features]
    starts, sizes = (0, HELD), ((study.faces, study.others), (study.faces // 3 + 1, study.others // 3 + 1))
    faces = [face_scenes.face_windows(s, n, study.window) for s, (n, _) in zip(starts, sizes, strict=True)]
    others = [face_scenes.other_windows(s, n, study.window) for s, (_, n) in zip(starts, sizes, strict=True)]
    return vj.Haar(every.corners[chosen], every.weights[chosen]), faces, others


def judged(boxes, truth):
    """(faces that are detected, boxes that are not one of them)."""
    left, hits = list(range(len(truth))), 0
    for box in boxes:
        over = face_scenes.overlaps(box[None], truth[left])[0] if left else np.zeros(0)
        if len(over) and over.max() >= 0.5:
            left.pop(int(over.argmax()))
            hits += 1
    return hits, len(boxes) - hits


def detections(study, features, cascade, start):
    """Scenes, and of each all merged boxes with their votes."""
    scenes = [face_scenes.scene(start + i, study.size, 2) for i in range(study.scenes)]
    find = partial(vj.detect, features, cascade, window=study.window, scale=study.scale, step=1, overlap=0.5, least=1)
    return [(scene, *find(scene.image)) for scene in scenes]


def rates(results, least):
    """(precision, recall, F1) of detections with at least so many votes; 0 where nothing is detected."""
    pairs = [judged(boxes[counts >= least], scene.boxes) for scene, boxes, counts in results]
    hits, wrong = (sum(column) for column in zip(*pairs, strict=True))
    faces = sum(len(scene.boxes) for scene, _, _ in results)
    return hits / max(hits + wrong, 1), hits / max(faces, 1), 2 * hits / max(hits + wrong + faces, 1)


def measure(study, seed):
    """Rates of stages and of detections, and what `draw` shows."""
    if study.scale <= 1:
        raise ConfigError(f"config.study.scale={study.scale} must be above 1; 1.2 is a fifth more from size to size")
    features, faces, others = drawn(study, seed)
    cascade, stages = vj.train_cascade(
        features, faces, others, study.stages, study.detection, study.false_positive, study.stumps
    )
    metrics = {"stages": len(cascade), "stumps": sum(stage.stumps for stage in stages)}
    for i, stage in enumerate(stages):
        metrics |= {f"detection_{i}": stage.detection, f"false_positive_{i}": stage.false_positive}
    metrics["detection"] = np.prod([stage.detection for stage in stages])
    metrics["false_positive"] = np.prod([stage.false_positive for stage in stages])
    chosen_on = detections(study, features, cascade, CHOSEN_ON)
    least = max(VOTES, key=lambda votes: (rates(chosen_on, votes)[2], -votes))
    tested_on = detections(study, features, cascade, TESTED_ON)
    metrics["votes"] = least
    metrics |= dict(zip(("precision", "recall", "f1"), rates(tested_on, least), strict=True))
    looked = [vj.scan(features, cascade, scene.image, study.window)[2] for scene, _, _ in tested_on]
    metrics["stages_of_a_window"] = sum(map(sum, looked)) / sum(row[0] for row in looked)
    return metrics, (stages, tested_on, least, features, cascade)


def draw(shown):
    """Detections in some test scenes, and the rates of stages."""
    from cvdl_jax.analysis.figures import curves, images

    stages, results, least, _, _ = shown
    figure, axes = images.new_figure(2, 4, 2.6)
    for axis, (scene, boxes, counts) in zip(axes.flat, results, strict=False):
        axis.imshow(scene.image, cmap="gray", vmin=0, vmax=1)
        for colour, some in (("lime", scene.boxes), ("red", boxes[counts >= least])):
            for top, left, bottom, right in some:
                axis.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, linewidth=1)
    progress, (axis,) = curves.panels([("rates of the cascade", "stages", "share of windows that pass")])
    for name in ("detection", "false_positive"):
        axis.semilogy(np.cumprod([getattr(stage, name) for stage in stages]), "o-", label=name.replace("_", " "))
    axis.legend(fontsize=8)
    return {"detections": figure, "stages": progress}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Faces, config.study, "config.study")
    return studies.measured(config, partial(measure, study, info.seed), draw)
