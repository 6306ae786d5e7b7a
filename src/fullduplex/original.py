"""Whether a function of Django or asgiref is the one that was shipped, or somebody has put another in its place.

Packages patch Django before we are imported and later, and what they put there looks like the original:
``functools.wraps`` copies names, a proxy forwards what it is asked for, and some replace the code inside the function.
So what counts is the code: it must equal what the module's own file compiles to, under that name.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any


def is_original(function: Any, module: str, qualname: str) -> bool:
    """Return whether ``function`` is what the source of ``module`` defines as ``qualname``, as it stands now."""
    return type(function) is FunctionType and function.__code__ == _shipped(module).get(qualname)


@functools.cache
def _shipped(module: str) -> dict[str, CodeType]:
    """Return the code of all functions of a module, by qualified name; of a decorated one the inner one's too."""
    spec = importlib.import_module(module).__spec__
    loader: Any = spec and spec.loader
    code = loader.get_code(module) if hasattr(loader, "get_code") else None
    return {} if code is None else {inner.co_qualname: inner for inner in _inside(code)}


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)
