"""The training steps that the benchmarks time: real configs of this repository, on data that need no download."""

from collections.abc import Callable
from typing import Any

RGB = ["--config.data.channels=3", "--config.normalise.mean=(0.5,)", "--config.normalise.std=(0.25,)"]
SIZE = ["--config.data.image_size=(32,32)"]
PLAIN = ["--config.batch_size=128", "--config.augment="]
DIGITS = ["--config.data.name=digits", "--config.data.train=train", "--config.data.validation=validation"]
LARGE = ["--config.data.image_size=(224,224)", *RGB, "--config.augment="]
ALONE = ["--config.ema.statistics=False"]  # PyTorch's side has no second forward pass for the averaged weights
TRANSFORMERS = {
    "vit_small": "vit_small_patch16_224", "vit_base": "vit_base_patch16_224", "swin_t": "swin_t",
    "convnext_t": "convnext_tiny",
}  # fmt: skip
STEPS = {
    "linear": ["configs/classify/linear.py", *SIZE, *RGB, "--config.augment="],
    "mlp": ["configs/classify/mlp.py"],
    "lenet5": ["configs/classify/lenet5.py", *PLAIN],
    "resnet20": ["configs/classify/resnet20.py", *SIZE, *RGB, *PLAIN],
    "vit_tiny": [
        "configs/classify/vit_tiny.py:data=cifar10", *DIGITS, *SIZE, *RGB,
        "--config.batch_size=64", "--config.augment=", "--config.model.drop_path=0.0",
    ],
    "resnet50": ["configs/classify/resnet20.py", "--config.model.name=resnet50", *LARGE],
    **{name: ["configs/classify/vit_tiny.py:data=cifar10", *DIGITS, *LARGE, f"--config.model.name={variant}",
              "--config.model.drop_path=0.0"] for name, variant in TRANSFORMERS.items()},
    "unet": ["configs/segment/unet.py:data=shapes", "--config.augment=", *ALONE],
    "retinanet": [
        "configs/detect/retinanet.py", "--config.data.name=shapes(size=128, train=512, validation=16, test=16)",
        "--config.model.levels=(1,2,3)", "--config.batch_size=16", "--config.augment=", *ALONE,
    ],
    "dcgan": ["configs/generate/dcgan.py:data=mnist", *DIGITS, "--config.data.image_size=(28,28)", *ALONE],
    "ddpm": ["configs/generate/ddpm.py:data=mnist", *DIGITS, "--config.data.image_size=(28,28)", *ALONE],
    "lstm": ["configs/sequence/char_rnn.py", "--config.text.name=additions", "--config.streams.reset=0.0"],
    "gpt": ["configs/sequence/char_transformer.py", "--config.text.name=additions", "--config.model.dropout=0.0"],
}  # fmt: skip


def program(name: str, *more: str, steps: int = 1_000_000, host_devices: int = 0) -> tuple[Any, Any]:
    """The compiled step of an entry of STEPS and its run, as `launch.py` makes them.

    Args:
        name: a key of STEPS.
        *more: further overrides.
        steps: length of the run.
        host_devices: virtual CPU devices, if JAX has not started; 0 leaves that alone.
    """
    from cvdl_jax.config import configs
    from cvdl_jax.engine import compiling, xla_flags
    from cvdl_jax.engine.build import build, make_program

    xla_flags.prepare(host_devices)
    compiling.use_cache(configs.cache_folder() / "compilation")
    path, *overrides = STEPS[name]
    built = build(configs.load(path, [*overrides, f"--config.total_steps={steps}", *more]))
    made = make_program(built)
    jobs = made.jobs()
    jobs["create"]()
    jobs["step"]()
    return made, built


def advance(made: Any, built: Any, calls: int = 1) -> tuple[Callable[[], None], int]:
    """A function that calls the compiled step, so many times, and waits for the result; and how many steps it makes."""
    import jax

    from cvdl_jax.engine.feed import TrainFeed

    count = made.steps_per_call
    box = [made.create(), made.zero_sums()]
    feed = TrainFeed(made, built.data, built.config.seed, 0, built.info.total_steps)
    step = [0]

    def call() -> None:
        for _ in range(calls):
            box[:] = made.advance(*box, feed.next(step[0], count), count)
            step[0] += count
        jax.block_until_ready(box)

    return call, calls * count
