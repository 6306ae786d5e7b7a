from __future__ import annotations

from django.apps import AppConfig


class FullduplexConfig(AppConfig):
    name = "fullduplex"
    verbose_name = "Fullduplex"
