"""What JAX and XLA read from the environment when they start. Imports no JAX."""

import importlib.util
import os
import re
from pathlib import Path

from cvdl_jax.errors import ConfigError

# XLA gives convolutions on CPUs to YNNPACK, which ran 3x3 ones of 16 to 64 channels at half the speed of Eigen, and
# their weight gradients at 0.4 of it. A flag that XLA does not know ends the process, so only versions seen to know it.
CONVOLUTIONS, KNOWN_TO = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution", re.compile(r"0\.1[01]\.")


def prepare(host_devices: int = 0) -> None:
    """Adds to XLA_FLAGS what a run needs; what is already there wins.

    Args:
        host_devices: virtual CPU devices; 0 leaves that alone.

    Raises:
        ConfigError: for a negative number.
    """
    if host_devices < 0:
        raise ConfigError(f"--host_devices={host_devices} must be a number of virtual CPU devices, 1 or more")
    flags = os.environ.get("XLA_FLAGS", "")
    if "ynn_fusion_type" not in flags and KNOWN_TO.match(jaxlib_version()):
        flags = f"{flags} {CONVOLUTIONS}"
    if host_devices:
        # Collectives of virtual devices block threads of one pool; too few of them wait for each other forever.
        os.environ.setdefault("NPROC", str(8 * host_devices))
        flags = f"{flags} --xla_force_host_platform_device_count={host_devices}"
    os.environ["XLA_FLAGS"] = flags.strip()


def jaxlib_version() -> str:
    """Read from its file: importing jaxlib, or asking importlib.metadata, takes longer."""
    package = importlib.util.find_spec("jaxlib")
    text = (Path(package.origin).parent / "version.py").read_text() if package and package.origin else ""
    version = re.search(r'^_version = "([^"]+)"', text, re.MULTILINE)
    return version[1] if version else ""
