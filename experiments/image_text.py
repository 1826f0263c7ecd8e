"""Contrastive learning of images and their captions (CLIP), retrieval both ways, and classes by prompts (zero-shot).

image: [b, h, w, c] in 0..1; captions: int [b, k, t], of which a training step takes one at random, "caption" [b, t].
`extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}. Each image is to be found by its caption among the
whole global batch, and the other way round; accumulated gradients see the pairs of one part of it alone.
`config.contrast.identical` says what a caption is that two images of a batch share: "negative", as in the paper, or
"positive", for both images. Evaluations: "validation" during training, "test" once at the end.

Reference: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.parallel import gather_rows, row_places
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import captions, prompts
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import classification, retrieval
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.models.multimodal.clip import LARGEST, normalised
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import image_text
from cvdl_jax.optim.ema import averaged

READS = ("model", "contrast", "zero_shot", "data", "normalise", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip


def training_loss(model, normalise, state, batch, key, identical: Literal["negative", "positive"] = "negative"):
    """Sums of one training batch; every row meets all rows of the global batch. `config.contrast` sets `identical`."""
    tokens = batch["caption"]
    (_, out), state = apply_train(model, state, (normalise(batch["image"]), tokens), key)
    images, texts, everywhere = gather_rows((out["image"], out["text"], tokens))
    if identical == "positive":
        targets = image_text.identical_pairs(tokens, everywhere)
    else:
        targets = image_text.own_pairs(row_places(len(tokens)), len(everywhere))
    scale, count = out["scale"], jnp.ones(len(tokens)).sum()
    losses, hits = image_text.contrast(scale * out["image"] @ texts.T, scale * out["text"] @ images.T, targets)
    sums = {f"batch_{name}": (hit.sum(), count) for name, hit in hits.items()}
    return state, sums | {"loss": (losses.sum(), count), "scale": (scale * count, count)}


def limit_scale(state, batch, key):
    """Keeps the logits from being scaled by more than 100 (section 2.5)."""
    params = {**state.params, "log_scale": jnp.minimum(state.params["log_scale"], LARGEST)}
    return state._replace(params=params), batch, {}


def image_vectors(model, normalise, state, batch):
    """Unit vectors [b, e] of images, by the averaged weights where the run keeps an average."""
    return apply_eval(model, averaged(state), normalise(batch["image"]), method="encode_image")


def text_vectors(model, state, tokens):
    """Unit vectors [..., e] of texts int [..., t]."""
    flat = tokens.reshape(-1, tokens.shape[-1])
    return apply_eval(model, averaged(state), flat, method="encode_text").reshape(*tokens.shape[:-1], -1)


def class_scores(model, normalise, prompted, state, batch):
    """Logits [b, classes]: scaled cosines to the classes, each the mean of its prompts' vectors (section 3.1.4)."""
    classes = normalised(text_vectors(model, state, jnp.asarray(prompted)).mean(1))  # [classes, e]
    scale = jnp.exp(averaged(state).params["log_scale"])
    return scale * image_vectors(model, normalise, state, batch) @ classes.T


def evaluation_step(model, normalise, prompted, state, batch, key):
    """The vectors of images and of all their captions; scores of classes and the labels, where there are prompts."""
    all_captions, real = batch["captions"], captions.real(batch["captions"])
    texts = jnp.where(real[..., None], all_captions, all_captions[:, :1])  # a text needs its end
    rows = {"image": image_vectors(model, normalise, state, batch), "text": text_vectors(model, state, texts)}
    rows["captions"] = all_captions
    if prompted is not None:
        rows |= {"scores": class_scores(model, normalise, prompted, state, batch), "label": batch["label"]}
    return rows


def finalise(means, rows):
    """Recall both ways among the distinct captions and all images; accuracy by prompts; chance beside them."""
    places, belongs = retrieval.belonging(rows["captions"], np.asarray(captions.real(rows["captions"])))
    texts = rows["text"].reshape(-1, rows["text"].shape[-1])[places]
    metrics = {"examples": len(belongs), "distinct_captions": len(places)}
    ways = {"image_to_text": (rows["image"], texts, belongs), "text_to_image": (texts, rows["image"], belongs.T)}
    for way, (queries, candidates, right) in ways.items():
        hits = {f"{way}_recall{k}": hit.mean() for k, hit in retrieval.recalls(queries, candidates, right).items()}
        metrics |= intervals.with_wilson(hits, len(queries)) | {f"{way}_chance": retrieval.chance(right)}
    if "scores" in rows:
        hits = {"zero_shot_accuracy": float(classification.correct(rows["scores"], rows["label"]).mean())}
        metrics |= intervals.with_wilson(hits, len(belongs)) | {"zero_shot_chance": 1 / rows["scores"].shape[-1]}
    return metrics


def report(scores_fn, names, state, batch, key):
    """Ranked probabilities of a few images' classes, as a figure and as text."""
    from cvdl_jax.analysis.figures import images

    few, label = {"image": batch["image"][:12]}, batch["label"][:12]
    ranked, titles = images.rankings(jax.nn.softmax(jax.jit(scores_fn)(state, few)), label, names)
    return {"zero_shot": images.titled_tiles(few["image"], titles, 4, 2.4), "zero_shot_ranking": ranked}


def prompts_of(config, info, templates: tuple[str, ...]):
    """The prompts of all classes, int [classes, templates, t]. Raises ConfigError for data without named classes."""
    if "label" not in info.spec or not info.class_names:
        raise ConfigError(f"config.zero_shot: {config.data.name} has no classes with names; set config.zero_shot={{}}")
    return prompts.prompts(templates, info.class_names, info.vocabulary, info.spec["captions"].shape[-1])


def make(config, info) -> Task:
    """The task of a configuration."""
    if "image" not in info.spec or "captions" not in info.spec:
        raise ConfigError(f"config.data.name={config.data.get('name')!r}: {config.experiment!r} needs an 'image' and "
                          "'captions'; name a set with both, and set config.data.caption_length")  # fmt: skip
    more = {"vocabulary": len(info.vocabulary), "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("multimodal",), **more)
    if model.end != captions.END:
        raise ConfigError(
            f"config.model.end={model.end} is not what captions end with; set config.model.end={captions.END}"
        )
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    prompted = configs.call(prompts_of, config.zero_shot, "config.zero_shot", config=config, info=info) \
        if config.zero_shot else None  # fmt: skip
    scores_fn = partial(class_scores, model, normalise, prompted)

    def init(key: jax.Array, batch: dict) -> dict:
        tokens = jnp.full((1, batch["captions"].shape[-1]), captions.END, jnp.int32)
        params, stats = initialise(model, key, normalise(batch["image"])[:1], tokens, False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    given = ("config.contrast", "model", "normalise", "state", "batch", "key")
    loss = partial(configs.partially(training_loss, config.contrast, *given), model, normalise)
    step = partial(evaluation_step, model, normalise, prompted)
    return Task(
        init=init,
        train=chain(captions.choose, recipe.augmentation(config, info), recipe.descend(config, info, loss),
                    limit_scale, recipe.average(config, loss)),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(report, scores_fn, info.class_names) if config.zero_shot else None,
        on_eval=feedback.on_eval,
        predict=(lambda state, batch: {"scores": scores_fn(state, batch)}) if config.zero_shot else None,
    )  # fmt: skip
