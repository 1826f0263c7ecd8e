"""A file of weights of PyTorch as safetensors, where torch is installed; a run then needs no torch.

python -m benchmarks.convert_torch resnet50.pth resnet50.safetensors
"""

import sys

import torch
from safetensors.torch import save_file


def tensors_of(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a pickle, which is read without running code: a state dict, or one under a usual key.

    Raises:
        SystemExit: if it holds something else.
    """
    held = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict", "model_ema"):
        held = held[key] if isinstance(held, dict) and isinstance(held.get(key), dict) else held
    if not isinstance(held, dict) or not all(isinstance(x, torch.Tensor) for x in held.values()):
        raise SystemExit(f"{path} holds no state dict; save model.state_dict() with torch.save")
    return {name.removeprefix("module."): x.contiguous().clone() for name, x in held.items()}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    save_file(tensors_of(sys.argv[1]), sys.argv[2])
    print(f"written to {sys.argv[2]}")
