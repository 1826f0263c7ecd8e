"""What JAX computes on, asked in a process of its own: it may hang or crash, and the doctor must not."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.cli.doctor.items import NOTE, OK, PROBLEM, Item
from cvdl_jax.cli.doctor.packages import PIP, installed

SECONDS = 120
PROBE = """
import json, jax, jax.numpy as jnp
devices = jax.devices()
total = float((jnp.ones((64, 64)) @ jnp.ones((64, 64))).sum())
stats = devices[0].memory_stats() or {}
print(json.dumps({"backend": jax.default_backend(), "kinds": [d.device_kind for d in devices], "total": total,
                  "memory": stats.get("bytes_limit", 0)}))
"""


def probe() -> dict[str, Any]:
    """What JAX says of its devices: {"backend", "kinds", "total", "memory"}, or {"error": why it says nothing}."""
    command = [sys.executable, "-c", PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {SECONDS} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"error": f"exit code {done.returncode}: {last}"}
    return json.loads(lines[-1])


def nvidia() -> str | None:
    """The CUDA version that the driver of an NVIDIA GPU supports, "" if it does not say; None without a GPU."""
    there = any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"))
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return "" if there else None
    try:
        done = subprocess.run([smi], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "" if there else None
    if done.returncode:
        return "" if there else None
    found = re.search(r"CUDA Version:\s*([\d.]+)", done.stdout)
    return found[1] if found else ""


def tpu() -> bool:
    """Whether a TPU is attached to this machine."""
    vendors = (Path(p).read_text().strip() for p in glob.glob("/sys/bus/pci/devices/*/vendor"))
    return bool(glob.glob("/dev/accel*")) or "0x1ae0" in vendors


def devices(
    answer: Callable[[], dict[str, Any]] = probe,
    gpu: Callable[[], str | None] = nvidia,
    has_tpu: Callable[[], bool] = tpu,
    environment: Mapping[str, str] = os.environ,
    version_of: Callable[[str], str | None] = installed,
) -> Iterator[Item]:
    """The devices, whether one that is here is left out, and whether they multiply matrices."""
    found = answer()
    if "error" in found:
        pins = " ".join(f'"{name}=={version_of(name)}"' for name in ("jax", "jaxlib") if version_of(name))
        yield Item(PROBLEM, f"JAX cannot start: {found['error']}", f"{PIP} --force-reinstall {pins or 'jax'}")
        return
    kinds = found["kinds"]
    text = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
    memory = f", {found['memory'] / 2**30:.1f} GiB each" if found["memory"] else ""
    if found["total"] != 64.0**3:
        yield Item(
            PROBLEM, f"{text}: a product of ones sums to {found['total']}, expected 262144", "replace the device"
        )
        return
    yield Item(OK, f"{found['backend']}: {text}{memory}")
    yield from _left_out(found["backend"], gpu, has_tpu, environment, version_of("jax"))
    if version_of("libtpu") and not has_tpu() and not environment.get("JAX_PLATFORMS"):
        yield Item(NOTE, "libtpu without a TPU complains in every run; harmless", "export JAX_PLATFORMS=cpu (or cuda)")


def _left_out(
    backend: str,
    gpu: Callable[[], str | None],
    has_tpu: Callable[[], bool],
    environment: Mapping[str, str],
    version: str | None,
) -> Iterator[Item]:
    chosen = environment.get("JAX_PLATFORMS", "")
    cuda = gpu() if backend != "gpu" else None
    if backend != "tpu" and has_tpu():
        yield Item(PROBLEM, f"a TPU is here, but JAX uses the {backend}", _mend(chosen, f'"jax[tpu]=={version}"'))
    elif cuda is not None and backend == "cpu":
        extra = "cuda12" if cuda and float(cuda.partition(".")[0]) < 13 else "cuda13"
        driver = f" (its driver supports CUDA {cuda})" if cuda else ""
        text = f"an NVIDIA GPU is here{driver}, but JAX uses the CPU"
        yield Item(PROBLEM, text, _mend(chosen, f'"jax[{extra}]=={version}"'))


def _mend(chosen: str, package: str) -> str:
    return "unset JAX_PLATFORMS" if chosen else f"{PIP} {package}"
