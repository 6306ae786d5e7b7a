"""``python -m bench.load.probe PORT PATH``: somebody who asks for a page all the time, in a process of its own.

Whenever a line comes in, prints in one line how many milliseconds each answer has taken since the last one; ends with
the input.
"""

from __future__ import annotations

import http.client
import select
import sys
import time

PAUSE_S = 0.002
TIMEOUT_S = 120.0


def main() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=TIMEOUT_S)
    times_ms: list[float] = []
    while True:
        if select.select([sys.stdin], [], [], PAUSE_S)[0]:
            if not sys.stdin.readline():
                return
            print(*(f"{time_ms:.3f}" for time_ms in times_ms), flush=True)
            times_ms.clear()
        began_s = time.perf_counter()
        connection.request("GET", sys.argv[2])
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            sys.exit(f"status {response.status}")
        times_ms.append((time.perf_counter() - began_s) * 1e3)


if __name__ == "__main__":
    main()
