"""Trains a few steps in float64 on several layouts of devices and writes each final State.

    python layouts_child.py OUT CASE[,CASE ...] LAYOUT [LAYOUT ...]       # XLA_FLAGS gives the virtual devices

Layouts: "one" (one device), "jit" (all devices), "pmap", "fsdp4" (all devices, parameters over four). In a run of
several processes, the environment names coordinator, processes and index, and process 0 writes.
"""

import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
jax.config.update("jax_enable_x64", True)

STEPS = 12  # more than the 10 after which a buffer is full and an exaggeration ends
MLP = ["--config.model.hidden=(16,)", "--config.model.norm=batch", "--config.ema.decay=0.9"]
AUGMENT = ["--config.augment=flip | padded_crop(padding=1) | cutout(size=2) | mixup(alpha=0.4)"]
COMMON_BANK = ["--config.probe.bank=64"]
DOMAINS = ["--config.model={'name': 'mlp', 'hidden': (16,), 'norm': 'batch', 'dropout': 0.1}"]
# One case augments, another adds noise to gradients: both act row by row, or leaf by leaf, whatever the model, and they
# are most of what is compiled.
CASES = {
    "perceptron": ["configs/classify/mlp.py", *MLP, *AUGMENT],
    "residual": ["configs/classify/resnet20.py", "--config.model.name=resnet8_tiny"],
    "accumulate": [
        "configs/classify/mlp.py",
        *MLP,
        "--config.grad=accumulate(2)",
        "--config.optim.gradient_noise.eta=0.01",
    ],
    "gan": [
        "configs/generate/wgan_gp.py",
        "--config.critic_steps=2",
        "--config.model.discriminator.widths=(4,8)",
        "--config.model.generator.widths=(8,4)",
    ],
    # labels as channels, and p that is adjusted by the signs of all rows
    "told": [
        "configs/generate/dcgan.py:smoke",
        "--config.model.discriminator.widths=(4,8)",
        "--config.model.discriminator.labels=10",
        "--config.model.generator.widths=(8,4)",
        "--config.model.generator.labels=10",
        "--config.ada={'policy': 'flip', 'every': 2, 'images': 500}",
    ],
    "variational": [
        "configs/generate/vae.py:form=dense,smoke",
        "--config.corruption=gaussian_noise(std=0.2)",
        "--config.model.hidden=(8,)",
        "--config.model.latent=4",  # numbers that FSDP can share
    ],
    # two players for each way; pools of images, which are state of the rows
    "images": [
        "configs/generate/image_translation.py:smoke",
        "--config.data.name=face_domains(size=16, train=64, validation=16, test=16)",
        "--config.model.generator={'name': 'translator_tiny'}",
        "--config.model.discriminator={'name': 'patch_discriminator_tiny'}",
        "--config.augment=flip | uniform_noise(amount=0.05)",
        "--config.ema.decay=0.9",
    ],
    # a critic of pairs
    "pairs": [
        "configs/generate/image_translation.py:method=paired,smoke",
        "--config.data.name=face_domains(paired=1, size=16, train=64, validation=16, test=16)",
        "--config.model.generator.widths=(8,16)",
        "--config.model.discriminator={'name': 'patch_discriminator_tiny'}",
        "--config.ema.decay=0.9",
    ],
    # attributes that are drawn, an encoder with batch norm, two critic steps with a penalty for each row
    "edits": [
        "configs/generate/attgan.py:smoke",
        "--config.data.name=faces(size=16, train=64, validation=16, test=16)",
        "--config.model.discriminator.hidden=8",
        "--config.ema.decay=0.9",
    ],
    # a frozen encoder in the state, a critic of three classes
    "transferred": [
        "configs/generate/domain_transfer.py:smoke",
        "--config.data.name=faces(size=16, train=64, validation=16, test=16)",
        "--config.ema.decay=0.9",
    ],
    "distilled": ["configs/regimes/distill.py:smoke", "--config.model.hidden=(16,)"],
    # images of a second domain, drawn for every row; a reversed gradient, and covariances of the rows of all devices
    "adapted": ["configs/regimes/adapt.py:method=dann,smoke", *DOMAINS, "--config.adapt.units=8"],
    "aligned": ["configs/regimes/adapt.py:method=coral,smoke", *DOMAINS],
    "diffusion": [
        "configs/generate/ddpm.py:smoke",
        "--config.model.num_classes=10",
        "--config.model.dropout=0.1",
        "--config.model.factors=(1,)",
        "--config.model.attention=()",
        "--config.sampler.steps=2",
        "--config.sampler.eta=1.0",
    ],
    "language": [
        "configs/sequence/char_rnn.py",
        "--config.text.name=additions",
        "--config.model.units=16",
        "--config.streams.reset=0.0",
        "--config.streams.length=8",
        "--config.streams.evaluation=8",
        "--config.sample.length=20",
        "--config.ema.decay=0.9",
    ],
    "bert": [
        "configs/sequence/bert.py:smoke",
        "--config.model.width=8",
        "--config.data.text.size=200",  # a number that the devices can share
        "--config.data.text.length=128",
        "--config.model.depth=1",
        "--config.ema.decay=0.9",
    ],
    # Sentences of different lengths: the loss is a mean over symbols, of which devices have different numbers.
    "translation": [
        "configs/sequence/translate.py:smoke",
        "--config.model.dropout=0.1",
        "--config.ema.decay=0.9",
    ],
    "qlearn": [
        "configs/rl/dqn.py",
        "--config.agent.capacity=10",
        "--config.agent.target_every=5",
        "--config.model.hidden=(16,)",
        "--config.exploration.steps=20",
    ],
    "policy": ["configs/rl/ppo.py:smoke", "--config.batch_size=16", "--config.model.hidden=(16,)"],
    "pgd": [
        "configs/classify/mlp.py",
        *MLP,
        "--config.adversary.steps=2",
        "--config.adversary.epsilon=0.1",
        "--config.adversary.step_size=0.05",
        "--config.adversary.share=0.5",
        "--config.adversary.ramp_percent=50",
    ],
    "detector": [
        "configs/detect/anchors.py",
        "--config.data.name=shapes(size=32, train=64, validation=16, test=16)",
        "--config.model.widths=(4,8)",
        "--config.model.levels=(0,1)",
        "--config.model.depth=1",
        "--config.ema.decay=0.9",
    ],
    # Anchors whose overlap with shapes of whole pixels is no round number, and images that are nowhere flat, where many
    # anchors would have one score: else rounding alone would decide by a threshold, or by order.
    "two_stage": [
        "configs/detect/faster_rcnn.py:smoke",
        "--config.data.name=shapes(size=32, train=64, validation=16, test=16)",
        "--config.model.sizes=(2.3,)",
        "--config.augment=uniform_noise(amount=0.05)",
        "--config.ema.decay=0.9",
    ],
    "queries": [
        "configs/detect/detr.py:smoke",
        "--config.data.name=shapes(size=32, train=64, validation=16, test=16)",
        "--config.model.dropout=0.1",
        "--config.ema.decay=0.9",
    ],
    # Without SegNet's places of maxima: where the image is flat, rounding alone decides which place it is.
    "segmenter": [
        "configs/segment/unet.py:data=shapes",
        "--config.data.name=shapes(size=32, train=64, validation=17, test=16)",
        "--config.model.widths=(4,8)",
        "--config.ema.decay=0.9",
    ],
    # maps that move with their images, whose unknown pixels are of other numbers in each image
    "depth": [
        "configs/regimes/depth.py:smoke",
        "--config.data.name=depth_scenes(size=32, train=64, validation=17, test=16)",
        "--config.augment=flip | translate(fraction=0.2) | brightness(amount=0.2)",
        "--config.ema.decay=0.9",
    ],
    # every row meets those of all devices; captions are drawn, and some of a batch are the same
    "contrast": [
        "configs/multimodal/clip.py:smoke",
        "--config.data.name=captioned_scenes(size=32, train=64, validation=17, test=16, unseen=16)",
        "--config.ema.decay=0.9",
    ],
    # Eight tasks, whose labels are missing in other rows of each device, and learned weights.
    "tasks": [
        "configs/regimes/all_in_one.py:weights=uncertainty,smoke",
        "--config.data.name=face_tasks(size=36, people=6, train=64, validation=16, test=16)",
        "--config.model={'name': 'mlp', 'hidden': (16,), 'norm': 'batch', 'dropout': 0.1}",
        "--config.augment=",
        "--config.ema.decay=0.9",
    ],
    # views of every row meet those of all devices, some of them twins; the statistics of the projector are of all rows
    "views": [
        "configs/regimes/simclr.py:smoke",
        "--config.data.first=40",
        "--config.model={'name': 'mlp_tiny', 'hidden': (16,), 'norm': 'batch'}",
        "--config.views=flip | translate(fraction=0.2) | uniform_noise(amount=0.1)",
        "--config.projection.hidden=(8,)",
        "--config.projection.size=8",
        "--config.data.image_size=(8,8)",
        *COMMON_BANK,
    ],
    # a teacher, and a queue of what it made of all rows
    "teacher": [
        "configs/regimes/momentum.py:smoke",
        "--config.model={'name': 'mlp_tiny', 'hidden': (16,), 'norm': 'batch'}",
        "--config.views=flip | translate(fraction=0.2) | uniform_noise(amount=0.1)",
        "--config.projection.hidden=(8,)",
        "--config.projection.size=8",
        "--config.data.image_size=(8,8)",
        "--config.momentum.queue=64",
        *COMMON_BANK,
    ],
    # A predictor, without a norm that would leave the projector's last bias without a gradient; and a teacher that
    # follows by less and less.
    "bootstrap": [
        "configs/regimes/momentum.py:method=byol,smoke",
        "--config.model={'name': 'mlp_tiny', 'hidden': (16,), 'norm': 'batch'}",
        "--config.views=flip | translate(fraction=0.2) | uniform_noise(amount=0.1)",
        "--config.projection.hidden=(8,)",
        "--config.projection.size=8",
        "--config.data.image_size=(8,8)",
        "--config.prediction.hidden=(8,)",
        "--config.prediction.norm=none",
        "--config.prediction.size=8",
        *COMMON_BANK,
    ],
    # a centre of the teacher's scores of all rows, and views that the student sees alone
    "centred": [
        "configs/regimes/momentum.py:method=dino,smoke",
        "--config.model={'name': 'mlp_tiny', 'hidden': (16,), 'norm': 'batch'}",
        "--config.views=flip | translate(fraction=0.2) | uniform_noise(amount=0.1)",
        "--config.projection.hidden=(8,)",
        "--config.projection.size=8",
        "--config.data.image_size=(8,8)",
        "--config.projection.prototypes=16",
        "--config.momentum.more_views=1",
        "--config.small_views=random_resized_crop(scale=(0.2, 0.5))",
        *COMMON_BANK,
    ],
    # patches that every row hides for itself
    "masked": [
        "configs/regimes/mae.py:smoke",
        "--config.augment=flip | translate(fraction=0.2) | uniform_noise(amount=0.1)",
        "--config.data.image_size=(8,8)",
        "--config.ema.decay=0.9",
        *COMMON_BANK,
    ],
    # vectors of all training images, the rows of which every device writes
    "memory": [
        "configs/regimes/instance_discrimination.py:smoke",
        "--config.model={'name': 'mlp_tiny', 'hidden': (16,), 'norm': 'batch'}",
        "--config.augment=flip | translate(fraction=0.2) | uniform_noise(amount=0.1)",
        "--config.projection.size=8",
        "--config.data.image_size=(8,8)",
        "--config.data.first=64",
        *COMMON_BANK,
    ],
    "embedding": ["configs/explain/tsne.py", "--config.embed.exaggeration_steps=10"],
    "sam": ["configs/classify/mlp.py", *MLP, "--config.grad=sam(0.05)"],
}


