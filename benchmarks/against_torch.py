"""Training steps per second against PyTorch: the same models, batches and optimizers, on a CPU's cores or one GPU.

    pip install -r benchmarks/requirements.txt        # into an environment of its own, if you like
    python -m benchmarks.against_torch [--device cpu|gpu] [--torch PYTHON] [--rounds N] [model ...]

Each round measures every contender in a process of its own. On a CPU PyTorch runs eagerly in both memory layouts, on a
GPU eagerly, by `torch.compile` and as a CUDA graph; the best one counts. On a GPU everything is compiled once
beforehand, several programs at a time, into the caches of JAX and PyTorch: the whole takes about ten minutes there. A
contender that fails has no figure, and its error is printed and kept.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks import common

CONTENDERS = {"cpu": ("contiguous", "channels_last"), "gpu": ("eager", "compile", "graph")}
MODELS = {
    "cpu": ("lenet5", "resnet20", "vit_tiny", "lstm", "gpt", "unet", "retinanet", "dcgan", "ddpm"),
    "gpu": ("lenet5", "resnet20", "resnet50", "vit_small", "vit_base", "swin_t", "convnext_t", "lstm", "gpt", "unet",
            "retinanet", "dcgan", "ddpm"),
}  # fmt: skip
BATCH = {
    "vit_tiny": 64,
    "resnet50": 256,
    "lstm": 32,
    "gpt": 32,
    "unet": 32,
    "retinanet": 16,
    "dcgan": 64,
    "ddpm": 64,
}  # else 128
FLOAT32 = ("lenet5", "lstm")  # the rest is bfloat16 on a GPU
VARIANTS = {"resnet50": "resnet50", "vit_small": "vit_small_patch16_224", "vit_base": "vit_base_patch16_224",
            "swin_t": "swin_t", "convnext_t": "convnext_tiny", "resnet20": "resnet20"}  # fmt: skip
GIB = 2**30


def ours(name: str, device: str, warm: bool) -> dict[str, Any]:
    """Seconds of a step of this repository, bytes at its peak and the share of the chip's peak that the model used."""
    import jax

    from benchmarks import steps
    from cvdl_jax.cli.check import chips
    from cvdl_jax.core import counting
    from cvdl_jax.models import registry

    more = [f"--config.batch_size={BATCH.get(name, 128)}"] if name in MODELS["gpu"][2:7] else []
    if device == "gpu" and name not in FLOAT32:
        more.append("--config.compute_dtype=bfloat16")
    made, built = steps.program(name, *more)
    calls = 1 if device == "cpu" else max(1, 20 // made.steps_per_call)
    parameters = counting.parameters(made.create().params)
    call, count = steps.advance(made, built, calls)
    seconds = common.seconds_per_call(call, *_how_long(device, warm)) / count
    kind = jax.devices()[0]
    chip = chips.find(kind.device_kind)
    macs = registry.variants()[VARIANTS[name]].row["macs"] if name in VARIANTS else 0
    flops = 3 * 2 * macs * BATCH.get(name, 128)  # a backward pass is two forward ones
    peak = (chip.f32 if name in FLOAT32 else chip.bf16) if chip else 0
    mfu = flops / seconds / peak if peak else 0.0
    taken = (kind.memory_stats() or {}).get("peak_bytes_in_use", 0)
    return {"seconds": seconds, "bytes": taken, "mfu": mfu, "parameters": parameters}


def theirs(name: str, how: str, device: str, warm: bool) -> dict[str, Any]:
    """The same of PyTorch."""
    from benchmarks import torch_steps

    place, count = ("cpu", 1) if device == "cpu" else ("cuda", 20)
    call, parameters = torch_steps.step_of(name, how, BATCH.get(name, 128), place, count)
    seconds = common.seconds_per_call(call, *_how_long(device, warm)) / count
    return {"seconds": seconds, "bytes": torch_steps.peak_bytes(place), "parameters": parameters}


def _how_long(device: str, warm: bool) -> tuple[float, int]:
    """(seconds to measure, calls before)."""
    return (1e-3, 1) if warm else (6.0, 3) if device == "cpu" else (2.0, 2)


def measure(name: str, kind: str, device: str, python: str, warm: bool = False) -> dict[str, Any]:
    """What a child process measured, or {"error": its last line}."""
    words = ["--child", kind, name, "--device", device, *(["--warm"] if warm else [])]
    environment = {**os.environ, "PYTHONPATH": str(common.ROOT)}
    if warm:  # several at once share the memory of the GPU
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    command = [python, "-m", "benchmarks.against_torch", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=common.ROOT, env=environment)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [f"exit {done.returncode}"]
    return json.loads(lines[-1]) if done.returncode == 0 else {"error": lines[-1]}


def row_of(name: str, rounds: dict[str, list[dict[str, Any]]]) -> list[Any]:
    """A row of the table; prints what failed, and where the two networks have another number of parameters."""
    figures = {k: [r["seconds"] for r in v] for k, v in rounds.items() if not any("error" in r for r in v)}
    for kind, results in rounds.items():
        for error in {r["error"] for r in results if "error" in r}:
            print(f"{name}, {kind}: {error}", flush=True)
    counts = {kind: results[0]["parameters"] for kind, results in rounds.items() if kind in figures}
    if len(set(counts.values())) > 1:
        print(f"{name}: parameters differ, {counts}", flush=True)
    others = [k for k in figures if k != "ours"]
    if "ours" not in figures or not others:
        return [name, *["failed"] * 8]
    best = min(others, key=lambda k: statistics.median(figures[k]))
    ratio = common.median_ratio(figures[best], figures["ours"])
    ms = {k: 1000 * statistics.median(v) for k, v in figures.items()}
    memory = [max(r["bytes"] for r in rounds[k]) / GIB or "" for k in ("ours", best)]
    mfu = statistics.median(r["mfu"] for r in rounds["ours"])
    rate = BATCH.get(name, 128) / statistics.median(figures["ours"])
    return [name, ms["ours"], ms[best], best, ratio, *memory, f"{100 * mfu:.0f} %" if mfu else "", f"{rate:,.0f}"]


def main() -> None:
    """Compares, in rounds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(dict.fromkeys(sum(MODELS.values(), ()))))
    flags.add_argument("--device", choices=list(MODELS), default="cpu")
    flags.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="an interpreter that has torch")
    flags.add_argument("--rounds", type=int, help="3 on a CPU, 1 on a GPU")
    flags.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    flags.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        kind, name = args.child
        how = partial(ours, name) if kind == "ours" else partial(theirs, name, kind)
        print(json.dumps(how(args.device, args.warm)))
        return
    names = args.models or MODELS[args.device]
    pythons = {"ours": sys.executable} | dict.fromkeys(CONTENDERS[args.device], args.torch)
    machine, rows, kept = common.machine(), [], {}
    if args.device == "gpu":
        with ThreadPoolExecutor(6) as pool:
            kinds = [(name, kind) for kind in ("ours", "compile") for name in names]
            jobs = [pool.submit(measure, name, kind, "gpu", pythons[kind], True) for name, kind in kinds]
            for job, of in zip(jobs, kinds, strict=True):
                if "error" in job.result():
                    print(f"{of[0]}, {of[1]}, compiled beforehand: {job.result()['error']}", flush=True)
    header = ["model", "ours, ms a step", "torch, ms a step", "torch's best", "steps/s over torch's", "ours, GiB",
              "torch, GiB", "ours, MFU", "ours, images/s"]  # fmt: skip
    for name in names:
        kinds = [kind for kind in pythons if not (name in ("lstm", "gpt") and kind == "channels_last")]
        things = {kind: partial(measure, name, kind, args.device, pythons[kind]) for kind in kinds}
        kept[name] = common.rounds(things, args.rounds or (3 if args.device == "cpu" else 1))
        rows.append(row_of(name, kept[name]))
        print(rows[-1], flush=True)
    suffix = "" if args.device == "cpu" else "_gpu"
    common.report(f"against_torch{suffix}", header, rows, {"machine": machine, "rounds": kept})


if __name__ == "__main__":
    main()
