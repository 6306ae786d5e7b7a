"""The open connections of a worker."""

from __future__ import annotations

from fullduplex.net.stream import ClientConnection


class Connections(set[ClientConnection]):
    """Each adds itself when it is made, and removes itself when it is lost; in a drain nobody is left untold.

    A connection is accepted some turns of the event loop before it is made, and many with TLS. One that comes between,
    and one that goes on in HTTP/2, is a new member in the middle of the drain: told once, at its start, nobody would
    tell it, and its client would go on with it until it is cut off.
    """

    def __init__(self) -> None:
        super().__init__()
        self._grace_s: float | None = None

    def add(self, connection: ClientConnection) -> None:
        super().add(connection)
        if self._grace_s is not None:
            connection.drain(self._grace_s)

    def drain(self, grace_s: float) -> None:
        """Tell those that are here, and from here on whoever comes, that the server is going down."""
        self._grace_s = grace_s
        for connection in [*self]:
            connection.drain(grace_s)
