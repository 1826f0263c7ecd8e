"""What a convolutional network goes by: the texture of an object, its shape, its angle or its size.

One network for each kind of training images in `config.study.training`, all from the same weights and of the same
architecture, is asked about drawn images that lack one cue, or in which two contradict each other. "plain" has seen
shape i with texture i alone, upright and large; the others have seen any texture, any angle or any size. There are no
batches of data: every step draws images. `params`: {network: its parameters}; `extra`: {"train": {network: {"image"
uint8 [n, h, w, 1], "label"}}, "validation", "test": {cue: {"image", "shape", "texture"}}}.

Metrics: "NETWORK/CUE", the accuracy on images of a cue, with its Wilson interval, and of the contradictory ones
"NETWORK/shape_bias". Reference: Geirhos et al. 2019, "ImageNet-trained CNNs are biased towards texture".
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.figures import cues as figures
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.task import Added, Eval, Task, chain
from cvdl_jax.data import cue_conflict, scenes
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.cue_conflict import shape_bias
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "grad", "optim", "compute_dtype", "study")
TRAINING = {"plain": "both", "textures": "any_texture", "angles": "any_angle", "sizes": "any_size"}
ASKED = {"both": "shape", "shape": "shape", "texture": "texture", "turned": "shape", "small": "shape"}
STREAMS = {"train": 100, "validation": 200, "test": 300}


class Study(NamedTuple):
    """The arguments of `config.study`."""

    training: tuple[str, ...] = tuple(TRAINING)  # networks, of TRAINING
    images: Size = 1200  # to train on
    tested: Size = 600  # images of each cue
    size: Size = 32  # height and width


def load(study):
    """{"train": {network: arrays}, "validation", "test": {cue: arrays}}."""
    for name in study.training:
        configs.check_name(name, TRAINING, f"config.study.training={study.training}: {name!r} is none")
    if study.size < cue_conflict.LARGE[1] or len(set(study.training)) != len(study.training):
        raise ConfigError(
            f"config.study.size={study.size} must be at least {cue_conflict.LARGE[1]} pixels, and training="
            f"{study.training} may not name one twice"
        )
    data = {"train": {}}
    for name in study.training:
        made = cue_conflict.images(STREAMS["train"], study.images, study.size, TRAINING[name])
        data["train"][name] = {"image": made["image"], "label": made["shape"]}
    for split in ("validation", "test"):
        made = {cue: cue_conflict.images(STREAMS[split], study.tested, study.size, cue) for cue in (*ASKED, "conflict")}
        data[split] = made
    return jax.tree.map(jnp.asarray, data)


def training_loss(model, name, size, state, batch, key):
    """Sums over images of one network's own, at places that every network draws by itself."""
    own = state.extra["train"][name]
    rows = jax.random.randint(jax.random.fold_in(key, 0), (size,), 0, len(own["label"]))
    logits = apply_params(model, state.params[name], to_unit(own["image"][rows]), True)[0]
    losses, hits = softmax_cross_entropy(logits, own["label"][rows]), correct(logits, own["label"][rows])
    return state, {name: (x.sum(), jnp.ones(size).sum()) for name, x in (("loss", losses), ("accuracy", hits))}


def evaluation_step(model, split, state, batch, key):
    """{"network cue": the classes that it names, int [n]}."""
    cues = state.extra[split]
    guess = lambda params, image: apply_params(model, params, to_unit(image), False)[0].argmax(-1)  # noqa: E731
    return {
        f"{name} {cue}": Added(guess(params, cues[cue]["image"]))
        for name, params in state.params.items()
        for cue in cues
    }


def finalise(truth, means, rows):
    """Accuracies of every network and cue, and shape bias where the two contradict each other."""
    metrics = {}
    for place, guesses in rows.items():
        name, cue = place.split()
        if cue == "conflict":
            bias = shape_bias(guesses, truth[cue]["shape"], truth[cue]["texture"])
            metrics |= {f"{name}/shape_bias": bias.shape, f"{name}/shape_bias_low": bias.low}
            metrics |= {f"{name}/shape_bias_high": bias.high, f"{name}/one_of_the_two": bias.either}
        else:
            accuracy = float((guesses == truth[cue][ASKED[cue]]).mean())
            metrics |= intervals.with_wilson({f"{name}/{cue}": accuracy}, len(guesses), [f"{name}/{cue}"])
    return metrics


def make(config, info) -> Task:
    """The networks of this study."""
    study = configs.call(Study, config.study, "config.study")
    data = load(study)
    made = {"num_classes": len(scenes.CLASSES), "dtype": config.compute_dtype}
    model = registry.create(config.model, "config.model", kinds=("backbones",), **made)

    def init(key: jax.Array, batch: dict) -> dict:
        image = to_unit(data["train"][study.training[0]]["image"][:1])
        params = model.init(key, image, False)["params"]
        return {"params": {name: jax.tree.map(jnp.copy, params) for name in study.training}, "extra": data}

    def evaluation(split):
        truth = {cue: {name: np.asarray(x) for name, x in own.items()} for cue, own in data[split].items()}
        shown = partial(figures.draw, {cue: own["image"] for cue, own in truth.items()}, study.training)
        step = partial(evaluation_step, model, split)
        return Eval(step, partial(finalise, truth), data=1, draw=shown if split == "test" else None)

    steps = [
        recipe.descend(config, info, partial(training_loss, model, name, info.batch_size), on=name)
        for name in study.training
    ]
    return Task(init=init, train=chain(*steps), evals=recipe.evaluations(evaluation))