def train(case: str, layout: str):
    """The program and the State after STEPS steps."""
    from cvdl_jax.config import configs
    from cvdl_jax.core import parallel
    from cvdl_jax.engine.build import build
    from cvdl_jax.engine.feed import TrainFeed
    from cvdl_jax.engine.program import Program

    path, *overrides = CASES[case]
    common = [f"--config.total_steps={STEPS}", "--config.batch_size=32"]
    common += ["--config.compute_dtype=float64"] if case != "embedding" else []  # which has no model
    built = build(configs.load(path, [*common, *overrides]))
    devices = jax.devices()[:1] if layout == "one" else jax.devices()
    mesh = parallel.make_mesh(devices, int(layout[4:]) if layout.startswith("fsdp") else 1)
    splits = built.data.splits if built.data else {}
    arrays = {name: split.arrays for name, split in splits.items()}
    spec = splits["train"].spec if splits else {}
    mode = "pmap" if layout == "pmap" else "jit"
    program = Program(built.task, built.config.seed, mesh, spec, 32, 32, arrays, "auto", mode)
    jobs = program.jobs()
    jobs["create"]()
    jobs["step"]()
    parallel.wait_for_all("compiled")  # process 0 may find in the compilation cache what another compiles
    state, sums = program.create(), program.zero_sums()
    feed = TrainFeed(program, built.data, built.config.seed, 0, STEPS)
    step = 0
    while step < STEPS:
        count = min(program.steps_per_call, STEPS - step)
        state, sums = program.advance(state, sums, feed.next(step, count), count)
        step += count
    return program, state, sums


