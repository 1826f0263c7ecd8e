"""What JAX computes on, asked in a process of its own: it may hang or crash, and the doctor must not."""

import glob
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.cli.doctor.items import NOTE, OK, PROBLEM, Item
from cvdl_jax.cli.doctor.packages import PIP, installed
from cvdl_jax.core.formatting import binary
from cvdl_jax.engine.xla_flags import CONVOLUTIONS

SECONDS = 120
# Variables that may keep JAX from starting.
VARIABLES = ("JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS")
PROBE = """
import json, jax, jax.numpy as jnp
jax.devices()  # says why a backend does not start, which an array operation hides behind a notice
total = float((jnp.ones((64, 64)) @ jnp.ones((64, 64))).sum())
stats = jax.devices()[0].memory_stats() or {}
print(json.dumps({"backend": jax.default_backend(), "memory": stats.get("bytes_limit", 0),
                  "wrong": "" if total == 64.0**3 else f"a product of ones sums to {total}, expected 262144",
                  "information": jax.print_environment_info(return_string=True)}))
"""


def given_by_user(name: str, environment: Mapping[str, str]) -> bool:
    """Whether a variable says more than launch.py itself puts into it."""
    return bool(environment.get(name, "").replace(CONVOLUTIONS, "").strip())


def probe() -> dict[str, Any]:
    """What JAX says of its devices, see PROBE, or {"error": why it says nothing}."""
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


def nvidia() -> bool:
    """Whether this machine has a GPU of NVIDIA."""
    return any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"))


def tpu() -> bool:
    """Whether a TPU is attached to this machine."""
    vendors = (Path(p).read_text().strip() for p in glob.glob("/sys/bus/pci/devices/*/vendor"))
    return bool(glob.glob("/dev/accel*")) or "0x1ae0" in vendors


def devices(
    answer: Callable[[], dict[str, Any]] = probe,
    has_gpu: Callable[[], bool] = nvidia,
    has_tpu: Callable[[], bool] = tpu,
    environment: Mapping[str, str] = os.environ,
    version_of: Callable[[str], str | None] = installed,
) -> Iterator[Item]:
    """What JAX says of itself, its devices and its variables, and whether a device that is here is left out."""
    said = answer()
    if "error" in said:
        pins = " ".join(f'"{name}=={version_of(name)}"' for name in ("jax", "jaxlib") if version_of(name))
        given = [name for name in VARIABLES if given_by_user(name, environment)]
        reinstall = f"{PIP} --force-reinstall {pins or 'jax'}"
        yield Item(
            PROBLEM,
            f"JAX cannot start: {said['error']}" + "".join(f"; {name}={environment[name]} is set" for name in given),
            f"unset {' '.join(given)}; if that does not help, {reinstall}" if given else reinstall,
        )
        return
    if said["wrong"]:
        yield Item(
            PROBLEM, f"the {said['backend']} computes wrongly: {said['wrong']}", "replace the device, or use another"
        )
    memory = f", {binary(said['memory'])} on each device" if said["memory"] else ""
    information = textwrap.indent(said["information"].strip(), 10 * " ")
    yield Item(OK, f"JAX uses the {said['backend']}{memory}, and says of itself\n{information}")
    mend = "unset JAX_PLATFORMS" if environment.get("JAX_PLATFORMS") else f'{PIP} "jax[{{}}]=={version_of("jax")}"'
    if said["backend"] != "tpu" and has_tpu():
        yield Item(PROBLEM, f"a TPU is here, but JAX uses the {said['backend']}", mend.format("tpu"))
    elif said["backend"] == "cpu":
        driver = re.search(r"CUDA Version:\s*(\d+)[\d.]*", said["information"])  # nvidia-smi's, which JAX asks
        if driver or has_gpu():
            extra = "cuda12" if driver and int(driver[1]) < 13 else "cuda13"
            yield Item(PROBLEM, "an NVIDIA GPU is here, but JAX uses the CPU", mend.format(extra))
    if version_of("libtpu") and not has_tpu() and not environment.get("JAX_PLATFORMS"):
        yield Item(NOTE, "libtpu without a TPU complains in every run; harmless", "export JAX_PLATFORMS=cpu (or cuda)")
