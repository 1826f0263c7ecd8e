"""The one context that traced functions read besides their arguments."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core import gradients, parallel, trace_context
from cvdl_jax.core.trace_context import TraceContext
from cvdl_jax.nn import batch_norm, observe

PACKAGE = Path(trace_context.__file__).resolve().parents[1]


def values(context):
    return {field.name: getattr(context, field.name) for field in fields(context)}


def test_the_defaults_are_those_of_a_plain_call_on_one_device():
    assert values(trace_context.current()) == {
        "mesh": None, "row_identities": None, "padding_mask": None, "normalise_by_batch": False, "moments": None,
        "observer": None, "observed": False, "layer_norms": False, "opened": None, "remembered": None,
    }  # fmt: skip
    assert parallel.backend() == jax.default_backend() and parallel.row_blocks() == 1
    assert parallel.real_rows() is None and not observe.looking() and not observe.inside()
    assert gradients.layer_norms({"a": {"kernel": jnp.ones(2)}}) == {}
    tree = {"a": np.ones(3)}
    assert parallel.whole(tree) is tree and parallel.rowwise(tree) is tree


def test_nested_blocks_change_their_own_fields_and_leave_the_others():
    mask, identities = jnp.ones(2), jnp.arange(2, dtype=jnp.uint32)
    before = trace_context.current()
    with trace_context.within(padding_mask=mask) as outer:
        with trace_context.within(row_identities=identities, padding_mask=None) as inner:
            assert trace_context.current() is inner
            assert inner.padding_mask is None and inner.row_identities is identities
        assert trace_context.current() is outer
        assert outer.padding_mask is mask and outer.row_identities is None
    assert trace_context.current() is before


def test_an_exception_restores_what_was_before():
    before = trace_context.current()
    with pytest.raises(ZeroDivisionError), trace_context.within(layer_norms=True):
        raise ZeroDivisionError
    assert trace_context.current() is before


def test_names_and_values_cannot_be_mistaken():
    with pytest.raises(TypeError, match="padding_masks"), trace_context.within(padding_masks=None):
        pass
    with pytest.raises(FrozenInstanceError):
        trace_context.current().mesh = None


@pytest.mark.parametrize(
    ("setter", "field"),
    [
        (lambda: parallel.tracing_for(parallel.make_mesh()), "mesh"),
        (lambda: parallel.rows_known_by(jnp.zeros(1, jnp.uint32)), "row_identities"),
        (lambda: parallel.padded(jnp.ones(1)), "padding_mask"),
        (lambda: batch_norm.batch_statistics(), "normalise_by_batch"),
        (lambda: batch_norm.batch_statistics(collect=True), "moments"),
        (observe.observing, "observer"),
    ],
)
def test_every_helper_sets_its_field_of_this_context(setter, field):
    default = getattr(TraceContext(), field)
    with setter():
        assert getattr(trace_context.current(), field) is not default
    assert getattr(trace_context.current(), field) is default


def test_a_mesh_says_which_backend_and_how_many_devices():
    mesh = parallel.make_mesh(jax.devices()[:1])
    with parallel.tracing_for(mesh):
        assert parallel.backend() == mesh.devices.flat[0].platform and parallel.row_blocks() == 1
        tree = {"a": np.ones(3)}
        assert parallel.rowwise(tree) is tree  # nothing is stored in parts, so there is nothing to ask for


def test_a_thread_begins_with_the_defaults_and_traces_in_a_context_of_its_own():
    """Evaluations are traced in worker threads; what they need is set inside the traced function."""

    def traced(x, mask):
        with parallel.padded(mask):
            return x * parallel.real_rows()

    def job():
        seen = values(trace_context.current())
        compiled = jax.jit(traced).lower(jnp.ones(3), jnp.ones(3)).compile()
        return seen, compiled(jnp.arange(3.0), jnp.array([1.0, 1.0, 0.0])), trace_context.current().padding_mask

    with trace_context.within(layer_norms=True, padding_mask=jnp.ones(3)), ThreadPoolExecutor(1) as pool:
        seen, result, after = pool.submit(job).result()
    assert seen == values(TraceContext()) and after is None
    np.testing.assert_array_equal(result, [0, 1, 0])


def test_the_package_has_one_context_variable():
    made = [
        f"{path.relative_to(PACKAGE)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for _ in re.findall(r"ContextVar\(|threading\.local\(", path.read_text())
    ]
    assert made == ["core/trace_context.py"]
