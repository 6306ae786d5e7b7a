"""A run of middleware that is nothing but hooks, taken as two lists: in and out.

Nested calls would have to run in one place; of two lists a segment runs on the loop what does not block, and the rest
in one hop. What happens on an exception or an early response is what the nesting would do:

- an exception in the hook of middleware *i* becomes a response there, and passes the response hooks of those outside;
- an early response of ``process_request`` passes those from *i* itself;
- what comes from the core passes all.

The same segment runs in a thread from its first hook to its last for a sync view (:meth:`Segment.run`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from django.core.handlers import exception
from django.http import HttpRequest
from django.utils.log import log_response

from fullduplex.chain.core import Core, Hook, Passage, after_last_foreign, hook_of
from fullduplex.exceptions import ThreadsExhausted


class Inner(Protocol):
    """The middleware below a segment, on the loop and in a thread."""

    def __call__(self, request: HttpRequest) -> Awaitable[Any]: ...

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
        self.count = len(self.middleware)
        self.last_foreign_in = after_last_foreign(self.hooks_in)
        # The hook of the way out that comes first for a given depth.
        self._out_from = [
            next((at for at, hook in enumerate(self.hooks_out) if hook.layer < depth), len(self.hooks_out))
            for depth in range(self.count + 1)
        ]

    # In a thread -----------------------------------------------------------------------------

    def run(self, request: HttpRequest, passage: Passage | None = None) -> Any:
        """Run the segment and what is inside it, in a thread, from wherever ``passage`` is; return the response."""
        if passage is None:
            passage = Passage(request, self.count)
        try:
            if passage.response is None:
                self.way_in(passage, len(self.hooks_in), True)
            if passage.response is None or passage.view_position >= 0:
                self._inside(passage)
        except Exception as error:
            self._convert(passage, error)
        return self.out_in_thread(passage)

    def _inside(self, passage: Passage) -> None:
        if self.inner is None:
            self.core.run(passage)
        else:
            passage.depth = self.count - 1  # what comes out raised has passed the handler of its own layer
            passage.response = self.inner.run(passage.request)
            passage.depth = self.count

    def fail(self, passage: Passage, error: Exception, by_view: bool) -> Any:
        """Answer an exception, in a thread, and go out."""
        try:
            if not by_view:
                raise error
            self.core.fail(passage, error)
        except Exception as unanswered:
            self._convert(passage, unanswered)
        return self.out_in_thread(passage)

    def render(self, passage: Passage) -> Any:
        """Render a template response, in a thread, and go out."""
        try:
            self.core.render(passage)
        except Exception as error:
            self._convert(passage, error)
        return self.out_in_thread(passage)

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

    def out_in_thread(self, passage: Passage) -> Any:
        while not self.way_out(passage, True):
            pass
        if self.is_outermost and getattr(passage.response, "status_code", 0) >= 400:
            log_error(passage.request, passage.response)
        return passage.response

    # In either place -------------------------------------------------------------------------

    def way_in(self, passage: Passage, stop: int, in_thread: bool) -> bool:
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
        passage.depth = self.count
        return True

    def in_and_view_in(self, passage: Passage, stop: int) -> None:
        """One hop for the blocking hooks before the view: those of ``process_request``, then of ``process_view``."""
        self.way_in(passage, stop, True)
        core = self.core
        if self.inner is None and passage.response is None and stop == len(self.hooks_in) and core.last_blocking:
            core.resolve(passage)
            core.view_in(passage, core.last_blocking, True)

    def way_out(self, passage: Passage, in_thread: bool) -> bool:
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

    def over(self, passage: Passage) -> Callable[[Any], bool] | None:
        """For the hop that ends the segment: whether the request needs its thread after it."""
        return partial(self.core.handler.needs_no_thread, passage.request) if self.is_outermost else None


def log_error(request: HttpRequest, response: Any) -> None:
    reason = getattr(request, "fullduplex_refusal", None)
    phrase = f"{response.reason_phrase} ({reason})" if reason else response.reason_phrase
    log_response("%s: %s", phrase, request.path, response=response, request=request)
