from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks

from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError
from fullduplex.log_lines import enable_loggers


class FullduplexConfig(AppConfig):
    name = "fullduplex"
    verbose_name = "Fullduplex"

    def __init__(self, app_name: str, app_module: Any) -> None:
        super().__init__(app_name, app_module)
        if _wants_alias():  # before the applications that follow in INSTALLED_APPS are imported
            from fullduplex.channels.alias import install_alias

            install_alias()

    def ready(self) -> None:
        enable_loggers()
        from fullduplex import checks as ours
        from fullduplex.db.enabling import enable_async_orm
        from fullduplex.handler.checks import (
            check_connections,
            check_engine,
            check_middleware,
            check_observers,
            check_seams,
            check_threads,
        )
        from fullduplex.sockets.checks import check_handler, check_routes

        enable_async_orm()
        for check in (
            ours.check_runserver,
            ours.check_asgi_application,
            ours.check_settings,
            ours.check_history,
            ours.check_layer,
            ours.check_server,
            ours.check_channels,
            check_engine,
            check_middleware,
            check_observers,
            check_threads,
        ):
            checks.register(check, "fullduplex")
        for check in (check_routes, check_handler):
            checks.register(check, checks.Tags.urls)
        checks.register(check_connections, checks.Tags.database, deploy=True)
        checks.register(check_seams, "fullduplex", deploy=True)
        checks.register(ours.check_layer_in_force, "fullduplex", deploy=True)


def _wants_alias() -> bool:
    try:
        return get_settings().channels_alias
    except ConfigurationError:  # which the system check tells
        return False
