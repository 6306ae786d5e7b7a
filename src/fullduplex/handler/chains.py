"""The middleware chain, with as few thread hops as its hooks need.

::

    MIDDLEWARE = [Security, Session, …, third_party.function, …, Messages]
                  └── a segment: ──┘  └─ as Django does ─┘  └ segment ┘ ── core: resolve, process_view, view
                      a list of hooks

Middleware that is nothing but hooks (``MiddlewareMixin``) forms segments. A segment runs its hooks as two lists, in and
out, and not as nested calls; so it can run on the loop what does not block, and the rest of a list
in one hop. What happens on an exception or an early response is what the nesting would do:

- an exception in the hook of middleware *i* becomes a response there, and passes the response hooks of those outside;
- an early response of ``process_request`` passes those from *i* itself;
- what comes from the core passes all.

The same segment runs in a thread from its first hook to its last for a sync view (:meth:`Segment.run`). Other
middleware is adapted as Django adapts it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.core.handlers.exception import convert_exception_to_response, response_for_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.log import log_response
from django.utils.module_loading import import_string

from fullduplex.exceptions import ThreadsExhausted
from fullduplex.handler.hints import Hints
from fullduplex.handler.hooks import Blocks, always, blocks, is_mixin
from fullduplex.handler.threads import hop

logger = logging.getLogger("django.request")

_CORE_HOOKS = ("process_view", "process_template_response", "process_exception")
_IN_SYNC_CHAIN = "_fullduplex_sync"  # set on a request that is in the sync chain

GetResponse = Callable[[HttpRequest], Any]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@dataclass(slots=True)
class Hook:
    """One hook of one middleware.

    Attributes:
        layer: index of the middleware in its segment, 0 outermost.
        function: the bound method.
        blocks: tests whether it has blocking work; None: it never has.
        is_async: it is a coroutine function (``process_view``, ``process_template_response``).
    """

    layer: int
    function: Callable[..., Any]
    middleware: Any
    blocks: Blocks | None
    is_async: bool = False


class Passage:
    """One request on its way through a segment.

    Attributes:
        position: hooks of the way in that have been taken.
        view_position: view hooks that have been taken; -1: the view is not resolved.
        depth: response hooks of the layers below this one are still to run.
        response: set on the way out.
    """

    __slots__ = ("args", "depth", "kwargs", "position", "request", "response", "view", "view_position")

    def __init__(self, request: HttpRequest, depth: int) -> None:
        self.request = request
        self.depth = depth
        self.position = 0
        self.view_position = -1
        self.view: Any = None
        self.args: Any = ()
        self.kwargs: Any = {}
        self.response: Any = None


class Core:
    """What is inside all middleware: resolving, ``process_view``, the view, templates, exceptions."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.view_hooks: list[Hook] = []
        self.template_hooks: list[Hook] = []
        self.last_blocking = 0
        self.has_async_hooks = False

    def finish(self) -> None:
        """All hooks are known."""
        self.last_blocking = _after_last_foreign(self.view_hooks)
        self.has_async_hooks = any(hook.is_async for hook in self.view_hooks + self.template_hooks)

    def resolve(self, passage: Passage) -> None:
        passage.view, passage.args, passage.kwargs = self.handler.resolve_request(passage.request)
        passage.view_position = 0

    def view_in(self, passage: Passage, stop: int, in_thread: bool) -> bool:
        """Run view hooks up to ``stop``; return False when the next one needs a thread."""
        hooks = self.view_hooks
        request, view, args, kwargs = passage.request, passage.view, passage.args, passage.kwargs
        while passage.view_position < stop:
            hook = hooks[passage.view_position]
            if not in_thread and hook.blocks is not None and hook.blocks(hook.middleware, request, view, args, kwargs):
                return False
            passage.view_position += 1
            function = async_to_sync(hook.function) if hook.is_async else hook.function
            response = function(request, view, args, kwargs)
            if response:
                passage.response = response
                return True
        return True

    def run(self, passage: Passage) -> None:
        """Go on to the response, in a thread, from wherever ``passage`` is."""
        handler, request = self.handler, passage.request
        if passage.view_position < 0:
            self.resolve(passage)
        if passage.response is None:
            self.view_in(passage, len(self.view_hooks), True)
        if passage.response is None:
            view = handler.make_view_atomic(passage.view)
            if iscoroutinefunction(view):
                view = async_to_sync(view)
            try:
                passage.response = view(request, *passage.args, **passage.kwargs)
            except Exception as error:
                passage.response = handler.process_exception_by_middleware(error, request)
                if passage.response is None:
                    raise
        handler.check_response(passage.response, passage.view)
        if hasattr(passage.response, "render") and callable(passage.response.render):
            self.render(passage)

    def render(self, passage: Passage) -> None:
        """Pass a template response through its hooks and render it, in a thread."""
        request = passage.request
        for hook in self.template_hooks:
            function = async_to_sync(hook.function) if hook.is_async else hook.function
            passage.response = function(request, passage.response)
            self.check_template_response(passage, hook)
        try:
            render = passage.response.render
            passage.response = async_to_sync(render)() if iscoroutinefunction(render) else render()
        except Exception as error:
            passage.response = self.handler.process_exception_by_middleware(error, request)
            if passage.response is None:
                raise

    def check_template_response(self, passage: Passage, hook: Hook) -> None:
        name = f"{type(hook.middleware).__name__}.process_template_response"
        self.handler.check_response(passage.response, hook.function, name=name)

    def fail(self, passage: Passage, error: Exception) -> None:
        """The view raised ``error``: let the exception hooks answer, in a thread; without an answer it is raised."""
        try:
            raise error
        except Exception:
            passage.response = self.handler.process_exception_by_middleware(error, passage.request)
            if passage.response is None:
                raise
        self.handler.check_response(passage.response, passage.view)
        if hasattr(passage.response, "render") and callable(passage.response.render):
            self.render(passage)


