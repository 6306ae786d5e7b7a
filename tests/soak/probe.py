"""``python -m tests.soak.probe PORT``: ask for a page all the time, in a process of its own, until the input ends.

Prints a line for each answer: when it was asked for (``time.time()``), seconds, status.
"""

from __future__ import annotations

import http.client
import select
import sys
import time

PAUSE_S = 0.01


def main() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=120)
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        at_s, began_s = time.time(), time.perf_counter()
        connection.request("GET", "/sync/?owner=probe")
        response = connection.getresponse()
        response.read()
        print(at_s, time.perf_counter() - began_s, response.status)


if __name__ == "__main__":
    main()
