"""Keyword arguments of a method are checked against their annotations, whoever calls it, before it computes."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from cvdl_jax.config.binding import check_value

Method = TypeVar("Method", bound=Callable[..., Any])
CHECKED = (bool, int, float, str)  # and ranges of these; arrays and functions are looked at by the methods themselves


def method(fn: Method) -> Method:
    """A method whose numbers and words are refused where its annotations do not accept them.

    Raises (when called):
        ConfigError: naming the method, the argument and what it accepts.
    """
    parameters = inspect.signature(fn).parameters
    annotated = {
        name: p.annotation
        for name, p in parameters.items()
        if p.annotation in CHECKED or hasattr(p.annotation, "__metadata__") or hasattr(p.annotation, "__args__")
    }

    @wraps(fn)
    def checked(*args: Any, **more: Any) -> Any:
        given = dict(zip(parameters, args, strict=False)) | more
        for name, value in given.items():
            if name in annotated and (value is None or isinstance(value, CHECKED)):
                check_value(value, annotated[name], f"{fn.__name__}({name})")
        return fn(*args, **more)

    return checked  # type: ignore[return-value]
