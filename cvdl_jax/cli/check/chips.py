"""Published figures of accelerators: what a chip can compute, hold and move at best; none of them measured by us."""

import re
from typing import NamedTuple

T, GB = 1e12, 1e9
GIB = 2**30


class Chip(NamedTuple):
    """Peak figures of one chip.

    Attributes:
        name: as people call it.
        bf16: FLOP/s of matrix products of bfloat16 values, dense.
        f32: FLOP/s of matrix products of float32 values at JAX's default precision: one bfloat16 pass on a TPU,
            TensorFloat-32 on a GPU that has it.
        memory: bytes.
        bandwidth: bytes/s from and to that memory.
        interconnect: bytes/s that it can send to other chips, over all its links together.
        cores: JAX devices of a chip, which share these figures equally.
    """

    name: str
    bf16: float
    f32: float
    memory: float
    bandwidth: float
    interconnect: float
    cores: int = 1

    def device(self) -> "Chip":
        """The share of one JAX device."""
        name = self.name if self.cores == 1 else f"a core of {self.name}"
        return Chip(name, *(x / self.cores for x in self[1:6]), 1)


# By JAX's `device_kind`; a chip is found by the longest key whose words are in it.
CHIPS = {
    # Jouppi et al. 2020, "A Domain-Specific Supercomputer for Training Deep Neural Networks": v2, 496 Gbit/s a link;
    # Jouppi et al. 2023, "TPU v4", table 4: 70 GB/s a link of v3, 50 GB/s of v4; cloud.google.com/tpu/docs/v3 and v4
    "TPU v2": Chip("TPU v2", 46 * T, 46 * T, 16 * GIB, 700 * GB, 4 * 62 * GB, 2),
    "TPU v3": Chip("TPU v3", 123 * T, 123 * T, 32 * GIB, 900 * GB, 4 * 70 * GB, 2),
    "TPU v4": Chip("TPU v4", 275 * T, 275 * T, 32 * GIB, 1200 * GB, 6 * 50 * GB),
    # cloud.google.com/tpu/docs/v5e, v5p, v6e, tpu7x: "bidirectional" interconnect of 400, 1200, 800 and 1200 GB/s
    "TPU v5 lite": Chip("TPU v5e", 197 * T, 197 * T, 16 * GIB, 819 * GB, 200 * GB),
    "TPU v5": Chip("TPU v5p", 459 * T, 459 * T, 95 * GIB, 2765 * GB, 600 * GB),
    "TPU v6 lite": Chip("TPU v6e", 918 * T, 918 * T, 32 * GIB, 1638 * GB, 400 * GB),
    "TPU7x": Chip("TPU7x", 2307 * T, 2307 * T, 192 * GIB, 7380 * GB, 600 * GB, 2),
    # NVIDIA's data sheets, without sparsity: NVLink, or PCIe where there is none, half of it in each direction
    "V100-SXM2-16GB": Chip("V100 SXM2 16 GB", 15.7 * T, 15.7 * T, 16 * GIB, 900 * GB, 150 * GB),  # no bfloat16
    "V100-SXM2-32GB": Chip("V100 SXM2 32 GB", 15.7 * T, 15.7 * T, 32 * GIB, 900 * GB, 150 * GB),
    "Tesla T4": Chip("T4", 8.1 * T, 8.1 * T, 16 * GIB, 320 * GB, 16 * GB),  # no bfloat16
    "A100-SXM4-40GB": Chip("A100 SXM 40 GB", 312 * T, 156 * T, 40 * GIB, 1555 * GB, 300 * GB),
    "A100-SXM4-80GB": Chip("A100 SXM 80 GB", 312 * T, 156 * T, 80 * GIB, 2039 * GB, 300 * GB),
    "A100-PCIE-40GB": Chip("A100 PCIe 40 GB", 312 * T, 156 * T, 40 * GIB, 1555 * GB, 32 * GB),
    "A100 80GB PCIe": Chip("A100 PCIe 80 GB", 312 * T, 156 * T, 80 * GIB, 1935 * GB, 32 * GB),
    "H100 80GB HBM3": Chip("H100 SXM", 989.4 * T, 494.7 * T, 80 * GIB, 3350 * GB, 450 * GB),
    "H100 PCIe": Chip("H100 PCIe", 756 * T, 378 * T, 80 * GIB, 2000 * GB, 64 * GB),
    "H200": Chip("H200 SXM", 989.4 * T, 494.7 * T, 141 * GIB, 4800 * GB, 450 * GB),
    "B200": Chip("B200", 2250 * T, 1125 * T, 180 * GIB, 8000 * GB, 900 * GB),
    "NVIDIA L4": Chip("L4", 121 * T, 60 * T, 24 * GIB, 300 * GB, 32 * GB),
    "L40S": Chip("L40S", 362 * T, 183 * T, 48 * GIB, 864 * GB, 32 * GB),
    "RTX 3090": Chip("RTX 3090", 71 * T, 35.6 * T, 24 * GIB, 936 * GB, 32 * GB),
    "RTX 4090": Chip("RTX 4090", 165.2 * T, 82.6 * T, 24 * GIB, 1008 * GB, 32 * GB),
}


ALIASES = {"TPU v5e": "TPU v5 lite", "TPU v5p": "TPU v5", "TPU v6e": "TPU v6 lite"}  # as some versions say


def find(device_kind: str) -> Chip | None:
    """The chip that JAX calls `device_kind`; None where no figures are known, as for a CPU."""
    kind = ALIASES.get(device_kind, device_kind)
    keys = [key for key in CHIPS if re.search(rf"\b{re.escape(key)}\b", kind)]
    return CHIPS[max(keys, key=len)] if keys else None
