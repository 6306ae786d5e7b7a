"""From ``module:attribute`` to an ASGI application."""

from __future__ import annotations

import importlib
import os
import sys
from typing import cast

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.asgi import Application


def load_application(path: str, app_dir: str) -> Application:
    """Import an application.

    Raises:
        ConfigurationError: the path is malformed, or names nothing that exists and can be called. An
            error inside the module itself is not hidden: it comes out with its own traceback.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigurationError(f'"{path}" is not of the form module:attribute, such as mysite.asgi:application.')
    sys.path.insert(0, os.path.abspath(app_dir or "."))
    try:
        value = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(
            f'Cannot import "{module_name}": no module named "{error.name}" in {sys.path[0]}. '
            "Start the server in the project's directory, or name it with --app-dir."
        ) from None
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise ConfigurationError(f'"{module_name}" has no attribute "{attribute}".') from None
    if not callable(value):
        raise ConfigurationError(f'"{path}" is not an ASGI application: it cannot be called.')
    return cast(Application, value)
