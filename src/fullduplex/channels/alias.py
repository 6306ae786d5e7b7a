"""``channels`` and ``channels_redis`` as names of our modules, for packages that import them and cannot be edited.

``import channels.layers`` then gives ``fullduplex.channels.layers``: the same module under two names, not a copy, so
that there is one ``get_channel_layer()`` and one class of each consumer. Whether the real packages are installed makes
no difference: the finder stands before those that would look for them.

Source: https://docs.python.org/3/reference/import.html#the-meta-path
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import FunctionType, ModuleType

from fullduplex.exceptions import ConfigurationError
from fullduplex.migrate.names import ROOTS, root_of, translated


def install_alias() -> None:
    """Let the names of Channels mean our modules, in this process and from now on.

    Raises:
        ConfigurationError: Channels itself has been imported: what was made of it would be of another world.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    found = imported()
    if found:
        raise ConfigurationError(
            f"FULLDUPLEX['CHANNELS_ALIAS'] comes too late: {' and '.join(found)} was imported before{by(importers())}. "
            "Put 'fullduplex' first in INSTALLED_APPS, and in asgi.py call get_asgi_application() before the imports "
            "of consumers and of packages built on Channels."
        )
    sys.meta_path.insert(0, _Finder())


def imported() -> list[str]:
    """Return which of Channels' packages have been imported themselves, and not as our alias."""
    modules = ((root, sys.modules.get(root)) for root in ROOTS)
    return [
        root
        for root, module in modules
        if module is not None and module.__name__ == root and hasattr(module, "__version__")
    ]


def importers() -> set[str]:
    """Return the modules that hold something of Channels itself."""
    return {
        name
        for name, module in tuple(sys.modules.items())
        if type(module) is ModuleType and not _is_theirs(name) and not name.startswith("daphne.")
        for value in tuple(vars(module).values())
        if type(value) in (ModuleType, FunctionType, type)
        and _is_theirs(value.__name__ if type(value) is ModuleType else value.__module__)
    }


def by(names: set[str]) -> str:
    """Return names for a message, the first five of them."""
    return f", by {', '.join(sorted(names)[:5])}" if names else ""


def _is_theirs(name: object) -> bool:
    return isinstance(name, str) and root_of(name) is not None


class _Finder(MetaPathFinder):
    """Finds our modules by the names of Channels; what we have not is nowhere to be found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if root_of(fullname) is None:
            return None
        ours = find_spec(translated(fullname))
        if ours is None:
            return None
        is_package = ours.submodule_search_locations is not None
        return ModuleSpec(fullname, _Loader(ours), origin=ours.origin, is_package=is_package)


class _Loader(Loader):
    """Hands our module out as it is."""

    def __init__(self, ours: ModuleSpec) -> None:
        self._ours = ours

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return import_module(self._ours.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._ours  # the import system has put that of the other name there
