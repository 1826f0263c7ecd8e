"""The time of a step on a chip of published figures, and what follows from it.

    step = max(FLOPs / peak, bytes / bandwidth) + sum of the collectives
    MFU = FLOPs of the model / (step x devices x peak)

A collective over n devices that each hold B bytes takes at least 2 (n - 1) / n B / interconnect for an all-reduce,
(n - 1) / n B / interconnect for a gather, scatter or exchange (Patarasuk and Yuan 2009, "Bandwidth optimal
all-reduce"), with all links of a chip in use and nothing overlapped by computing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from cvdl_jax.cli.check.chips import Chip
from cvdl_jax.cli.check.collectives import Collective


class Roofline(NamedTuple):
    """Seconds of one step.

    Attributes:
        compute: FLOPs at the peak.
        memory: bytes at the bandwidth.
        communication: the collectives.
        peak: FLOP/s of one device for the values of the run.
        model_flops: of all devices.
        devices: how many there are.
    """

    compute: float
    memory: float
    communication: float
    peak: float
    model_flops: float
    devices: int

    @property
    def seconds(self) -> float:
        """Seconds of one step: the longer of computing and moving memory, then the communication."""
        return max(self.compute, self.memory) + self.communication

    @property
    def limit(self) -> str:
        """What takes longest: "compute", "memory" or "communication"."""
        parts = {"compute": self.compute, "memory": self.memory, "communication": self.communication}
        return max(parts, key=parts.__getitem__)

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation, a fraction."""
        return self.model_flops / (self.seconds * self.devices * self.peak)


def estimate(
    flops: float,
    moved: float,
    collectives: Sequence[Collective],
    chip: Chip,
    half: bool,
    model_flops: float,
    devices: int,
) -> Roofline:
    """The roofline of a step.

    Args:
        flops: of one device.
        moved: bytes of one device.
        collectives: of one device.
        chip: figures of one device.
        half: whether products are of 16-bit values.
        model_flops: of the whole batch.
        devices: how many there are.
    """
    peak = chip.bf16 if half else chip.f32
    communication = sum(map(traffic, collectives)) / chip.interconnect
    return Roofline(flops / peak, moved / chip.bandwidth, communication, peak, model_flops, devices)


def traffic(collective: Collective) -> float:
    """Bytes that a device must send for collectives of one kind."""
    n = collective.devices
    factor = {"all-reduce": 2 * (n - 1) / n, "collective-permute": 1.0, "collective-broadcast": 1.0}
    return factor.get(collective.kind, (n - 1) / n) * collective.bytes


def model_flops(batch_size: int, forward_macs: int | None, step_macs: int) -> float:
    """FLOPs that training on a batch needs: 3 forward passes' worth, since the backward pass is two; 2 a MAC.

    Where there is no forward pass of one example (several players, environments), the products of the step itself.
    """
    return 2.0 * (3 * forward_macs * batch_size if forward_macs else step_macs)


def scaling(first: Roofline, other: Roofline) -> float:
    """Efficiency of strong scaling: the speed-up over the growth in devices, 1 if every device stays as useful."""
    return first.seconds * first.devices / (other.seconds * other.devices)
