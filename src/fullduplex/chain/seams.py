"""Where others patch what Django's middleware chain is built from and called by, and what then happens.

The rule, here and in :mod:`fullduplex.handler.seams`: where Django's original stands, our fast way. Where somebody has
put something in its place, his function is called, once, where Django would call it, with what Django would give it:
around our fast way where that is possible, else around Django's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType
from typing import Any

from django.core.handlers import base

from fullduplex.original import is_original


class Seam:
    """One function of Django's.

    Args:
        holder: the class or module that it is looked up in.
        name: of the attribute.
        module, qualname: where its source stands.
        cost: what is slower where it is patched.
    """

    __slots__ = ("cost", "holder", "name", "original")

    def __init__(self, holder: Any, name: str, module: str, qualname: str, cost: str = "") -> None:
        self.holder = holder
        self.name = name
        self.cost = cost
        function = getattr(holder, name)
        self.original = function if is_original(function, module, qualname) else None

    def __str__(self) -> str:
        place = self.holder.__name__ if not isinstance(self.holder, type) else self.holder.__qualname__
        return f"{place}.{self.name}"

    @property
    def is_patched(self) -> bool:
        """Whether something else than Django's own function stands there now."""
        return getattr(self.holder, self.name) is not self.original


def method(holder: type, name: str, cost: str = "") -> Seam:
    """A method of one of Django's classes."""
    return Seam(holder, name, holder.__module__, f"{holder.__qualname__}.{name}", cost)


_OWN_CHAIN = "the chain of middleware is Django's own: a thread hop for each hook"

LOAD_MIDDLEWARE = method(base.BaseHandler, "load_middleware", "each middleware is made twice at start-up")
GET_RESPONSE = method(base.BaseHandler, "get_response_async")
INNERMOST = method(base.BaseHandler, "_get_response_async", _OWN_CHAIN)
IMPORT_STRING = Seam(
    base,
    "import_string",
    "django.utils.module_loading",
    "import_string",
    "wrapped middleware is called as Django calls it, and a hook that is wrapped itself takes a thread hop",
)
CONVERT = Seam(
    base, "convert_exception_to_response", "django.core.handlers.exception", "convert_exception_to_response", _OWN_CHAIN
)

SEAMS = (LOAD_MIDDLEWARE, GET_RESPONSE, INNERMOST, IMPORT_STRING, CONVERT)


def needs_djangos_chain() -> bool:
    """Whether somebody stands where only Django's own chain comes by."""
    return INNERMOST.is_patched or CONVERT.is_patched


@dataclass(frozen=True, slots=True)
class Patch:
    """A seam in which somebody stands."""

    seam: Seam
    by: str

    def __str__(self) -> str:
        cost = f": {self.seam.cost}" if self.seam.cost else ""
        return f"{self.seam} is patched by {self.by}{cost}"


def who(function: Any) -> str:
    """Return the module that a function comes from, or the one of the proxy around it."""
    wrapper = getattr(function, "_self_wrapper", None)  # of wrapt
    found = wrapper if isinstance(wrapper, FunctionType) else function
    if isinstance(found, FunctionType):
        return str(found.__globals__.get("__name__", "?"))
    return type(found).__module__
