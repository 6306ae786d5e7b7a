"""The settings of the Django project, with the local layer also where one worker serves alone."""

from __future__ import annotations

from bench.django_project.settings import *  # noqa: F403 - the same settings but one

CHANNEL_LAYERS = {"default": {"BACKEND": "fullduplex.layers.local.LocalLayer"}}
