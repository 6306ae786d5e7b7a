"""``manage.py explain /some/path/``: which view, which chain, which thread hops, and what to do about them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import Resolver404, ResolverMatch, resolve

from fullduplex.handler.application import ASGIHandler
from fullduplex.handler.hops import Hop, hops, thread
from fullduplex.handler.seams import patches
from fullduplex.layers.in_force import in_force
from fullduplex.sockets.views import is_socket_view


class Command(BaseCommand):
    help = "Tells how a request to PATH is served: its view, its chain, and who makes it change threads."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", help="a path of the site, such as /articles/7/")

    def handle(self, *args: Any, path: str, **options: Any) -> None:
        path = urlsplit(path).path
        try:
            match = resolve(path if path.startswith("/") else f"/{path}")
        except Resolver404 as error:
            raise CommandError(f"No route matches {path!r}.") from error
        handler = ASGIHandler()
        found = hops(handler, match)
        patched = patches()  # by now: the settings are read, the handler is made
        certain = [hop for hop in found if hop.is_certain]
        write = self.stdout.write
        write(f"view    {match._func_path} ({_kind(match)})")
        write(f"chain   {'fullduplex' if handler.chain is not None else 'Django (FAST is off)'}")
        for patch in patched:
            write(f"seam    {patch}")
        write(f"thread  {thread(handler, match)}")
        write(f"layer   {in_force()}")
        write(f"hops    {len(certain)}")
        for number, hop in enumerate(certain, 1):
            self._explain(f"{number}.", hop)
        for hop in found:
            if not hop.is_certain:
                self._explain("one more when there is work for:", hop)

    def _explain(self, title: str, hop: Hop) -> None:
        self.stdout.write(f"  {title}")
        for cause in hop.causes:
            self.stdout.write(f"     {cause}")
        if hop.remedy:
            self.stdout.write(f"     to avoid it: {hop.remedy}")


def _kind(match: ResolverMatch) -> str:
    if is_socket_view(match.func):
        return "socket"
    return "async" if iscoroutinefunction(match.func) else "sync"
