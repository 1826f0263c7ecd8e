"""Training steps in PyTorch as its users write them, for `against_torch.py`; runs where torch is, without JAX.

torchvision and timm give the large networks, `torch_models.py` the small ones. On a GPU images lie in its memory,
products are bfloat16 by autocast (float32, as TensorFloat-32, for `FLOAT32`), and steps are not waited for one by one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks import torch_dense, torch_generative, torch_models

FLOAT32 = ("lenet5", "lstm")
CHANNELS_LAST = (
    "lenet5",
    "resnet20",
    "resnet50",
    "convnext_t",
    "unet",
    "retinanet",
    "dcgan",
    "ddpm",
)  # on a GPU; on a CPU both layouts are measured
SIZES = {"lenet5": (1, 32), "resnet20": (3, 32), "vit_tiny": (3, 32), **torch_dense.SIZES}
DENSE = tuple(torch_dense.SIZES)
CLIP = {"retinanet": 10.0, "unet": 0.0}  # else 1.0
WARM_UP = 3  # steps before a capture, on a stream of their own
LENGTH, STREAMS, SYMBOLS = 64, 32, 14  # of the text
WINDOW, CHARACTERS = 128, 13  # of the decoder-only Transformer


def model_of(name: str) -> torch.nn.Module:
    """A network for ten classes; without anything random in depth, as ours."""
    small = {"lenet5": torch_models.LeNet, "resnet20": torch_models.ResNet20, "vit_tiny": torch_models.ViT}
    if name in small:
        return small[name]()
    if name.startswith("vit"):
        import timm

        return timm.create_model(f"{name}_patch16_224", num_classes=10)
    import torchvision

    makers = {"resnet50": "resnet50", "swin_t": "swin_t", "convnext_t": "convnext_tiny"}
    model = getattr(torchvision.models, makers[name])(num_classes=10)
    for module in model.modules():
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    return model


def optimizer_of(name: str, parameters: Any, device: str) -> torch.optim.Optimizer:
    """As the configuration of ours; able to be captured on a GPU."""
    if name in ("resnet20", "resnet50"):
        return torch.optim.SGD(parameters, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    capturable = {"capturable": device == "cuda"}
    if name in DENSE:
        return torch.optim.AdamW(parameters, 2e-3, weight_decay=1e-3 if name == "retinanet" else 1e-4, **capturable)
    if name == "lstm":
        return torch.optim.Adam(parameters, 8e-3, **capturable)
    if name == "gpt":
        return torch.optim.AdamW(parameters, 2e-3, betas=(0.9, 0.99), weight_decay=0.1, **capturable)
    return torch.optim.AdamW(parameters, 1e-3, weight_decay=0.05, **capturable)


def problem_of(name: str, device: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], Callable]:
    """A network, made-up targets, a row for each image, and the loss `(outputs, *targets)`."""
    if name in DENSE:
        return torch_dense.problem_of(name, device)
    return model_of(name), (torch.randint(0, 10, (1024,), device=device),), cross_entropy


def images_step(name: str, batch: int, device: str, layout: str, compiled: bool) -> tuple[Callable, Callable, int]:
    """(next batch into fixed places, one training step, number of parameters)."""
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    channels, size = SIZES.get(name, (3, 224))
    model, targets, loss_of = problem_of(name, device)
    model, count = model.to(device, memory_format=memory).train(), len(targets[0])
    forward = torch.compile(model) if compiled else model
    images = torch.rand(count, channels, size, size, device=device).to(memory_format=memory)
    optimizer = optimizer_of(name, model.parameters(), device)
    averaged = name not in ("lenet5", "resnet20", "resnet50")  # as their configurations: averages, clipped gradients
    average = [p.detach().clone() for p in model.parameters()] if averaged else []
    index = torch.zeros(batch, dtype=torch.int64, device=device)
    cast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda" and name not in FLOAT32)

    def draw() -> None:
        index.copy_(torch.randint(0, count, (batch,), device=device))

    def step() -> None:
        x = (images[index] - 0.5) / 0.25
        with cast:
            loss = loss_of(forward(x), *(target[index] for target in targets))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if average and CLIP.get(name, 1.0):
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP.get(name, 1.0))
        optimizer.step()
        if average:
            torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 0.001)

    return draw, step, parameters_of(model)


def parameters_of(model: torch.nn.Module) -> int:
    """The number of trained parameters."""
    return sum(p.numel() for p in model.parameters())


def text_step(device: str, compiled: bool) -> tuple[Callable, Callable, int]:
    """The same of the language model: its state is carried from window to window."""
    model = torch_models.CharLSTM(SYMBOLS).to(device).train()
    forward = torch.compile(model) if compiled else model
    optimizer = optimizer_of("lstm", model.parameters(), device)
    text = torch.randint(0, SYMBOLS, (STREAMS, LENGTH * 100 + 1), device=device)
    x, y = (torch.zeros(STREAMS, LENGTH, dtype=torch.int64, device=device) for _ in range(2))
    hidden = [torch.zeros(2, STREAMS, 256, device=device) for _ in range(2)]
    place = [0]

    def draw() -> None:
        start = place[0] * LENGTH % (LENGTH * 100)
        x.copy_(text[:, start : start + LENGTH])
        y.copy_(text[:, start + 1 : start + LENGTH + 1])
        place[0] += 1

    def step() -> None:
        logits, new = forward(x, tuple(hidden))
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for old, now in zip(hidden, new, strict=True):
            old.copy_(now.detach())

    return draw, step, parameters_of(model)


def windows_step(device: str, compiled: bool) -> tuple[Callable, Callable, int]:
    """The same of the decoder-only Transformer, which begins anew with every window."""
    model = torch_models.CharGPT(CHARACTERS).to(device).train()
    forward = torch.compile(model) if compiled else model
    optimizer = optimizer_of("gpt", model.parameters(), device)
    text = torch.randint(0, CHARACTERS, (STREAMS, WINDOW * 100 + 1), device=device)
    x, y = (torch.zeros(STREAMS, WINDOW, dtype=torch.int64, device=device) for _ in range(2))
    cast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    place = [0]

    def draw() -> None:
        start = place[0] % 100 * WINDOW
        x.copy_(text[:, start : start + WINDOW])
        y.copy_(text[:, start + 1 : start + WINDOW + 1])
        place[0] += 1

    def step() -> None:
        with cast:
            loss = cross_entropy(forward(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return draw, step, parameters_of(model)


def captured(draw: Callable, step: Callable) -> Callable:
    """The step as one CUDA graph, which is replayed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            draw()
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def step_of(name: str, how: str, batch: int, device: str, steps: int) -> tuple[Callable[[], None], int]:
    """A function that trains so many steps and waits for them, and the number of parameters that it trains.

    Args:
        name: of the model.
        how: "contiguous" or "channels_last" (eager, on a CPU), "eager", "compile" or "graph" (on a GPU).
        batch: images of a step.
        device: "cpu" or "cuda".
        steps: of a call.
    """
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as JAX's default precision
    torch.backends.cudnn.benchmark = True
    layout = how if device == "cpu" else "channels_last" if name in CHANNELS_LAST else "contiguous"
    compiled = how == "compile"
    texts = {"lstm": text_step, "gpt": windows_step}
    makers = {"dcgan": torch_generative.gan_step, "ddpm": torch_generative.diffusion_step}
    if name in texts:
        draw, step, parameters = texts[name](device, compiled)
    elif name in makers:
        memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        draw, step, parameters = makers[name](batch, device, memory, compiled)
    else:
        draw, step, parameters = images_step(name, batch, device, layout, compiled)
    run = captured(draw, step) if how == "graph" else step

    def call() -> None:
        for _ in range(steps):
            draw()
            run()
        if device == "cuda":
            torch.cuda.synchronize()

    return call, parameters


def peak_bytes(device: str) -> int:
    """The most that tensors took on the device; 0 on a CPU, where torch does not count."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else 0