def flat(tree) -> dict[str, np.ndarray]:
    """Every leaf by its path, as this process can see it whole."""
    from jax.experimental import multihost_utils

    found = {}
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        whole = (
            x if x.is_fully_addressable or x.is_fully_replicated else multihost_utils.process_allgather(x, tiled=True)
        )
        found[jax.tree_util.keystr(path)] = np.asarray(whole)
    return found


# An evaluation that adds matrices, whose last batch is padded; and samples, which depend on no layout.
EVALUATED = {"segmenter": ("validation", 17), "depth": ("validation", 17), "dcgan": ("samples", 0),
             "variational": ("samples", 0), "diffusion": ("samples", 0)}  # fmt: skip


def evaluated(program, state, name: str, size: int) -> dict[str, np.ndarray]:
    """The arrays of an evaluation of a split of this size, or of one without data."""
    from cvdl_jax.core.task import unwrapped
    from cvdl_jax.engine.evaluate import evaluate

    program.jobs()[f"eval {name}"]()
    task = program.task
    plain = task.evals[name]._replace(finalize=lambda means, rows: {})
    program.task = task._replace(evals={**task.evals, name: plain})
    _, rows = evaluate(program, name, state, SimpleNamespace(size=size) if size else None, 0)
    return {name: np.float64(x) for name, x in unwrapped(rows).items()}


