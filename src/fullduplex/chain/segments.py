"""A run of middleware that is nothing but hooks, taken as two lists: in and out.

Nested calls would have to run in one place; of two lists a segment runs on the loop what does not block, and the rest
in one hop. What happens on an exception or an early response is what the nesting would do:

- an exception in the hook of middleware *i* becomes a response there, and passes the response hooks of those outside;
- an early response of ``process_request`` passes those from *i* itself;
- what comes from the core passes all.

The same segment runs in a thread from its first hook to its last for a sync view (:meth:`Segment.run`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from asgiref.sync import iscoroutinefunction
from django.core.handlers import exception
from django.http import HttpRequest
from django.utils.log import log_response

from fullduplex.chain.core import Core, Hook, Passage, after_last_foreign, hook_of, is_async
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.threads.context import hop


class Inner(Protocol):
    """The middleware below a segment, on the loop and in a thread."""

    async def __call__(self, request: HttpRequest) -> Any: ...

    def run(self, request: HttpRequest) -> Any: ...


class Segment:
    """A run of middleware that is nothing but hooks, and what is inside it.

    Args:
        inner: the middleware below it; None where the core is.

    Attributes:
        is_outermost: nothing is around it: with the response hooks the request is over, but for logging it.
    """

    def __init__(self, core: Core, inner: Inner | None) -> None:
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
                self.hooks_in.append(hook_of(layer, middleware, "process_request"))
            if hasattr(middleware, "process_response"):
                self.hooks_out.insert(0, hook_of(layer, middleware, "process_response"))
        self._count = len(self.middleware)
        self._last_foreign_in = after_last_foreign(self.hooks_in)
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
        return self._out_in_thread(passage)

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
        return self._out_in_thread(passage)

    def render(self, passage: Passage) -> Any:
        """Render a template response, in a thread, and go out."""
        try:
            self.core.render(passage)
        except Exception as error:
            self._convert(passage, error)
        return self._out_in_thread(passage)

    def _convert(self, passage: Passage, error: Exception) -> None:
        """Make a response of ``error``, in a thread; an error in doing so is the business of the next layer outside."""
        while True:
            if isinstance(error, ThreadsExhausted) or passage.depth < 0:
                raise error
            try:
                raise error
            except Exception:
                try:
                    passage.response = exception.response_for_exception(passage.request, error)
                    return
                except Exception as failure:
                    error = failure
                    passage.depth -= 1

    def _out_in_thread(self, passage: Passage) -> Any:
        while not self._way_out(passage, True):
            pass
        if self.is_outermost and getattr(passage.response, "status_code", 0) >= 400:
            log_error(passage.request, passage.response)
        return passage.response

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
                if not is_async(passage.view):
                    break  # the hook and the view share a hop
                stop = max(core.last_blocking, passage.view_position + 1)
                await hop(core.view_in, passage, stop, True)
                if passage.response is not None:
                    break
        if passage.response is None:
            view = passage.atomic_view = handler.make_view_atomic(passage.view)
            if not is_async(view) or passage.view_position < len(core.view_hooks):
                await hop(self.run, passage.request, passage, over=self._over(passage))
                return True
            try:
                passage.response = await view(passage.request, *passage.args, **passage.kwargs)
            except Exception as error:
                await self._fail(passage, error, True)
                return True
        core.check(passage)
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
            await hop(self.render, passage, over=self._over(passage))
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
        return await hop(self.fail, passage, error, by_view, over=self._over(passage))

    def _over(self, passage: Passage) -> Callable[[Any], bool] | None:
        """For the hop that ends the segment: whether the request needs its thread after it."""
        return partial(self.core.handler.needs_no_thread, passage.request) if self.is_outermost else None

    async def _out_async(self, passage: Passage) -> Any:
        try:
            if self._way_out(passage, False):
                return passage.response
        except Exception as error:
            return await self._fail(passage, error, False)
        return await hop(self._out_in_thread, passage, over=self._over(passage))


class Below:
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


def log_error(request: HttpRequest, response: Any) -> None:
    reason = getattr(request, "fullduplex_refusal", None)
    phrase = f"{response.reason_phrase} ({reason})" if reason else response.reason_phrase
    log_response("%s: %s", phrase, request.path, response=response, request=request)
