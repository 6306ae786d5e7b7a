"""A proxy that cuts and stalls connections, as networks do."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Proxy:
    """Passes TCP on to a port of this machine.

    Attributes:
        target: that port; it may change.
        port: its own.
        passes: cleared, it passes nothing on, and closes nothing.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.passes = asyncio.Event()
        self.passes.set()
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Reset every connection: what was on its way is lost."""
        for writer in [*self._writers]:
            writer.transport.abort()

    async def stall(self, seconds: float) -> None:
        """Pass nothing on for a while. Connections of before are dead then, as behind a router that forgot them."""
        self.passes.clear()
        await asyncio.sleep(seconds)
        self.cut()
        self.passes.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(far)
            await asyncio.gather(self._pass(reader, far), self._pass(far_reader, writer))
        except OSError:
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, far):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self.passes.wait()
            writer.write(data)
            await writer.drain()
        writer.transport.abort()
