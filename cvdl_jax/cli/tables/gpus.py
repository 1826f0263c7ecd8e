"""Which GPU each worker gets: runs at once would otherwise all reserve the memory of all GPUs."""

import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence

FRACTION = 0.9  # of a GPU's memory, shared by the workers on it


def environments(workers: int, environment: Mapping[str, str], gpus: Sequence[str] | None = None) -> list[dict]:
    """What is added to the environment of each worker's runs.

    One worker uses everything, as a run by itself does. Of several, the i-th gets GPU i modulo their number and, where
    they outnumber the GPUs, its share of that GPU's memory.

    Args:
        workers: how many runs at once.
        environment: of this process; CUDA_VISIBLE_DEVICES limits the choice, JAX_PLATFORMS=cpu ends it.
        gpus: ids of the GPUs; by default what nvidia-smi lists.
    """
    if workers == 1 or environment.get("JAX_PLATFORMS", "").split(",")[0] in ("cpu", "tpu"):
        return [{} for _ in range(workers)]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        ids = [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    else:
        ids = list(listed() if gpus is None else gpus)
    if not ids:
        return [{} for _ in range(workers)]
    sharing = math.ceil(workers / len(ids))
    memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{FRACTION / sharing:.2f}"} if sharing > 1 else {}
    if "XLA_PYTHON_CLIENT_MEM_FRACTION" in environment:
        memory = {}
    return [{"CUDA_VISIBLE_DEVICES": ids[i % len(ids)], **memory} for i in range(workers)]


def listed() -> list[str]:
    """The UUIDs of the NVIDIA GPUs of this machine; [] without any, or without the driver's tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run(
            [tool, "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("GPU-")]