class Segment:
    """A run of middleware that is nothing but hooks, and what is inside it.

    Args:
        inner: the middleware below it; None where the core is.

    Attributes:
        is_outermost: nothing is around it: with the response hooks the request is over, but for logging it.
    """

    def __init__(self, core: Core, inner: Adapted | None) -> None:
        self.core = core
        self.inner = inner
        self.is_outermost = False
        self.middleware: list[Any] = []  # innermost first, until finish()
        self.hooks_in: list[Hook] = []
        self.hooks_out: list[Hook] = []

    def finish(self) -> None:
        self.middleware.reverse()
        for layer, middleware in enumerate(self.middleware):
            if hasattr(middleware, "process_request"):
                self.hooks_in.append(_hook(layer, middleware, "process_request"))
            if hasattr(middleware, "process_response"):
                self.hooks_out.insert(0, _hook(layer, middleware, "process_response"))
        self._count = len(self.middleware)
        self._last_foreign_in = _after_last_foreign(self.hooks_in)
        # The hook of the way out that comes first for a given depth.
        self._out_from = [
            next((at for at, hook in enumerate(self.hooks_out) if hook.layer < depth), len(self.hooks_out))
            for depth in range(self._count + 1)
        ]

    # In a thread -----------------------------------------------------------------------------

    def run(self, request: HttpRequest, passage: Passage | None = None) -> Any:
        """Run the segment and what is inside it, in a thread, from wherever ``passage`` is; return the response."""
        if passage is None:
            passage = Passage(request, self._count)
        try:
            if passage.response is None:
                self._in(passage, len(self.hooks_in), True)
            if passage.response is None or passage.view_position >= 0:
                self._inside(passage)
        except Exception as error:
            self._convert(passage, error)
        self._out_in_thread(passage)
        return passage.response

    def _inside(self, passage: Passage) -> None:
        if self.inner is None:
            self.core.run(passage)
        else:
            passage.depth = self._count - 1  # what comes out raised has passed the handler of its own layer
            passage.response = self.inner.run(passage.request)
            passage.depth = self._count

    def fail(self, passage: Passage, error: Exception, by_view: bool) -> Any:
        """Answer an exception, in a thread, and go out."""
        try:
            if not by_view:
                raise error
            self.core.fail(passage, error)
        except Exception as unanswered:
            self._convert(passage, unanswered)
        self._out_in_thread(passage)
        return passage.response

    def render(self, passage: Passage) -> Any:
        """Render a template response, in a thread, and go out."""
        try:
            self.core.render(passage)
        except Exception as error:
            self._convert(passage, error)
        self._out_in_thread(passage)
        return passage.response

    def _convert(self, passage: Passage, error: Exception) -> None:
        """Make a response of ``error``, in a thread; an error in doing so is the business of the next layer outside."""
        while True:
            if isinstance(error, ThreadsExhausted) or passage.depth < 0:
                raise error
            try:
                raise error
            except Exception:
                try:
                    passage.response = response_for_exception(passage.request, error)
                    return
                except Exception as failure:
                    error = failure
                    passage.depth -= 1

    def _out_in_thread(self, passage: Passage) -> None:
        while not self._way_out(passage, True):
            pass
        if self.is_outermost and getattr(passage.response, "status_code", 0) >= 400:
            _log(passage.request, passage.response)

    # In either place -------------------------------------------------------------------------

    def _in(self, passage: Passage, stop: int, in_thread: bool) -> bool:
        """Run hooks of the way in up to ``stop``; return False when the next one needs a thread."""
        hooks = self.hooks_in
        request = passage.request
        while passage.position < stop:
            hook = hooks[passage.position]
            if not in_thread and hook.blocks is not None and hook.blocks(hook.middleware, request):
                return False
            passage.position += 1
            passage.depth = hook.layer
            response = hook.function(request)
            if response:
                passage.response = response
                passage.depth = hook.layer + 1
                return True
        passage.depth = self._count
        return True

    def _in_and_view_in(self, passage: Passage, stop: int) -> None:
        """One hop for the blocking hooks before the view: those of ``process_request``, then of ``process_view``."""
        self._in(passage, stop, True)
        core = self.core
        if self.inner is None and passage.response is None and stop == len(self.hooks_in) and core.last_blocking:
            core.resolve(passage)
            core.view_in(passage, core.last_blocking, True)

    def _way_out(self, passage: Passage, in_thread: bool) -> bool:
        """Run response hooks; return False when the next one needs a thread, or an error was answered in one."""
        hooks = self.hooks_out
        request = passage.request
        at = self._out_from[passage.depth]
        count = len(hooks)
        try:
            while at < count:
                hook = hooks[at]
                if (
                    not in_thread
                    and hook.blocks is not None
                    and hook.blocks(hook.middleware, request, passage.response)
                ):
                    return False
                at += 1
                passage.depth = hook.layer
                passage.response = hook.function(request, passage.response)
        except Exception as error:
            if not in_thread:
                raise
            self._convert(passage, error)
            return False
        passage.depth = 0
        return True

    # On the loop -----------------------------------------------------------------------------

    async def __call__(self, request: HttpRequest) -> Any:
        passage = Passage(request, self._count)
        try:
            while not self._in(passage, len(self.hooks_in), False):
                stop = max(self._last_foreign_in, passage.position + 1)
                if self.core.last_blocking and self._last_foreign_in:
                    stop = len(self.hooks_in)
                await hop(self._in_and_view_in, passage, stop)
                if passage.response is not None:
                    break
            if passage.response is None or passage.view_position >= 0:
                done = await self._inside_async(passage)
                if done:
                    return passage.response
        except Exception as error:
            return await self._fail(passage, error, False)
        return await self._out_async(passage)

    async def _inside_async(self, passage: Passage) -> bool:
        """Get the response from the inside; return True when it has come all the way out already."""
        core, handler = self.core, self.core.handler
        if self.inner is not None:
            passage.depth = self._count - 1
            passage.response = await self.inner(passage.request)
            passage.depth = self._count
            return False
        if passage.view_position < 0:
            core.resolve(passage)
        if core.has_async_hooks:
            await self._view_in_async(passage)
        elif passage.response is None:
            while not core.view_in(passage, len(core.view_hooks), False):
                if not iscoroutinefunction(passage.view):
                    break  # the hook and the view share a hop
                stop = max(core.last_blocking, passage.view_position + 1)
                await hop(core.view_in, passage, stop, True)
                if passage.response is not None:
                    break
        if passage.response is None:
            view = handler.make_view_atomic(passage.view)
            if not iscoroutinefunction(view) or passage.view_position < len(core.view_hooks):
                await hop(self.run, passage.request, passage, last=self.is_outermost)
                return True
            try:
                passage.response = await view(passage.request, *passage.args, **passage.kwargs)
            except Exception as error:
                await self._fail(passage, error, True)
                return True
        handler.check_response(passage.response, passage.view)
        if hasattr(passage.response, "render") and callable(passage.response.render):
            return await self._render(passage)
        return False

    async def _view_in_async(self, passage: Passage) -> None:
        """Run view hooks of which some are async, as Django does."""
        core, request = self.core, passage.request
        args = (request, passage.view, passage.args, passage.kwargs)
        for hook in core.view_hooks[passage.view_position :]:
            if passage.response:
                return
            passage.view_position += 1
            if hook.is_async:
                passage.response = await hook.function(*args)
            elif hook.blocks is None or not hook.blocks(hook.middleware, *args):
                passage.response = hook.function(*args)
            else:
                passage.response = await hop(hook.function, *args)
            passage.response = passage.response or None

    async def _render(self, passage: Passage) -> bool:
        core = self.core
        if not core.has_async_hooks and not iscoroutinefunction(passage.response.render):
            await hop(self.render, passage, last=self.is_outermost)
            return True
        for hook in core.template_hooks:
            call = hook.function(passage.request, passage.response) if hook.is_async else None
            passage.response = await (call or hop(hook.function, passage.request, passage.response))
            core.check_template_response(passage, hook)
        try:
            render = passage.response.render
            passage.response = await (render() if iscoroutinefunction(render) else hop(render))
        except Exception as error:
            answer = core.handler.process_exception_by_middleware
            passage.response = await hop(answer, error, passage.request)
            if passage.response is None:
                raise
        return False

    async def _fail(self, passage: Passage, error: Exception, by_view: bool) -> Any:
        if isinstance(error, ThreadsExhausted):
            raise error
        return await hop(self.fail, passage, error, by_view)

    async def _out_async(self, passage: Passage) -> Any:
        try:
            if self._way_out(passage, False):
                return passage.response
        except Exception as error:
            return await self._fail(passage, error, False)
        await hop(self._out_in_thread, passage)
        return passage.response


