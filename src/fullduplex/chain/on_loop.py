"""A segment on the event loop: its hooks run there where they do not block, and the rest in one hop.

Not compiled, as no coroutine is that stands between a server and a view: call graphs see through Python's own only.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from fullduplex.chain.core import Passage, is_async
from fullduplex.chain.segments import Segment
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.threads.hop import hop


class OnLoop:
    """The way of a request through a segment and what is inside it."""

    __slots__ = ("segment",)

    def __init__(self, segment: Segment) -> None:
        self.segment = segment

    async def __call__(self, request: HttpRequest) -> Any:
        segment = self.segment
        passage = Passage(request, segment.count)
        try:
            while not segment.way_in(passage, len(segment.hooks_in), False):
                stop = max(segment.last_foreign_in, passage.position + 1)
                if segment.core.last_blocking and segment.last_foreign_in:
                    stop = len(segment.hooks_in)
                await hop(segment.in_and_view_in, passage, stop)
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
        segment = self.segment
        core, handler = segment.core, segment.core.handler
        if segment.inner is not None:
            passage.depth = segment.count - 1
            passage.response = await segment.inner(passage.request)
            passage.depth = segment.count
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
                await hop(segment.run, passage.request, passage, over=segment.over(passage))
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
        core, request = self.segment.core, passage.request
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
        segment = self.segment
        core = segment.core
        if not core.has_async_hooks and not iscoroutinefunction(passage.response.render):
            await hop(segment.render, passage, over=segment.over(passage))
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
        segment = self.segment
        if isinstance(error, ThreadsExhausted):
            raise error
        return await hop(segment.fail, passage, error, by_view, over=segment.over(passage))

    async def _out_async(self, passage: Passage) -> Any:
        segment = self.segment
        try:
            if segment.way_out(passage, False):
                return passage.response
        except Exception as error:
            return await self._fail(passage, error, False)
        return await hop(segment.out_in_thread, passage, over=segment.over(passage))


class Below:
    """What a mixin has as ``get_response``: the part of its segment that is inside it.

    The hooks are run without it; it is there for a hook that calls it.
    """

    def __init__(self, segment: Segment, position: int) -> None:
        below = Segment(segment.core, segment.inner)
        below.middleware = segment.middleware[len(segment.middleware) - position :]
        below.middleware.reverse()
        below.finish()
        self._segment = OnLoop(below)

    async def __call__(self, request: HttpRequest) -> Any:
        return await self._segment(request)
