"""Training steps per second against PyTorch eager: the same models, batches and optimizers, on all cores.

    pip install -r benchmarks/requirements.txt        # into an environment of its own, if you like
    python -m benchmarks.against_torch [--torch PYTHON] [--rounds 3] [model ...]

Each round measures every contender in a process of its own. PyTorch runs in both memory layouts; the better one counts.
"""

import argparse
import json
import statistics
import sys
from functools import partial

from benchmarks import common

MODELS = ("lenet5", "resnet20", "vit_tiny", "lstm")
BATCH = {"lenet5": 128, "resnet20": 128, "vit_tiny": 64}


def ours(name: str) -> float:
    """Seconds of a step of this repository."""
    from benchmarks import steps

    made, built = steps.program(name)
    call, count = steps.advance(made, built)
    return common.seconds_per_call(call, seconds=6.0) / count


def theirs(name: str, layout: str) -> float:
    """Seconds of a step of PyTorch eager."""
    import torch

    from benchmarks import torch_models

    torch.manual_seed(0)
    if name == "lstm":
        return _text_step(torch, torch_models)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    model = {"lenet5": torch_models.LeNet, "resnet20": torch_models.ResNet20, "vit_tiny": torch_models.ViT}[name]()
    model = model.to(memory_format=memory).train()
    channels = 1 if name == "lenet5" else 3
    images = torch.rand(1024, channels, 32, 32).to(memory_format=memory)
    labels = torch.randint(0, 10, (1024,))
    if name == "resnet20":
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    average = [p.detach().clone() for p in model.parameters()] if name == "vit_tiny" else []

    def step() -> None:
        index = torch.randint(0, 1024, (BATCH[name],))
        x = (images[index] - 0.5) / 0.25
        loss = torch.nn.functional.cross_entropy(model(x), labels[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if average:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for mean, p in zip(average, model.parameters(), strict=False):
            mean.lerp_(p.detach(), 0.001)

    return common.seconds_per_call(step, seconds=6.0)


def _text_step(torch, torch_models) -> float:
    model = torch_models.CharLSTM(14).train()
    optimizer = torch.optim.Adam(model.parameters(), 8e-3)
    text = torch.randint(0, 14, (32, 64 * 100 + 1))
    hidden, place = [None], [0]

    def step() -> None:
        start = place[0] * 64 % 6400
        x, y = text[:, start : start + 64], text[:, start + 1 : start + 65]
        logits, new = model(x, hidden[0])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        hidden[0], place[0] = tuple(h.detach() for h in new), place[0] + 1

    return common.seconds_per_call(step, seconds=6.0)


def main() -> None:
    """Compares, in rounds."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=", ".join(MODELS))
    flags.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="an interpreter that has torch")
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        kind, name = args.child
        seconds = ours(name) if kind == "ours" else theirs(name, kind)
        print(json.dumps({"seconds": seconds}))
        return
    machine, rows, kept = common.machine(), [], {}
    for name in args.models:
        contenders = {"ours": sys.executable, "contiguous": args.torch}
        if name != "lstm":
            contenders["channels_last"] = args.torch

        def measure(kind: str, python: str, name: str = name) -> float:
            return common.child("benchmarks.against_torch", "--child", kind, name, python=python)["seconds"]

        figures = common.rounds({k: partial(measure, k, p) for k, p in contenders.items()}, args.rounds)
        best = min((k for k in figures if k != "ours"), key=lambda k: statistics.median(figures[k]))
        ratio = common.median_ratio(figures[best], figures["ours"])
        ms = {k: 1000 * statistics.median(v) for k, v in figures.items()}
        rows.append([name, ms["ours"], ms[best], best, ratio])
        kept[name] = figures
    header = ["model", "ours, ms a step", "torch eager, ms a step", "torch's better layout", "steps/s over torch's"]
    common.report("against_torch", header, rows, {"machine": machine, "seconds_of_rounds": kept})


if __name__ == "__main__":
    main()
