"""Whether a function of Django's is the one that Django shipped, or somebody has put another in its place.

Packages patch Django before we are imported, and what they put there looks like the original: ``functools.wraps``
copies names, and a proxy forwards what it is asked for. So what counts is the code: compiled from Django's own file, as
the function of that name.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any


def is_original(function: Any, module: str, qualname: str) -> bool:
    """Return whether ``function`` is what the source of ``module`` defines as ``qualname``."""
    if type(function) is not FunctionType:
        return False
    code = function.__code__
    return code.co_qualname == qualname and code.co_filename == getattr(sys.modules.get(module), "__file__", None)