class Adapted:
    """Middleware that is more than hooks: Django's own way, async and, for sync views, sync.

    Middleware that is only sync serves both with one instance. Of middleware that is both, the sync instance is
    one of its own, made when the first sync view is asked for.

    Attributes:
        can_sync: it may stand in the sync chain: it is sync, and hooks of its other instance would not miss it.
    """

    def __init__(self, handler: Any, path: str, inner: Segment) -> None:
        self._handler = handler
        self._path = path
        self._factory = import_string(path)
        self._inner = inner
        self._sync: GetResponse | None = None
        self._call: AsyncGetResponse | None = None
        self.is_async = bool(getattr(self._factory, "async_capable", False))
        self.can_sync = bool(getattr(self._factory, "sync_capable", True))
        if not self.can_sync and not self.is_async:
            raise RuntimeError(f"Middleware {path} must have at least one of sync_capable/async_capable set to True.")

    def __str__(self) -> str:
        return self._path

    def build(self) -> Any:
        """Make the instance for async requests and return it.

        Raises:
            MiddlewareNotUsed: it does not want to be used.
        """
        inner = self._inner

        async def get_response(request: HttpRequest) -> Any:
            return await inner(request)

        adapt = self._handler.adapt_method_mode
        name = f"middleware {self._path}"
        below = adapt(self.is_async, get_response, True, debug=settings.DEBUG, name=name)
        middleware = self._factory(below if self.is_async else self._either_way(below))
        if middleware is None:
            raise ImproperlyConfigured(f"Middleware factory {self._path} returned None.")
        handler = convert_exception_to_response(middleware)
        self._call = adapt(True, handler, self.is_async)
        if not self.is_async:
            self._sync = handler
        elif any(hasattr(middleware, hook) for hook in _CORE_HOOKS):
            self.can_sync = False
        return middleware

    def _either_way(self, below: GetResponse) -> GetResponse:
        def get_response(request: HttpRequest) -> Any:
            if getattr(request, _IN_SYNC_CHAIN, False):
                return self._inner.run(request)
            return below(request)

        return get_response

    async def __call__(self, request: HttpRequest) -> Any:
        assert self._call is not None
        return await self._call(request)

    def run(self, request: HttpRequest) -> Any:
        """Run it in a thread, with a sync instance."""
        if self._sync is None:
            self._sync = self._build_sync()
        return self._sync(request)

    def _build_sync(self) -> GetResponse:
        def get_response(request: HttpRequest) -> Any:
            return self._inner.run(request)

        try:
            middleware = self._factory(get_response)
        except MiddlewareNotUsed:
            return get_response
        sync: GetResponse = self._handler.adapt_method_mode(False, convert_exception_to_response(middleware))
        return sync


