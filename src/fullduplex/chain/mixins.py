"""``MiddlewareMixin`` inside adapted middleware: its hooks with the thread hops that they need, and no others.

Observers put an object of theirs around each middleware, which is then more than hooks: it is called as Django would
call it, as a coroutine function. In the end it calls ``MiddlewareMixin.__acall__``, which takes a hop for each hook,
whatever the hook does. Where that is Django's own, the instance gets one that calls the same hooks in the same order,
and takes a hop for those that are foreign or have blocking work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, wraps
from types import FunctionType, MethodType
from typing import Any

from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

from fullduplex.chain.core import Hook, hook_of
from fullduplex.original import is_original
from fullduplex.threads.hop import hop

_HOOKS = ("process_request", "process_response")
_DEPTH = 4  # wrappers around wrappers; what lies deeper keeps Django's way


def quicken(middleware: Any, get_response: Any) -> Iterator[Hook]:
    """Have the mixin that ``middleware`` is or wraps take fewer hops; yield its hooks.

    Args:
        middleware: made for async requests.
        get_response: what it was made with, which leads to the middleware below.
    """
    for mixin in _mixins_in(middleware, get_response):
        if not _calls_as_django(mixin):
            continue
        before, after = (hook_of(0, mixin, name) if hasattr(mixin, name) else None for name in _HOOKS)
        hooks = [hook for hook in (before, after) if hook is not None]
        if not any(hook.is_async for hook in hooks):  # Django raises for these
            vars(mixin)["__acall__"] = MethodType(_acall(before, after), mixin)
            yield from hooks


def _calls_as_django(mixin: MiddlewareMixin) -> bool:
    function = getattr(type(mixin), "__acall__", None)
    return (
        mixin.async_mode
        and "__acall__" not in vars(mixin)
        and is_original(function, "django.utils.deprecation", "MiddlewareMixin.__acall__")
    )


def _acall(before: Hook | None, after: Hook | None) -> Callable[[Any, HttpRequest], Any]:
    """Return a method of a mixin; it has the name of Django's, which tracers record."""

    @wraps(MiddlewareMixin.__acall__)
    async def __acall__(self: Any, request: HttpRequest) -> Any:
        response = None
        if before is not None:
            if before.blocks is None or not before.blocks(self, request):
                response = before.function(request)
            else:
                response = await hop(before.function, request)
        if not response:
            response = await self.get_response(request)
        if after is None:
            return response
        if after.blocks is None or not after.blocks(self, request, response):
            return after.function(request, response)
        return await hop(after.function, request, response)

    return __acall__


def _mixins_in(middleware: Any, get_response: Any) -> Iterator[MiddlewareMixin]:
    """Yield what is found in the attributes and the closure of a wrapper, and in those of what is found there."""
    seen = {id(get_response)}
    level = [middleware]
    for _ in range(_DEPTH):
        inside: list[Any] = []
        for one in level:
            if id(one) in seen:
                continue
            seen.add(id(one))
            if issubclass(type(one), MiddlewareMixin):  # a proxy would say that it is an instance
                yield one
            else:
                inside += [part for part in _parts(one) if callable(part) and not issubclass(type(part), type)]
        level = inside


def _parts(one: Any) -> Iterator[Any]:
    kind = type(one)
    if kind is MethodType:
        yield one.__self__
    elif issubclass(kind, partial):
        yield one.func
    elif kind is FunctionType:
        for cell in one.__closure__ or ():
            with suppress(ValueError):  # not filled yet
                yield cell.cell_contents
    with suppress(Exception):  # a proxy may have nothing behind it yet
        yield getattr(one, "__wrapped__", None)  # others have it beside their attributes
    with suppress(Exception):
        yield from list(vars(one).values())
