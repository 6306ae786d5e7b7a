from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class FullduplexConfig(AppConfig):
    name = "fullduplex"
    verbose_name = "Fullduplex"

    def ready(self) -> None:
        from fullduplex.checks import check_asgi_application, check_runserver, check_server, check_settings

        for check in (check_runserver, check_asgi_application, check_settings, check_server):
            checks.register(check, "fullduplex")
