"""Networks that differ in one thing each, on a small training set: what they cost, and how they do in it and out of it.

Every seed has its own training examples, first weights and batches, the same for all networks, which are compared in
pairs. `params`: {network: leaves [seeds, ...]}; `extra`: {"data": {split: {"image", "label"}}, "rows" and "labels": int
[seeds, examples]}. Evaluations: "validation" during training, "test" once at the end; each also looks at the seeds' own
training examples, whose accuracy less that of the split is the gap, and at larger canvases if asked to.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError

from cvdl_jax.analysis import seed_comparison, seed_copies
from cvdl_jax.analysis.figures import costs
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.core import counting
from cvdl_jax.core.task import Eval, Task, chain, descend
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from experiments.studies.regularisers import draw, network, training_loss

READS = ("model", "optim", "compute_dtype", "remat", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    methods: Mapping  # {network: a section of `regularisers.Method`}
    against: Mapping = {}  # {network: the one that it is compared with}
    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    examples: Size = 200  # to train on
    seeds: Size = 5
    margin: Counted = 0  # black pixels around every image
    canvases: tuple[
        Size, ...
    ] = ()  # sides of black canvases that images without margin are evaluated on, at random places


def load(study):
    """{split: {"image": uint8 [n, h, w, c] with its margin, "label"}}, number of classes."""
    loaded, data = recipe.whole_splits(study.data, "config.study.data", ("train", "validation", "test"))
    around = ((0, 0), (study.margin,) * 2, (study.margin,) * 2, (0, 0))
    data = {
        name: {"image": jnp.pad(jnp.asarray(batch["image"]), around), "label": jnp.asarray(batch["label"])}
        for name, batch in data.items()
    }
    side = max(data["train"]["image"].shape[1:3]) - 2 * study.margin
    if min(study.canvases, default=side) < side:
        raise ConfigError(f"config.study.canvases={study.canvases} must be at least the side of the images, {side}")
    return data, loaded.num_classes


def placed(image, side, key):
    """Images [b, h, w, c] on black canvases [b, side, side, c], each at a random place."""
    b, h, w, c = image.shape
    rows, columns = (
        jax.random.randint(k, (b,), 0, side - n + 1) for k, n in zip(jax.random.split(key), (h, w), strict=True)
    )
    canvas = jnp.zeros((side, side, c), image.dtype)
    return jax.vmap(lambda x, i, j: jax.lax.dynamic_update_slice(canvas, x, (i, j, 0)))(image, rows, columns)


def takes(model, params, image):
    """Whether a trained network can take images of this shape."""
    try:
        jax.eval_shape(lambda p: seed_copies.scores(model, p, to_unit(image)), params)
    except (ScopeParamShapeError, ConfigError):
        return False
    return True


def accuracies(study, nets, split, state, batch, key):
    """{"network/seed": (accuracy, 1)}, "network_train/seed", and "network_at_16/seed" on canvases that it can take."""
    data, rows = state.extra["data"], state.extra["rows"]
    image, label = data[split]["image"], data[split]["label"]
    bare = image[:, study.margin : image.shape[1] - study.margin, study.margin : image.shape[2] - study.margin]
    canvases = {side: placed(bare, side, jax.random.fold_in(key, side)) for side in study.canvases}
    shares = {}
    for name, net in nets.items():
        params, vmap = state.params[name], seed_copies.in_turn
        on = {name: image} | {f"{name}_at_{s}": x for s, x in canvases.items() if takes(net.model, params, x)}
        for what, x in on.items():
            scores = seed_copies.scores(net.model, params, to_unit(x), vmap)
            shares[what] = jax.vmap(lambda s: correct(s, label).mean())(scores)
        own = to_unit(data["train"]["image"][rows])  # [seeds, examples, h, w, c]
        scores = vmap(lambda p, x, model=net.model: model.apply({"params": p}, x, False)[0])(params, own)
        shares[f"{name}_train"] = jax.vmap(correct)(scores, state.extra["labels"]).mean(-1)
    return {f"{what}/{i}": (a[i], jnp.ones(())) for what, a in shares.items() for i in range(len(a))}


def finalise(study, sizes, means, rows):
    """Accuracies with intervals over seeds, gaps to training, gains in pairs, and what each network costs."""
    values, metrics = seed_comparison.by_method(means), {}
    for name in study.methods:
        pair = seed_comparison.gains({name: values[name], f"{name}_train": values[f"{name}_train"]}, name)
        metrics |= {key.replace("_train_gain", "_gap"): value for key, value in pair.items()}
        metrics |= sizes[name]
    for name in (name for name in values if name not in metrics):  # on canvases
        metrics |= seed_comparison.gains({name: values[name]}, name)
    for name, base in study.against.items():
        gains = seed_comparison.gains({base: values[base], name: values[name]}, base)
        metrics |= {key: value for key, value in gains.items() if "_gain" in key}
    return metrics


def drawn(study, metrics, rows):
    """Accuracy over what it costs."""
    ends = ("", "_low", "_high", "_parameters", "_macs")
    points = [costs.Point(name.replace("_", " "), *(metrics.get(name + end) for end in ends)) for name in study.methods]
    figure = costs.draw(points, "accuracy")
    return {"costs": figure} if figure is not None else {}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    for name, base in study.against.items():
        for one in (name, base):
            configs.check_name(one, study.methods, f"config.study.against names {one!r}, which is no method")
    data, num_classes = load(study)
    nets = {name: network(study, config, info, num_classes, name) for name in study.methods}
    nets = {name: net._replace(vmap=seed_copies.one_by_one) for name, net in nets.items()}
    example = to_unit(data["train"]["image"][:1])

    def init(key: jax.Array, batch: dict) -> dict:
        first, second = jax.random.split(key)
        params = {name: seed_copies.initialise(net.model, first, example, study.seeds) for name, net in nets.items()}
        order = jax.vmap(lambda k: jax.random.permutation(k, len(data["train"]["label"])))
        rows = order(jax.random.split(second, study.seeds))[:, : study.examples]
        return {"params": params, "extra": {"data": data, "rows": rows, "labels": data["train"]["label"][rows]}}

    def size(name: str, model) -> dict:
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), example, False))["params"]
        macs = counting.macs(lambda p: model.apply({"params": p}, example, False)[0], params)
        return {f"{name}_parameters": float(counting.parameters(params)), f"{name}_macs": float(macs)}

    sizes = {name: size(name, net.model) for name, net in nets.items()}
    steps = [descend(partial(training_loss, net, name), net.optimizer, on=name) for name, net in nets.items()]
    step, end = partial(accuracies, study, nets), partial(finalise, study, sizes)
    evals = recipe.evaluations(lambda split: Eval(partial(step, split), end, data=1))
    evals["test"] = evals["test"]._replace(draw=partial(drawn, study))
    return Task(init=init, train=chain(partial(draw, info.batch_size), *steps), evals=evals)
