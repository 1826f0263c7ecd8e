"""Compiles in a third of the time or less, for tests that run hardly anything but once.

FAST are flags of XLA: machine code without optimisation, and no fusions that it emits through MLIR (a test of an LSTM
took 35 s, not 72 s). Under them convolutions of few channels are XLA's own, too: as sums of shifted images
(`nn/conv.py`, which `tests/nn/test_conv.py` tests) they run faster and take ten times as long to compile, and nearly
all convolutions of the tests' networks have few channels (the tests of detectors took 162 s, not 72 s). So is max
pooling (`nn/pooling.py`, which `tests/nn/test_max_pooling.py` tests): of its slices the older emitters make gradients
of earlier layers that are wrong where jit splits a batch (jaxlib 0.10.2; the usual ones agree to 1e-9).
"""

import os

FAST = ("--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false")


def prepare() -> None:
    """Has this process build what compiles quickly, if its flags of XLA say so; before anything is traced."""
    if FAST[0] in os.environ.get("XLA_FLAGS", "").split():
        from cvdl_jax.nn import conv, pooling

        conv.FEW_CHANNELS = 0
        pooling.MOST_SLICES = 0
