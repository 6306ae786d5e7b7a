"""From ``module:attribute`` to an application, or to whatever else can be called."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any, cast

from fullduplex.asgi import Application
from fullduplex.exceptions import ConfigurationError


def load_application(path: str, app_dir: str) -> Application:
    """Import an application.

    Raises:
        ConfigurationError: as :func:`load_callable`; or it is a WSGI application.
    """
    application = load_callable(path, app_dir, "an ASGI application")
    if _takes(application, 2) and not _takes(application, 3):
        raise ConfigurationError(
            f'"{path}" takes two arguments, as WSGI applications do: add --interface wsgi. For WebSockets serve an '
            "ASGI application, such as mysite.asgi:application."
        )
    return cast(Application, application)


def load_wsgi_application(path: str, app_dir: str) -> Any:
    """Import a WSGI application.

    Raises:
        ConfigurationError: as :func:`load_callable`; or it is an ASGI application.
    """
    application = load_callable(path, app_dir, "a WSGI application")
    if _takes(application, 3) and not _takes(application, 2):
        raise ConfigurationError(f'"{path}" takes three arguments, as ASGI applications do: leave --interface out.')
    return application


def load_callable(path: str, app_dir: str, kind: str) -> Any:
    """Import something that can be called.

    Args:
        path: ``module:attribute``.
        app_dir: directory to look in, too; the current one if empty.
        kind: what it should be, for the message.

    Raises:
        ConfigurationError: the path is malformed, or names nothing that exists and can be called. An
            error inside the module itself is not hidden: it comes out with its own traceback.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigurationError(f'"{path}" is not of the form module:attribute, such as mysite.asgi:application.')
    directory = os.path.abspath(app_dir or ".")
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        value = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(
            f'Cannot import "{module_name}": no module named "{error.name}" in {directory}. '
            "Start the server in the project's directory, or name it with --app-dir."
        ) from None
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise ConfigurationError(f'"{module_name}" has no attribute "{attribute}".') from None
    if not callable(value):
        raise ConfigurationError(f'"{path}" is not {kind}: it cannot be called.')
    return value


def _takes(function: Any, count: int) -> bool:
    """Whether it can be called with so many arguments; where nobody can tell, it can."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # it is not written in Python
        return True
    return True