def main() -> None:
    """Trains every case on every layout and writes OUT/CASE_LAYOUT.npz."""
    import quick_compile

    quick_compile.prepare()
    out, cases, *layouts = sys.argv[1:]
    if "CVDL_TEST_PROCESSES" in os.environ:
        n, i = int(os.environ["CVDL_TEST_PROCESSES"]), int(os.environ["CVDL_TEST_PROCESS"])
        jax.distributed.initialize(os.environ["CVDL_TEST_COORDINATOR"], n, i)
    for case, layout in itertools.product(cases.split(","), layouts):
        program, state, sums = train(case, layout)
        leaves = flat({"state": state, "sums": sums})
        local = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves((state.params, state.opt)))
        whole = sum(x.nbytes for x in jax.tree.leaves((state.params, state.opt)))
        if case in EVALUATED:
            leaves |= {f"['state']['{name}']": x for name, x in evaluated(program, state, *EVALUATED[case]).items()}
        leaves["traces"] = np.asarray([program.traces["step"], program.traces["advance"]])
        leaves["cache"] = np.asarray(jax.config.jax_enable_compilation_cache)
        leaves["share"] = np.asarray(local / whole)
        if jax.process_index() == 0:
            name = layout if jax.process_count() == 1 else f"processes{jax.process_count()}"
            np.savez(Path(out) / f"{case}_{name}.npz", **leaves)


if __name__ == "__main__":
    main()
