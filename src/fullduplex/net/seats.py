"""The seats of clients: how many connections one worker has, whatever they do with them."""

from __future__ import annotations

# Above the limit: so many hear why at the same time. They do not take the seats of those who are served, and who comes
# while all of them take their time is closed at once.
REFUSALS_COUNT = 16


class Seats:
    """Counts the descriptors of clients, each from its accept until it is closed.

    TLS handshakes and headers of proxies that are not complete have seats, too. Beyond the limit there are a few more
    to be refused in: telling a client may take a handshake, and time to arrive.

    Args:
        most_count: how many there are; 0 without end.

    Attributes:
        accepted_count: who has come so far, to be served or not.
        unserved_count: of them, those who came when all seats were taken.
    """

    def __init__(self, most_count: int) -> None:
        self.most_count = most_count
        self._served_count = 0
        self._refused_count = 0
        self.accepted_count = 0
        self.unserved_count = 0

    @property
    def taken_count(self) -> int:
        return self._served_count + self._refused_count

    def take(self) -> bool | None:
        """Take a seat: True to be served, False to be refused, None when there is none at all."""
        self.accepted_count += 1
        if self._served_count < self.most_count or not self.most_count:
            self._served_count += 1
            return True
        self.unserved_count += 1
        if self._refused_count < REFUSALS_COUNT:
            self._refused_count += 1
            return False
        return None

    def leave(self) -> None:
        """Give up the seat of one who was to be served."""
        self._served_count -= 1

    def leave_refused(self) -> None:
        """Give up the seat of one who was refused."""
        self._refused_count -= 1
