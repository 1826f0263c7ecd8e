"""Small runs for the long proofs: started as processes, compared bit for bit."""

import os
import subprocess
from pathlib import Path

import forks
import jax
import numpy as np

from cvdl_jax.workdir.checkpoint import committed_steps, read_step
from cvdl_jax.workdir.metric_log import read

ROOT = Path(__file__).resolve().parent.parent
CHILD = ROOT / "tests" / "child.py"
COMMON = [
    "--config.total_steps=24", "--config.batch_size=16", "--config.log.every_steps=5", "--config.eval.every_steps=8",
    "--config.log.tensorboard=False",
]  # fmt: skip
RUNS = {
    # batch norm, drop-out, every augmentation, EMA, plateau; many steps a call
    "perceptron": [
        "--config=configs/classify/mlp.py", *COMMON, "--config.model.hidden=(24,)", "--config.model.norm=batch",
        "--config.augment=flip | padded_crop(padding=1) | cutout(size=2) | mixup(alpha=0.4)", "--config.ema.decay=0.9",
        "--config.plateau.metric=validation/loss", "--config.plateau.patience=1", "--config.plateau.factor=0.5",
        "--config.plateau.min_delta=10.0",
    ],
    # convolutions, batch norm: one step a call
    "residual": [
        "--config=configs/classify/resnet20.py", *COMMON, "--config.model.name=resnet8_tiny", "--config.ema.decay=0.9",
        "--config.checkpoint.every_steps=4", "--config.checkpoint.keep=3",
    ],
    # two players, two critic steps a step, per-row penalty, averaged generator with its statistics
    "adversarial": [
        "--config=configs/generate/wgan_gp.py", *COMMON, "--config.critic_steps=2", "--config.eval_batch_size=0",
        "--config.model.discriminator.widths=(4,8)", "--config.model.generator.widths=(8,4)",
    ],
    # two generators and two discriminators; pools of images, of which random ones are replaced
    "images": ["--config=configs/generate/image_translation.py:smoke", *COMMON, "--config.ema.decay=0.9"],
    # one generator, a critic of pairs
    "pairs": ["--config=configs/generate/image_translation.py:method=paired,smoke", *COMMON, "--config.ema.decay=0.9"],
    # attributes that are drawn, two critic steps, a penalty; statistics of the averaged generator
    "edits": ["--config=configs/generate/attgan.py:smoke", *COMMON, "--config.ema.decay=0.9"],
    # holes that are drawn, two stages, two critics
    "inpainted": ["--config=configs/generate/inpainting.py:smoke", *COMMON, "--config.ema.decay=0.9"],
    # an encoder that is kept with the state
    "transferred": ["--config=configs/generate/domain_transfer.py:smoke", *COMMON, "--config.ema.decay=0.9"],
    # five networks, of which one is shown what the others make
    "swapped": ["--config=configs/generate/face_swapping.py:smoke", *COMMON],
    # codes drawn and images corrupted anew in every step, a bound of several samples, averaged weights
    "variational": ["--config=configs/generate/vae.py:smoke", *COMMON, "--config.corruption=gaussian_noise(std=0.2)"],
    # times, noise and hidden labels of every step, drop-out, averaged weights, samples by guidance
    "diffusion": [
        "--config=configs/generate/ddpm.py:smoke", *COMMON, "--config.model.num_classes=10",
        "--config.model.dropout=0.1", "--config.model.factors=(1,)", "--config.model.attention=()",
        "--config.sampler.steps=2", "--config.sampler.guidance=2.0",
    ],
    # two resolutions, the second from step 11 on, mixed styles and noise; moments that begin anew; p that is adjusted
    "growing": [
        "--config=configs/generate/progressive.py:model=stylegan,smoke", *COMMON, "--config.growth.stable_steps=11",
        "--config.growth.fade_steps=4", "--config.ada={'policy': 'flip', 'every': 2, 'images': 500}",
    ],
    # a teacher in the state, which sees the images as they are augmented for the student
    "distilled": ["--config=configs/regimes/distill.py:smoke", *COMMON, "--config.model.hidden=(8,)"],
    # images of a second domain drawn anew in every step, two updates of the statistics, a gradient that turns with time
    "adapted": [
        "--config=configs/regimes/adapt.py:smoke", *COMMON,
        "--config.model={'name': 'mlp', 'hidden': (8,), 'norm': 'batch', 'dropout': 0.1}",
    ],
    # padded boxes that flip with their images; an evaluation of detections on the host
    "detector": [
        "--config=configs/detect/anchors.py:smoke", *COMMON, "--config.model.widths=(4,8)",
        "--config.model.levels=(0,1)", "--config.model.depth=1",
    ],
    # a sample of anchors and one of regions, drawn anew in every step; proposals and true boxes of fixed numbers
    "two_stage": ["--config=configs/detect/faster_rcnn.py:smoke", *COMMON],
    # masks that are cut and mirrored with their images; maxima that remember their places; matrices that are added
    "segmenter": [
        "--config=configs/segment/segnet.py:smoke", *COMMON, "--config.model.depths=(1,1)",
        "--config.model.widths=(4,8)",
    ],
    # maps of distances that are mirrored with their images, pixels without one; averaged weights
    "depth": ["--config=configs/regimes/depth.py:smoke", *COMMON],
    # eight tasks with labels of some examples each, learned weights, drop-out, a loss that changes during the run
    "tasks": [
        "--config=configs/regimes/all_in_one.py:weights=uncertainty,smoke", *COMMON, "--config.ema.decay=0.9",
        "--config.model={'name': 'mlp', 'hidden': (16,), 'norm': 'batch', 'dropout': 0.1}",
    ],
    # a caption of each image drawn in every step; two encoders and a temperature
    "contrast": ["--config=configs/multimodal/clip.py:smoke", *COMMON, "--config.ema.decay=0.9"],
    # two views of each image, a teacher with statistics of its own, a queue; a bank of training images
    "teacher": [
        "--config=configs/regimes/momentum.py:smoke", *COMMON, "--config.model={'name': 'mlp_tiny', 'norm': 'batch'}",
        "--config.momentum.queue=40",
    ],
    # a predictor, and a teacher whose pace depends on the step
    "bootstrap": [
        "--config=configs/regimes/momentum.py:method=byol,smoke", *COMMON,
        "--config.model={'name': 'mlp_tiny', 'norm': 'batch'}",
    ],
    # a centre of the teacher's scores, and views that the student sees alone
    "centred": [
        "--config=configs/regimes/momentum.py:method=dino,smoke", *COMMON, "--config.model={'name': 'mlp_tiny'}",
        "--config.momentum.more_views=1", "--config.small_views=random_resized_crop(scale=(0.2, 0.5))",
        "--config.projection.prototypes=16",
    ],
    # patches hidden anew in every step, averaged weights
    "masked": ["--config=configs/regimes/mae.py:smoke", *COMMON, "--config.ema.decay=0.9"],
    # a vector for each training image, of which a step writes some
    "memory": [
        "--config=configs/regimes/instance_discrimination.py:smoke", *COMMON, "--config.model={'name': 'mlp_tiny'}",
    ],
    # captions drawn anew in every step, attention, drop-out; sentences written by beams and judged on the host
    "captioner": ["--config=configs/multimodal/caption.py:smoke", *COMMON],
    # hidden state carried, drop-out, averaged weights; no data set
    "language": [
        "--config=configs/sequence/char_rnn.py", *COMMON, "--config.text.name=additions",
        "--config.model.units=12", "--config.streams.length=8", "--config.streams.evaluation=8",
        "--config.streams.reset=0.2", "--config.sample.length=20", "--config.ema.decay=0.9", "--config.optim.lr=0.01",
    ],
    # words hidden anew at every step, pairs of sentences, drop-out, averaged weights
    "bert": [
        "--config=configs/sequence/bert.py:smoke", *COMMON, "--config.model.width=8", "--config.model.depth=1",
        "--config.ema.decay=0.9",
    ],
    # a classifier with the encoder of the run above
    "texts": [
        "--config=configs/sequence/text_classifier.py:model=bert,smoke", *COMMON, "--config.model.width=8",
        "--config.model.depth=1",
    ],
    # symbols of two languages, written anew in evaluations, with a cache
    "translation": [
        "--config=configs/sequence/translate.py:smoke", *COMMON, "--config.model.dropout=0.1",
    ],
    # environments, replay and target network; no data set
    "qlearn": [
        "--config=configs/rl/dqn.py", *COMMON, "--config.agent.capacity=10", "--config.agent.target_every=5",
        "--config.agent.episodes=16", "--config.model.hidden=(12,)", "--config.exploration.steps=20",
    ],
    # environments that go on, and two networks
    "policy": [
        "--config=configs/rl/ppo.py:smoke", *COMMON, "--config.agent.episodes=16", "--config.model.hidden=(12,)",
    ],
    # the points are the parameters, the affinities are in `extra`; exaggeration ends between two checkpoints
    "embedding": [
        "--config=configs/explain/tsne.py:smoke", *COMMON, "--config.embed.exaggeration_steps=11",
    ],
}  # fmt: skip


