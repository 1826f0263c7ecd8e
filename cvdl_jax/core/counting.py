"""Counts parameters and multiply-accumulates from shapes alone: nothing is computed, nothing is on a device."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def macs(fn: Callable, *args: Any) -> int:
    """Multiply-accumulates of a function's matrix products and convolutions.

    Additions, norms, softmax and whatever else is done for each element are left out, as in the tables of papers.
    Padding counts as if it were data. A transposed convolution multiplies every input with the kernel, so the zeros
    that it puts between inputs do not count. The body of a scan counts once for each of its steps, of a `cond` the
    most expensive branch, and the body of a `while`, whose steps nobody knows beforehand, once.

    Args:
        fn: traced, not run.
        *args: arrays or `jax.ShapeDtypeStruct`.

    Returns:
        The count. A floating-point operation is a multiplication or an addition, so FLOPs are twice as many.
    """
    return jaxpr_macs(jax.make_jaxpr(fn)(*args).jaxpr)


def jaxpr_macs(jaxpr: Any) -> int:
    """Multiply-accumulates of a jaxpr and of those inside it; see `macs`."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [jaxpr_macs(sub) for sub in jaxprs_in_params(equation.params)]
        choose = max if equation.primitive.name == "cond" else sum
        total += equation_macs(equation) + (loop_length(equation) * choose(inner) if inner else 0)
    return total


def loop_length(equation: Any) -> int:
    """How often the jaxprs inside an equation run: the steps of a scan, the devices of a `shard_map`, else 1."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return params["length"]
    if name == "shard_map":  # inside are the shapes of one device
        axes = params.get(
            "newly_manual_axes", params.get("manual_axes", ())
        )  # the name differs between versions of JAX
        return math.prod(params["mesh"].shape[axis] for axis in axes)
    return 1


def equation_macs(equation: Any) -> int:
    """Multiply-accumulates of a single equation, 0 for anything but a product or a convolution."""
    if equation.primitive.name == "dot_general":
        return _dot_macs(equation)
    if equation.primitive.name.startswith("dot_product_attention"):
        return _attention_macs(equation)
    return _convolution_macs(equation) if equation.primitive.name == "conv_general_dilated" else 0


def _dot_macs(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs, out = equation.invars[0].aval, equation.outvars[0].aval
    return math.prod(out.shape) * math.prod(lhs.shape[d] for d in contracted)


def _attention_macs(equation: Any) -> int:
    """Of cuDNN's fused attention of [b, n, h, d]: scores and their product with the values, twice that backwards."""
    query, key = (v.aval.shape for v in equation.invars[:2])
    return math.prod(query) * key[1] * (4 if "bwd" in equation.primitive.name else 2)


def _convolution_macs(equation: Any) -> int:
    params, (lhs, rhs) = equation.params, (v.aval for v in equation.invars)
    spec = params["dimension_numbers"].rhs_spec  # output features, input features of a group, space
    kernel, features = math.prod(rhs.shape), rhs.shape[spec[0]]
    if math.prod(params["lhs_dilation"]) > 1:
        groups = params["feature_group_count"] * params["batch_group_count"]
        return math.prod(lhs.shape) * (kernel // rhs.shape[spec[1]]) // groups
    return math.prod(equation.outvars[0].aval.shape) * (kernel // features)


def parameters(tree: Any) -> int:
    """Number of values in a tree of arrays or of `jax.ShapeDtypeStruct`."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def of_run(built: Any) -> dict[str, int | None]:
    """What `meta.json` says of a run's model.

    Args:
        built: a `build.Run`.

    Returns:
        {"parameters": of all its players, "macs": of `task.predict` for one example, None for a task without it}.
    """
    task, info = built.task, built.info
    state = abstract_state(task, info.spec)
    two = {name: jax.ShapeDtypeStruct((2, *s.shape[1:]), s.dtype) for name, s in info.spec.items()}
    count = None if task.predict is None else macs(task.predict, state, two) // 2  # statistics of one are none
    return {"parameters": parameters(state.params), "macs": count}


def abstract_state(task: Any, spec: Any) -> Any:
    """The State before the first step in shapes and dtypes, without the optimizers' part."""
    from cvdl_jax.core.task import State

    parts = jax.eval_shape(lambda batch: task.init(jax.random.key(0), batch), dict(spec))
    step = jax.ShapeDtypeStruct((), "int32")
    return State(step, parts["params"], {}, parts.get("extra", {}), parts.get("rows", {}))
