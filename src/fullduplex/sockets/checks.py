"""System checks of the URLconf: what would refuse every handshake, found before the first one comes."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.urls import URLPattern, URLResolver, get_resolver

from fullduplex.sockets.consumer import AsyncConsumer
from fullduplex.sockets.views import is_socket_view
from fullduplex.sockets.websocket import WebSocket


def check_routes(**kwargs: Any) -> list[CheckMessage]:
    """Consumers stand in the URLconf as views, and functions that take a socket are socket views."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    messages: list[CheckMessage] = []
    for route, view in _routes(get_resolver().url_patterns, ""):
        found = _fault(view)
        if found is not None:
            what, hint = found
            messages.append(Error(f"The route '{route}' has {what}.", hint=hint, id="fullduplex.E020"))
    return messages


def check_handler(**kwargs: Any) -> list[CheckMessage]:
    """Where there are socket routes, ``asgi.py`` does not hand out Django's own handler, which refuses sockets."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:  # runserver then takes ours; a server is given what startproject has written
        wsgi = str(getattr(settings, "WSGI_APPLICATION", None)).rpartition(".")[0]
        path = f"{wsgi.removesuffix('wsgi')}asgi.application"
    module, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if not _is_djangos(module, name) or not getattr(settings, "ROOT_URLCONF", None):
        return []
    if not any(is_socket_view(view) for _, view in _routes(get_resolver().url_patterns, "")):
        return []
    return [
        Warning(
            f"{module} makes Django's own handler, which refuses the sockets of your URLconf.",
            hint=f"Write `from fullduplex import get_asgi_application` in {module}.",
            id="fullduplex.W020",
        )
    ]


def _is_djangos(module: str, name: str) -> bool:
    """Whether ``name`` is what Django's ``get_asgi_application`` returns, as the module's source says; not imported."""
    try:
        spec = importlib.util.find_spec(module)
        source = None if spec is None or spec.loader is None else spec.loader.get_source(module)  # type: ignore[attr-defined]
        body = ast.parse(source or "").body
    except (ImportError, AttributeError, ValueError, SyntaxError):  # it says so itself when it is imported
        return False
    made, of_django = "", False
    for node in body:
        if isinstance(node, ast.ImportFrom):
            for imported in node.names:
                if (imported.asname or imported.name) == "get_asgi_application":
                    of_django = node.module == "django.core.asgi"
        elif isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == name for at in node.targets):
            made = ast.unparse(node.value)
    return of_django and made == "get_asgi_application()"


def _routes(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.callback


def _fault(view: Any) -> tuple[str, str] | None:
    """What is wrong with a route's view, and what to write instead."""
    consumer = view if inspect.isclass(view) else type(view)
    if issubclass(consumer, AsyncConsumer):
        name = consumer.__name__
        what = f"the class {name}" if consumer is view else f"an object of the class {name}"
        return f"{what}, which is no view", f"Write {name}.as_view()."
    made_of: Any = getattr(view, "consumer_class", None)
    if made_of is not None and (getattr(view, "fullduplex_asgi", False) or not is_socket_view(view)):
        name = made_of.__name__
        if hasattr(made_of, "as_view"):
            hint = f"Write {name}.as_view()."
        elif issubclass(made_of, AsyncConsumer):
            hint = "Give it to URLRouter, in the ProtocolTypeRouter of your asgi.py."
        else:
            hint = f"Import the base class of {name} from fullduplex.channels, and write {name}.as_view()."
        return f"{name}.as_asgi(), an ASGI application, and no view", hint
    if inspect.isfunction(view) and not is_socket_view(view) and _takes_socket(view):
        return f"the view {view.__qualname__}, which takes a WebSocket", "Decorate it with @fullduplex.websocket."
    return None


def _takes_socket(view: Callable[..., Any]) -> bool:
    """Whether the first parameter is annotated so; a name that cannot be resolved says nothing."""
    try:
        hints = typing.get_type_hints(view)
        first = next(iter(inspect.signature(view).parameters), "")
    except Exception:  # whatever evaluating somebody's annotations raises
        return False
    return hints.get(first) is WebSocket
