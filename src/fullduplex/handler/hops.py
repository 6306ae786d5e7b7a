"""Where a request changes threads, and because of whom: what ``manage.py explain`` tells."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.urls import ResolverMatch

from fullduplex.chain.chain import Chain
from fullduplex.chain.core import Hook
from fullduplex.chain.hooks import always
from fullduplex.chain.loading import ChainHandler
from fullduplex.handler.receivers import Foreign, caches_close, finished, started


@dataclass(frozen=True, slots=True)
class Hop:
    """One change to a thread and back.

    Attributes:
        causes: who needs it.
        remedy: what to do about it; empty where nothing is wrong with it.
        is_certain: False: only when there is work to do, e.g. a session to save.
    """

    causes: list[str]
    remedy: str = ""
    is_certain: bool = True


_HOOK_REMEDY = (
    "decorate the hook with fullduplex.non_blocking if it never blocks and uses neither thread-locals "
    "nor a database connection, or write the middleware as django.utils.decorators.sync_and_async_middleware"
)
_SYNC_REMEDY = (
    "its thread waits while the view runs; if it uses neither thread-locals nor a database connection, make it "
    "django.utils.decorators.sync_and_async_middleware"
)


def hops(handler: ChainHandler, match: ResolverMatch) -> list[Hop]:
    """Return the hops of a request to ``match``, in order; an exception costs one more."""
    chain = handler.chain
    if chain is None:
        return [Hop(["Django's own chain: each hook of each sync middleware"], "remove FAST: False from FULLDUPLEX")]
    sender = type(handler)
    found = _receivers(started, sender)
    found += _of_async_view(chain) if iscoroutinefunction(match.func) else _of_sync_view(chain)
    return found + _receivers(finished, sender)


def thread(handler: ChainHandler, match: ResolverMatch) -> str:
    """Return in words which thread a request to ``match`` has, and for how long."""
    if handler.chain is None:
        return "one for each request, from its first sync call to its end, and then none"
    last = [_name(receiver) for receiver in itertools.chain.from_iterable(finished.live(type(handler)))]
    if caches_close():
        last.append("a cache of CACHES that closes")
    first = "none before the first sync call; " if not any(hop.is_certain for hop in hops(handler, match)) else ""
    if last:
        return f"{first}kept until request_finished, for {', '.join(last)}"
    return f"{first}kept to the last sync call; a stream, and what is to be closed, keep it until request_finished"


def _receivers(foreign: Foreign, sender: type) -> list[Hop]:
    names = [_name(receiver) for receiver in foreign.live(sender)[0]]
    kind = "request_started" if foreign is started else "request_finished"
    return [Hop([f"{name} receives {kind}" for name in names], "make the receiver async")] if names else []


def _of_sync_view(chain: Chain) -> list[Hop]:
    view = Hop(["the view, which is sync, and all middleware that is not on the loop"])
    if chain.can_sync or not chain.adapted:
        return [view]
    asynchronous = [str(middleware) for middleware in chain.adapted if not middleware.can_sync]
    view = Hop(["the view, which is sync, and what has process_view"], f"async middleware: {asynchronous}")
    return [*_before(chain, []), *_adapted(chain), view, *_after(chain), *_sometimes(chain)]


def _of_async_view(chain: Chain) -> list[Hop]:
    return [*_before(chain, chain.core.view_hooks), *_adapted(chain), *_after(chain), *_sometimes(chain)]


def _before(chain: Chain, view_hooks: list[Hook]) -> list[Hop]:
    hooks = [hook for segment in chain.segments for hook in segment.hooks_in] + view_hooks
    names = [_hook_name(hook) for hook in hooks if hook.blocks is always and not hook.is_async]
    return [Hop(names, _HOOK_REMEDY)] if names else []


def _after(chain: Chain) -> list[Hop]:
    hooks = [hook for segment in reversed(chain.segments) for hook in segment.hooks_out]
    names = [_hook_name(hook) for hook in hooks if hook.blocks is always]
    return [Hop(names, _HOOK_REMEDY)] if names else []


def _sometimes(chain: Chain) -> list[Hop]:
    hooks = [hook for segment in chain.segments for hook in segment.hooks_in + segment.hooks_out]
    hooks += chain.core.view_hooks + [hook for middleware in chain.adapted for hook in middleware.hooks]
    names = [_hook_name(hook) for hook in hooks if hook.blocks is not None and hook.blocks is not always]
    return [Hop(names, is_certain=False)] if names else []


def _adapted(chain: Chain) -> list[Hop]:
    """Sync middleware, and each foreign hook of what async middleware is or wraps."""
    found = []
    for middleware in chain.adapted:
        if not middleware.is_async:
            found.append(Hop([str(middleware)], _SYNC_REMEDY))
        found += [Hop([_hook_name(hook)], _HOOK_REMEDY) for hook in middleware.hooks if hook.blocks is always]
    return found


def _hook_name(hook: Hook) -> str:
    kind = type(hook.middleware)
    return f"{kind.__module__}.{kind.__qualname__}.{hook.function.__name__}"


def _name(function: Any) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
