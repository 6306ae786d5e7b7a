"""All scenarios, in the order of the report."""

from __future__ import annotations

from bench.scenario import Scenario
from bench.scenarios.async_orm import ASYNC_ORM
from bench.scenarios.django_async import DJANGO_ASYNC
from bench.scenarios.django_http import DJANGO_HTTP
from bench.scenarios.django_observed import DJANGO_OBSERVED
from bench.scenarios.django_waiting import DJANGO_WAITING
from bench.scenarios.django_websocket import DjangoHandshakes
from bench.scenarios.generators import EchoGenerator
from bench.scenarios.history import HISTORY
from bench.scenarios.http import Body, Hello
from bench.scenarios.http2 import HTTP2
from bench.scenarios.resume import Resume
from bench.scenarios.rooms import ManyRooms, Room, Room10000, SlowMember
from bench.scenarios.rooms_local import LocalRoom
from bench.scenarios.rooms_redis import ManyRedisRooms, RedisRoom, RoomMemory
from bench.scenarios.websocket import Echo, Handshakes, IdleMemory, IdleMemoryDeflate

SCENARIOS: list[type[Scenario]] = [
    Hello,
    Body,
    *HTTP2,
    Echo,
    Handshakes,
    IdleMemory,
    IdleMemoryDeflate,
    Room,
    Room10000,
    ManyRooms,
    RedisRoom,
    ManyRedisRooms,
    LocalRoom,
    RoomMemory,
    SlowMember,
    Resume,
    *DJANGO_HTTP,
    *DJANGO_ASYNC,
    *ASYNC_ORM,
    *HISTORY,
    *DJANGO_OBSERVED,
    *DJANGO_WAITING,
    DjangoHandshakes,
    EchoGenerator,
]
