"""What `--mode check` prints of a compiled step: memory, communication, the roofline, and several side by side."""

from collections.abc import Mapping, Sequence

from cvdl_jax.cli.check.compile import Step
from cvdl_jax.cli.check.roofline import Roofline, scaling, traffic
from cvdl_jax.core.formatting import binary, columns, percent, scaled, seconds

ASSUMPTIONS = (
    "An estimate from published peaks; nothing is measured. Peaks are never reached, so all three are too short; bytes",
    "are those of every operation's inputs and outputs, also of what stays in fast memory, so the second may be too",
    "long. Communication uses all links of a chip and overlaps with nothing.",
)


def heading(step: Step) -> str:
    """Where the step was compiled for, and how long that took."""
    mesh = ", ".join(f"{axis} {size}" for axis, size in step.mesh.items())
    hosts = f" on {step.hosts} hosts" if step.hosts > 1 else ""
    where = "these devices" if step.label == "here" else step.label
    return f"one step compiled for {where}: {step.devices} x {step.kind}{hosts}, mesh ({mesh}), in {step.seconds:.1f} s"


def memory_lines(step: Step, capacity: tuple[float, str] | None) -> list[str]:
    """Memory by kind, and whether it fits."""
    rows = columns([(kind, binary(size)) for kind, size in step.memory.items()], "lr", 2)
    if step.overflow:
        head = f"memory of each device: IT DOES NOT FIT. The compiler says: {step.overflow}"
        return [head, "  what is known before compiling:", *rows, *_remedies()]
    head = f"memory of each device: {binary(step.needed)}"
    if capacity:
        limit, source = capacity
        verdict = "it fits" if fits_into(step, capacity) else "IT DOES NOT FIT"
        head += f" of {binary(limit)} ({source}), {percent(step.needed / limit, 1)}: {verdict}"
    lines = [head, *rows]
    return lines if fits_into(step, capacity) else lines + _remedies()


def fits_into(step: Step, capacity: tuple[float, str] | None) -> bool:
    """Whether a step fits; yes where nobody knows how much memory there is."""
    return not step.overflow and (capacity is None or step.needed <= capacity[0])


def _remedies() -> list[str]:
    return [
        "  to change: a smaller config.batch_size, config.remat=True, config.grad='accumulate(4)',",
        "  config.parallel.fsdp=N (splits parameters and optimizer state), config.data.resident='never'",
    ]


def work_lines(step: Step, step_macs: int, forward_macs: int | None) -> list[str]:
    """Operations, bytes and communication of a step."""
    rows = [("FLOPs", scaled(step.flops), "of all operations, as XLA counts them")]
    if step.loops:
        rows[0] = (*rows[0][:2], f"{rows[0][2]}: bodies of loops once")
    rows.append(("", scaled(2 * step_macs / step.devices), "of matrix products and convolutions, all passes of loops"))
    if forward_macs is not None:
        rows.append(("", scaled(2 * forward_macs), "of one example's forward pass"))
    rows.append(("bytes", scaled(step.bytes, "B"), "to and from operations, as XLA counts them"))
    lines = ["work of each device in a step:", *columns(rows, "lrl", 2), "communication of a step:"]
    if not step.collectives:
        return [*lines, "  none"]
    rows = [
        (
            c.kind,
            f"over {c.axis}",
            f"{c.devices} devices",
            f"{c.count} x",
            binary(c.bytes),
            f"{binary(traffic(c))} sent",
        )
        for c in step.collectives
    ]
    return lines + columns(rows, "lllrrr", 2)


def roofline_lines(step: Step, roof: Roofline, batch_size: int, dtype: str) -> list[str]:
    """How long a step takes by the roofline."""
    chip = step.chip
    rows = [
        ("compute", seconds(roof.compute), f"at {scaled(roof.peak, 'FLOP/s')} with {dtype} values"),
        ("memory", seconds(roof.memory), f"at {scaled(chip.bandwidth, 'B/s')}"),
        ("communication", seconds(roof.communication), f"at {scaled(chip.interconnect, 'B/s')} to other chips"),
    ]
    if roof.model_flops:
        work = f"of the model's {scaled(roof.model_flops, 'FLOP')} for the batch"
        rows.append(("MFU", percent(roof.mfu, 1), work))
    pace = f"{scaled(batch_size / roof.seconds)} examples/s"
    head = f"roofline of a step on {chip.name}: {seconds(roof.seconds)}, {pace}, limited by {roof.limit}"
    return [head, *columns(rows, "lrl", 2), *(f"  {line}" for line in ASSUMPTIONS)]


def comparison(
    steps: Sequence[Step], roofs: Mapping[str, Roofline], fit: Mapping[str, bool], batch_size: int
) -> list[str]:
    """Several topologies side by side; the efficiency is against the first one that it fits."""
    head = ("topology", "devices", "batch each", "memory", "fits", "compute", "memory", "comms", "step", "ex/s", "MFU",
            "efficiency")  # fmt: skip
    rows = [head]
    base = next((step.label for step in steps if step.label in roofs), "")
    for step in steps:
        row = (step.label, str(step.devices), str(batch_size // step.devices))
        more = "> " if step.overflow else ""
        row += (more + binary(step.needed), "yes" if fit[step.label] else "NO")
        roof = roofs.get(step.label)
        if roof is not None:
            times = (roof.compute, roof.memory, roof.communication, roof.seconds)
            row += (*map(seconds, times), scaled(batch_size / roof.seconds), percent(roof.mfu, 1))
            row += (percent(scaling(roofs[base], roof), 0),)
        rows.append(row)
    against = f", efficiency against {base}" if base else ""
    return [
        f"comparison at the same global batch of {batch_size} (strong scaling){against}:",
        *columns(rows, "lrrrlrrrrrrr", 2),
    ]
