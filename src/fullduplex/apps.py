from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from fullduplex.log_lines import enable_loggers


class FullduplexConfig(AppConfig):
    name = "fullduplex"
    verbose_name = "Fullduplex"

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
