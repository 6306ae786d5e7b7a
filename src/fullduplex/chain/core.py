"""The innermost part of the chain: resolving, ``process_view``, the view, templates and exceptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from fullduplex.chain.hooks import Blocks, always, blocks, function_of

VIEW_CONTENT = "_fullduplex_content"  # of a streaming response: the async iterator that the view gave it


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


def is_async(function: Any) -> bool:
    """What ``iscoroutinefunction`` says, in one step of a plain function: a mark would stand in its ``__dict__``."""
    if type(function) is FunctionType and not function.__dict__:
        return bool(function.__code__.co_flags & CO_COROUTINE)
    return iscoroutinefunction(function)


def hook_of(layer: int, middleware: Any, name: str) -> Hook:
    function = function_of(middleware, name)
    return Hook(layer, function, middleware, blocks(middleware, name), iscoroutinefunction(function))


def after_last_foreign(hooks: list[Hook]) -> int:
    return max((at + 1 for at, hook in enumerate(hooks) if hook.blocks is always), default=0)


class Passage:
    """One request on its way through a segment.

    Attributes:
        position: hooks of the way in that have been taken.
        view_position: view hooks that have been taken; -1: the view is not resolved.
        atomic_view: as ``make_view_atomic`` returned it, which is called once.
        depth: response hooks of the layers below this one are still to run.
        response: set on the way out.
    """

    __slots__ = ("args", "atomic_view", "depth", "kwargs", "position", "request", "response", "view", "view_position")

    def __init__(self, request: HttpRequest, depth: int) -> None:
        self.request = request
        self.depth = depth
        self.position = 0
        self.view_position = -1
        self.view: Any = None
        self.atomic_view: Any = None
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
        self.last_blocking = after_last_foreign(self.view_hooks)
        self.has_async_hooks = any(hook.is_async for hook in self.view_hooks + self.template_hooks)

    def resolve(self, passage: Passage) -> None:
        match = self.handler.resolve_request(passage.request)
        # By its attributes: to unpack it takes five calls.
        passage.view, passage.args, passage.kwargs = match.func, match.args, match.kwargs
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
            view = passage.atomic_view or handler.make_view_atomic(passage.view)
            if is_async(view):
                view = async_to_sync(view)
            try:
                passage.response = view(request, *passage.args, **passage.kwargs)
            except Exception as error:
                passage.response = handler.process_exception_by_middleware(error, request)
                if passage.response is None:
                    raise
        self.check(passage)
        if hasattr(passage.response, "render") and callable(passage.response.render):
            self.render(passage)

    def check(self, passage: Passage) -> None:
        """Refuse what is no response; remember the content of a stream, which middleware may put others around."""
        response = passage.response
        if not isinstance(response, HttpResponseBase):  # else it is neither None nor a coroutine
            self.handler.check_response(response, passage.view)
        if getattr(response, "streaming", False) and response.is_async:
            setattr(response, VIEW_CONTENT, response._iterator)

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
        self.check(passage)
        if hasattr(passage.response, "render") and callable(passage.response.render):
            self.render(passage)
