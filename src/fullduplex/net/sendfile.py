"""Files to the client without a detour through Python, where loop and transport can do that."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable

from fullduplex.exceptions import LocalProtocolError
from fullduplex.net.stream import Stream
from fullduplex.wire.events import Data

# By asyncio's sendfile: it tells nothing until a piece is out, so a deadline can only be set for whole
# pieces. 128 KiB in the default 30 seconds are 4 KiB/s.
PIECE_BYTES = 131_072
BLOCK_BYTES = 262_144  # read and written otherwise


class _File:
    """What asyncio asks of a file: its descriptor, and where it stands afterwards."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def seek(self, offset: int) -> int:
        return os.lseek(self._fd, offset, os.SEEK_SET)


def open_file(path: str) -> int:
    """Open a file to be sent, and return its descriptor.

    Raises:
        OSError: it cannot be opened, or is no regular file (reading a pipe would wait for its writer).
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


async def send_file(stream: Stream, fd: int, offset: int, count: int, sent: Callable[[int], None]) -> None:
    """Send a part of a file as content of the response whose head was sent before; the response goes on.

    Args:
        stream: where to.
        fd: the file, open for reading.
        offset: of the first byte.
        count: bytes to send.
        sent: called with the bytes of each piece that went out.

    Raises:
        ConnectionError: the client is gone.
        TimeoutError: it takes nothing any more.
        OSError: the file cannot be read.
        LocalProtocolError: the Content-Length leaves no room for so much, or the file ends before that.
    """
    end = offset + count
    if stream.takes_plain(count):
        offset = await _by_kernel(stream, fd, offset, end, sent)
    offset = await _by_hand(stream, fd, offset, end, sent)
    if offset < end:
        raise LocalProtocolError(f"the file ends {end - offset} bytes before the {count} that were to be sent")


async def _by_kernel(stream: Stream, fd: int, offset: int, end: int, sent: Callable[[int], None]) -> int:
    """Send as much as asyncio's ``sendfile`` can: nothing with uvloop, TLS or Windows' older loop."""
    if type(stream.loop).sendfile is asyncio.AbstractEventLoop.sendfile:
        return offset  # uvloop: spare the task that would find that out
    while offset < end:
        size = min(PIECE_BYTES, end - offset)
        try:
            progress = await _send_piece(stream, fd, offset, size)
        except RuntimeError:  # not here; NotImplementedError and SendfileNotAvailableError are RuntimeErrors, too
            break
        if not progress:
            break
        stream.sent_plain(progress)
        sent(progress)
        offset += progress
    return offset


async def _send_piece(stream: Stream, fd: int, offset: int, size: int) -> int:
    """One call of ``sendfile``, which ends when the connection does.

    asyncio lets it wait for ever when the transport closes meanwhile, and its transport trips over it; so the
    connection cancels it first.
    """
    transport = stream.transport
    if transport.is_closing():
        raise ConnectionResetError
    piece = stream.loop.create_task(
        stream.loop.sendfile(transport, _File(fd), offset, size, fallback=False)  # type: ignore[arg-type]
    )
    stream.sending = piece
    try:
        await asyncio.wait({piece}, timeout=stream.limits.stalled_write_timeout_s)
        if not piece.done():
            raise TimeoutError
        if piece.cancelled():
            raise ConnectionResetError
        return piece.result()
    finally:
        stream.sending = None
        piece.cancel()


async def _by_hand(stream: Stream, fd: int, offset: int, end: int, sent: Callable[[int], None]) -> int:
    while offset < end:
        count = min(BLOCK_BYTES, end - offset)
        data = _read_cached(fd, count, offset)
        if not data:
            data = await stream.loop.run_in_executor(None, _read_at, fd, count, offset)
        if not data:
            break
        if stream.transport.is_closing():
            raise ConnectionResetError
        stream.send(Data(data))
        sent(len(data))
        offset += len(data)
        if offset < end or stream.flow.paused:
            await stream.flow.drain()
    return offset


def _read_cached(fd: int, count: int, offset: int) -> bytes:
    """Read what the kernel has in memory; nothing where it would have to wait for a disk, or cannot tell."""
    if not hasattr(os, "RWF_NOWAIT"):  # Linux
        return b""
    buffer = bytearray(count)
    try:
        read = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except OSError:
        return b""
    return bytes(memoryview(buffer)[:read])


def _read_at(fd: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows
    return os.read(fd, count)
