"""Training on thousands of tokens in half precision, traced as for a GPU: no array grows with their number squared.

A stand-in for cuDNN's check of its version lets a CPU trace what is compiled there; nothing is run.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn
from models_for_tests import make_model

from cvdl_jax.models import registry
from cvdl_jax.nn import attention

LENGTH = 8192


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Attention as it is traced where cuDNN is."""
    monkeypatch.setattr(attention, "fuses", lambda dtype, channels: jnp.dtype(dtype) == jnp.bfloat16)
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: capability == "9.0")


def arrays(jaxpr) -> Iterator[jax.core.ShapedArray]:
    """Every array that a traced function makes, inside of its inner functions too."""
    for equation in jaxpr.eqns:
        yield from (variable.aval for variable in equation.outvars)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from arrays(inner)


def largest(loss, params) -> int:
    """Elements of the largest array of a loss and its gradient."""
    jaxpr = jax.make_jaxpr(jax.grad(loss))(params)
    return max(array.size for array in arrays(jaxpr.jaxpr) if hasattr(array, "size"))


@pytest.mark.curriculum("J6")
@pytest.mark.parametrize("rotary", [False, True], ids=["learned", "rotary"])
@pytest.mark.usefixtures("on_a_gpu")
def test_a_decoder_does_not_hold_the_scores_of_all_pairs(rotary):
    symbols = jnp.zeros((1, LENGTH), jnp.int32)

    def elements(dtype):
        model = make_model("gpt_tiny", 13, dtype, context=LENGTH, width=64, heads=2, rotary=rotary)
        params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), symbols[:, :1])
        return largest(lambda p: model.apply(p, symbols, True)[0].sum(), params)

    assert elements("bfloat16") <= LENGTH * 4 * 64  # what the perceptron holds
    assert elements("float32") >= 2 * LENGTH**2  # and this is what it looks like where the scores are held


@pytest.mark.curriculum("J12")
@pytest.mark.usefixtures("on_a_gpu")
def test_a_translation_does_not_hold_the_scores_of_all_pairs():
    """Padded sources have lengths; the target is causal, and looks at the source."""
    symbols = jnp.ones((1, LENGTH), jnp.int32)
    section = {"name": "transformer_tiny", "width": 64, "hidden": 128, "heads": 2}
    context = {"source_symbols": 19, "target_symbols": 19}
    model = registry.create(section, "config.model", dtype="bfloat16", **context)
    params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), symbols[:, :1], symbols[:, :1])
    how = {"rngs": {"dropout": jax.random.key(1)}}
    assert largest(lambda p: model.apply(p, symbols, symbols, True, **how)[0].sum(), params) <= LENGTH * 4 * 64
