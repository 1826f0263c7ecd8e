"""`--mode check` for several devices: every kind of experiment on virtual ones, and TPU pods where libtpu is here."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason='libtpu is not installed: pip install -e ".[libtpu]"'
)


def check(environment, *flags, code=0):
    """What the command prints."""
    done = subprocess.run(
        [sys.executable, "launch.py", "--mode=check", *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def size(text):
    """Bytes of "1.50 MiB"."""
    number, unit = text.split()
    return float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]


def kind(out, name):
    """The bytes that a line of the memory table says."""
    return size(re.search(rf"^  {re.escape(name)} +(\S+ \w+)$", out, re.M)[1])


def communication(out):
    """{(kind, axis): (count, bytes)}."""
    rows = re.findall(r"^  ([a-z-]+) +over (.+?) +\d+ devices +(\d+) x +(\S+ \w+) +\S+ \w+ sent$", out, re.M)
    return {(what, axis): (int(count), size(amount)) for what, axis, count, amount in rows}


CONFIGS = [
    "configs/classify/lenet5.py:smoke",
    "configs/generate/wgan_gp.py:smoke",
    "configs/sequence/char_rnn.py:smoke",
    "configs/rl/dqn.py",
    "configs/detect/anchors.py:smoke",
    "configs/explain/tsne.py",
]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_kind_of_experiment(config, clean_environment):
    out = check(clean_environment, f"--config={config}", "--host_devices=4")
    assert "4 x cpu, mesh (data 4, fsdp 1)" in out and "it fits" in out
    if "tsne" in config:  # the points are the parameters, and nothing is split
        assert "communication of a step:\n  none" in out
    else:
        assert ("all-reduce", "data") in communication(out)


MLP = ("--config=configs/classify/mlp.py", "--config.model.hidden=(64,)", "--config.augment=", "--config.ema={}")
PARAMETERS = 4 * (64 * 64 + 64 + 64 * 10 + 10)


def test_gradients_are_reduced_once(clean_environment):
    """What data parallelism sends is the gradient of every parameter, and a few sums."""
    sent = communication(check(clean_environment, *MLP, "--host_devices=4"))
    assert set(sent) == {("all-reduce", "data")}
    assert PARAMETERS <= sent["all-reduce", "data"][1] <= PARAMETERS + 200


def test_fsdp_splits_the_state_and_gathers_parameters(clean_environment):
    whole = check(clean_environment, *MLP, "--host_devices=4")
    split = check(clean_environment, *MLP, "--host_devices=4", "--config.parallel.fsdp=2")
    assert "mesh (data 2, fsdp 2)" in split
    for name in ("parameters", "optimizer state"):
        assert kind(split, name) / kind(whole, name) == pytest.approx(0.5, abs=0.01)
    gathered = communication(split)["all-gather", "fsdp"][1]
    assert 0.9 * PARAMETERS <= gathered <= 2.2 * PARAMETERS  # once or twice: forwards, and backwards again
    assert any(axis in ("data", "data and fsdp") for _, axis in communication(split))


def test_pmap_is_compiled_too_and_said(clean_environment):
    out = check(clean_environment, *MLP, "--host_devices=4", "--config.parallel.mode=pmap")
    assert "config.parallel.mode='pmap': what follows is the same step under jit" in out


def test_a_streamed_set_arrives_as_batches(clean_environment):
    out = check(clean_environment, *MLP, "--host_devices=2", "--config.data.resident=never", "--config.batch_size=64")
    assert "streamed" in out
    assert kind(out, "batch") == pytest.approx(32 * (64 + 4), rel=0.01)  # 32 images of 8x8 bytes and int32 labels


def test_batches_must_divide(clean_environment):
    out = check(clean_environment, *MLP, "--host_devices=3", code=2)
    assert (
        "does not divide over 3 devices (64 = 21 x 3 + 1); add --config.batch_size=66 or --config.batch_size=63" in out
    )


# TPUs that are not here -------------------------------------------------------------------------------------------


@needs_libtpu
def test_pods_are_compared(clean_environment):
    out = check(clean_environment, *MLP, "--topology=v5e:2x2,v5e:4x4")
    assert "compiled for v5e:2x2: 4 x TPU v5 lite, mesh (data 4, fsdp 1)" in out
    assert "compiled for v5e:4x4: 16 x TPU v5 lite on 4 hosts, mesh (data 16, fsdp 1)" in out
    assert out.count("of 16.00 GiB (published for TPU v5e)") == 2
    assert PARAMETERS <= communication(out)["all-reduce", "data"][1] <= PARAMETERS + 200
    assert out.count("roofline of a step on TPU v5e") == out.count("\n  MFU") == 2
    rows = re.findall(r"^  (v5e:\dx\d) +(\d+) +(\d+) .* (\d+) %$", out, re.M)
    assert [row[:3] for row in rows] == [("v5e:2x2", "4", "16"), ("v5e:4x4", "16", "4")]
    assert rows[0][3] == "100" and 0 < int(rows[1][3]) <= 100
    assert "WARNING" not in out and "Traceback" not in out


@needs_libtpu
def test_a_pod_with_fsdp_and_another_generation(clean_environment):
    out = check(clean_environment, *MLP, "--topology=v4:2x2x1", "--config.parallel.fsdp=4")
    assert "4 x TPU v4, mesh (data 1, fsdp 4)" in out  # a chip of two cores is one device, as on such a machine
    assert ("all-gather", "fsdp") in communication(out)


@needs_libtpu
def test_what_does_not_fit_is_said(clean_environment):
    flags = ("--config=configs/rl/dqn.py", "--config.batch_size=4194304", "--topology=v5e:2x2")
    out = check(clean_environment, *flags, code=1)
    assert "IT DOES NOT FIT. The compiler says:" in out and "rows of the state" in out and "config.remat=True" in out


@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "words"),
    [
        ("v5r:4x4", "no TPU generation; did you mean 'v5"),
        ("v5e:5x7", "v5e is not built as 5x7"),
        ("v5litepod-16", "an accelerator type"),
        ("v5e:16x16", "does not divide over 256 devices (64 = 0 x 256 + 64); add --config.batch_size=256"),
    ],
)
def test_wrong_topologies(topology, words, clean_environment):
    out = check(clean_environment, *MLP, f"--topology={topology}", code=2)
    assert words in out and "Traceback" not in out
