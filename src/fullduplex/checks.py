"""System checks: what ``manage.py check`` and every command say about a project's configuration.

They run before most commands, so they import no application and no URLconf.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.management import BaseCommand, get_commands, load_command_class

from fullduplex.channels import alias
from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError, LayerNotConfigured
from fullduplex.layers import get_layer
from fullduplex.layers.in_force import in_force
from fullduplex.realtime.keeping import check_stores


def check_runserver(**kwargs: Any) -> list[CheckMessage]:
    """``runserver`` is ours, or built on ours as WhiteNoise's is; the first app in the list wins."""
    app = get_commands().get("runserver")
    if app == "fullduplex" or app is None:
        return []
    command = app if isinstance(app, BaseCommand) else load_command_class(app, "runserver")
    from fullduplex.management.commands.runserver import Command

    if isinstance(command, Command):
        return []
    name = type(command).__module__.removesuffix(".management.commands.runserver")
    return [
        Warning(
            f"runserver is the command of {name!r}, which does not serve the WebSocket routes of your URLconf.",
            hint=f"Put 'fullduplex' before {name!r} in INSTALLED_APPS, or remove {name!r}.",
            id="fullduplex.W001",
        )
    ]


def check_asgi_application(**kwargs: Any) -> list[CheckMessage]:
    """``ASGI_APPLICATION`` is the dotted path of something in a module that exists."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:
        return []
    module, dot, _ = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if dot and _exists(module):
        return []
    found = f"there is no module {module!r}" if dot else "it is not a dotted path"
    return [
        Error(
            f"ASGI_APPLICATION = {path!r} cannot be imported: {found}.",
            hint="Name the application as in 'mysite.asgi.application', or remove the setting to have the default.",
            id="fullduplex.E002",
        )
    ]


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """``FULLDUPLEX`` holds known keys with values that make sense."""
    try:
        get_settings()
    except ConfigurationError as error:
        return [Error(str(error), id="fullduplex.E001")]
    return []


def check_history(**kwargs: Any) -> list[CheckMessage]:
    """What ``FULLDUPLEX["HISTORY"]`` asks for is there: a layer that keeps messages, the app of the database's."""
    if check_settings() or check_layer():
        return []
    try:
        check_stores()
    except LayerNotConfigured:
        pass  # this process reaches no members, which is no matter here
    except ConfigurationError as error:
        return [Error(str(error), id="fullduplex.E004")]
    return []


def check_layer(**kwargs: Any) -> list[CheckMessage]:
    """``CHANNEL_LAYERS``, where it is set, describes a layer that can be made. It is not opened."""
    if not getattr(settings, "CHANNEL_LAYERS", None):
        return []
    try:
        get_layer()
    except LayerNotConfigured:
        pass  # says that this process reaches no members, which is no matter here
    except ConfigurationError as error:
        return [Error(str(error), id="fullduplex.E003")]
    return []


def check_layer_in_force(**kwargs: Any) -> list[CheckMessage]:
    """Tell which layer carries groups. For ``check --deploy``: it is nothing that anybody must do."""
    return [Info(f"Groups are carried by this layer: {in_force()}.", id="fullduplex.I001")]


def check_server(**kwargs: Any) -> list[CheckMessage]:
    """The server finds nothing wrong in its environment variables and its configuration file.

    A warning, since other commands do without the server.
    """
    from fullduplex.server.sources import load

    try:
        load({})
    except ConfigurationError as error:
        hint = "runserver, serve and the fullduplex command do not start until this is put right."
        return [Warning(str(error), hint=hint, id="fullduplex.W002")]
    return []


def check_channels(**kwargs: Any) -> list[CheckMessage]:
    """Channels is not imported beside ours by mistake: its classes and layers are others than ours."""
    found = alias.imported()
    if not found:
        return []
    return [
        Warning(
            f"{' and '.join(found)} imported beside fullduplex.channels{alias.by(alias.importers())}.",
            hint="fullduplex.channels has the same names, and `python -m fullduplex.migrate` changes the imports of "
            "the project. For packages that import Channels themselves, FULLDUPLEX = {'CHANNELS_ALIAS': True} gives "
            "them ours. Where one needs Channels itself, SILENCED_SYSTEM_CHECKS takes this warning away.",
            id="fullduplex.W003",
        )
    ]


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing; the module was made without a spec
        return False