class Chain:
    """The whole stack of ``settings.MIDDLEWARE``."""

    def __init__(self, handler: Any) -> None:
        self.core = Core(handler)
        self.hints = Hints()
        self.adapted: list[Adapted] = []
        self.segments: list[Segment] = []
        self.exception_hooks: list[Any] = []
        self._handler = handler
        self._build()

    def _build(self) -> None:
        segment = Segment(self.core, None)
        for path in reversed(settings.MIDDLEWARE):
            factory = import_string(path)
            try:
                middleware = self._build_one(path, factory, segment)
            except MiddlewareNotUsed as error:
                if settings.DEBUG:
                    if str(error):
                        logger.debug("MiddlewareNotUsed(%r): %s", path, error)
                    else:
                        logger.debug("MiddlewareNotUsed: %r", path)
                continue
            if not isinstance(middleware, Adapted):
                segment.middleware.append(middleware)
                self._note_core_hooks(middleware)
                continue
            self._close(segment)
            self.adapted.insert(0, middleware)
            segment = Segment(self.core, middleware)
        self._close(segment)
        self.core.finish()
        segment.is_outermost = True
        self.outermost = segment
        # Without a foreign hook before it a sync view takes one hop from the loop too, and no hint is needed.
        self.needs_hint = bool(self.adapted) or any(hook.blocks is always for hook in segment.hooks_in)
        self.can_sync = all(middleware.can_sync for middleware in self.adapted)

    def _build_one(self, path: str, factory: Any, inside: Segment) -> Any:
        if is_mixin(factory):
            position = len(inside.middleware)

            async def get_response(request: HttpRequest) -> Any:
                return await _Below(inside, position)(request)

            return factory(get_response)
        adapted = Adapted(self._handler, path, inside)
        self._note_core_hooks(adapted.build())
        return adapted

    def _close(self, segment: Segment) -> None:
        segment.finish()
        self.segments.insert(0, segment)

    def _note_core_hooks(self, middleware: Any) -> None:
        core = self.core
        if hasattr(middleware, "process_view"):
            core.view_hooks.insert(0, _hook(0, middleware, "process_view"))
        if hasattr(middleware, "process_template_response"):
            core.template_hooks.append(_hook(0, middleware, "process_template_response"))
        if hasattr(middleware, "process_exception"):
            self.exception_hooks.append(self._handler.adapt_method_mode(False, middleware.process_exception))

    async def __call__(self, request: HttpRequest) -> Any:
        if self._takes_sync_chain(request):
            return await hop(self._run, request, last=True)
        response = await self.outermost(request)
        if response.status_code >= 400 and not getattr(response, "_has_been_logged", False):
            await hop(_log, request, response)
        return response

    def _run(self, request: HttpRequest) -> Any:
        """The sync chain."""
        setattr(request, _IN_SYNC_CHAIN, True)
        return self.outermost.run(request)

    def _takes_sync_chain(self, request: HttpRequest) -> bool:
        if not (self.needs_hint and self.can_sync) or hasattr(request, "fullduplex_handshake"):
            return False
        return self.hints.is_async(request) is False


class _Below:
    """What a mixin has as ``get_response``: the part of its segment that is inside it.

    The hooks are run without it; it is there for a hook that calls it.
    """

    def __init__(self, segment: Segment, position: int) -> None:
        below = Segment(segment.core, segment.inner)
        below.middleware = segment.middleware[len(segment.middleware) - position :]
        below.middleware.reverse()
        below.finish()
        self._segment = below

    async def __call__(self, request: HttpRequest) -> Any:
        return await self._segment(request)


def _log(request: HttpRequest, response: Any) -> None:
    log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)


def _hook(layer: int, middleware: Any, name: str) -> Hook:
    function = getattr(middleware, name)
    return Hook(layer, function, middleware, blocks(middleware, name), iscoroutinefunction(function))


def _after_last_foreign(hooks: list[Hook]) -> int:
    return max((at + 1 for at, hook in enumerate(hooks) if hook.blocks is always), default=0)
