"""What routers and middleware call: any ASGI 3 application."""

from collections.abc import Awaitable, Callable
from typing import Any

from fullduplex.sockets.asgi import Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[Any]]