def environment() -> dict[str, str]:
    """For a child process."""
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def virtual_devices(count: int) -> dict[str, str]:
    """Variables that give a child process this many CPU devices, beside the flags that this process has.

    XLA's CPU collectives block threads of one pool: with as many threads as devices they can wait for each other.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": flags.strip(), "NPROC": str(8 * count)}


def start(
    workdir: Path, run: str, hook: str = "none", *more: str, first: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    """Runs (or continues) a run in a child process and waits for it.

    A run that ends by itself is forked by one server and one that is stopped by another: what Python draws anew in each
    process, such as the order of sets of words, is not the same before and after a stop.

    Args:
        workdir: of the run.
        run: a key of RUNS.
        hook: what happens to it, see child.py.
        *more: further flags.
        first: arguments of the hook.
    """
    command = [str(CHILD), hook, *first, *RUNS[run], f"--workdir={workdir}", *more]
    return finished(forks.start(command, environment(), server=int(hook != "none")), 300)


def finished(process: forks.Process, timeout: float) -> subprocess.CompletedProcess:
    """Waits for a process, which is ended if it takes longer than `timeout` seconds."""
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def leaves(workdir: Path) -> dict[int, dict[str, np.ndarray]]:
    """Every array of every checkpoint of a run, by step and name."""
    found = {}
    for step in committed_steps(workdir / "checkpoints"):
        tree = read_step(workdir / "checkpoints" / str(step))
        found[step] = {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}
    return found


def rows(workdir: Path) -> list[dict]:
    """Metric rows without what depends on the clock."""
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read(workdir / "metrics.jsonl")]


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs have the same checkpoints, bit for bit, the same rows and the same predictions."""
    first, second = leaves(one), leaves(other)
    assert first.keys() == second.keys()
    for step in first:
        assert first[step].keys() == second[step].keys()
        for name, x in first[step].items():
            np.testing.assert_array_equal(x, second[step][name], err_msg=f"step {step} {name}", strict=True)
    assert rows(one) == rows(other)
    for file in sorted((one / "predictions").glob("*.npz")):
        with np.load(file) as a, np.load(other / "predictions" / file.name) as b:
            assert a.files == b.files
            for name in a.files:
                np.testing.assert_array_equal(a[name], b[name], err_msg=f"{file.name} {name}")
