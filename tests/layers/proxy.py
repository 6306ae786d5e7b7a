"""A TCP proxy in front of a real server, which cuts, stalls, and loses answers when it is told to."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Proxy:
    """Runs on the test's event loop.

    Args:
        target_port: where the server listens on the loopback.

    Attributes:
        port: where the proxy listens.
        answered: set whenever the server has answered and :meth:`lose_answers` kept that back.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.answered = asyncio.Event()
        self._target_port = target_port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._losing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        self.flow()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Reset all connections; new ones are served."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Pass nothing on, in no direction; connections stay, and what was sent waits."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def lose_answers(self) -> None:
        """Pass requests on, and answers no more, until all connections are cut."""
        self.answered.clear()
        self._losing = True

    def stop_losing(self) -> None:
        self.cut()
        self._losing = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for task in (
            asyncio.create_task(self._pass_on(reader, far_writer, writer, answers=False)),
            asyncio.create_task(self._pass_on(far_reader, writer, far_writer, answers=True)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flowing.wait()
                if answers and self._losing:
                    self.answered.set()
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()
