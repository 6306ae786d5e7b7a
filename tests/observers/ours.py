"""A plugin of pytest: what asks Django for its ASGI application gets ours."""

from __future__ import annotations

import django.core.asgi

from fullduplex.handler.application import ASGIHandler

django.core.asgi.ASGIHandler = ASGIHandler
