"""A separately trained classifier as the judge of generated images."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError


class Judge(NamedTuple):
    """A frozen classifier.

    Attributes:
        probabilities: `images [b, h, w, c] in 0..1 -> [b, classes]`; images of another size are resized first.
        samples: how many samples it is shown.
    """

    probabilities: Callable[[jax.Array], jax.Array]
    samples: int


def load(workdir: str, channels: int, samples: int = 1000, checkpoint: str = "best") -> Judge:
    """The classifier of a finished run: `config.judge = dict(workdir="runs/mnist_lenet5", samples=1000)`.

    Args:
        workdir: of a run of a classification experiment.
        channels: of the images to be judged.
        samples: how many samples it is shown.
        checkpoint: "best", "latest" or a step.

    Returns:
        A Judge whose weights are constants of whatever function calls it.

    Raises:
        ConfigError: for a run that does not classify images of as many channels, or fewer than one sample.
        UserError: if the folder holds no run.
    """
    from cvdl_jax import runs  # restoring needs Orbax, which a run without a judge does not

    if samples < 1:
        raise ConfigError(f"config.judge.samples={samples} must be at least 1")
    built, state, _ = runs.load_built(workdir, checkpoint)
    classes, predict = built.info.num_classes, built.task.predict
    if predict is None or classes is None or "image" not in built.info.spec:
        raise ConfigError(
            f"config.judge.workdir={workdir!r} is a run that does not classify images; name one that does"
        )
    height, width, made_for = built.info.spec["image"].shape[1:]
    if made_for != channels:
        raise ConfigError(
            f"config.judge.workdir={workdir!r} judges images with {made_for} channels, the samples have {channels}"
        )
    state = jax.device_get(state)

    def probabilities(images: jax.Array) -> jax.Array:
        # the same bilinear weights as Pillow's, with which the judge's own images were resized
        sized = jax.image.resize(images, (images.shape[0], height, width, channels), "bilinear")
        return jax.nn.softmax(predict(state, {"image": jnp.clip(sized, 0, 1)})["scores"], -1)

    return Judge(probabilities, samples)
