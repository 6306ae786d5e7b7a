"""Which groups keep a history, how much of it, and where: what ``FULLDUPLEX["HISTORY"]`` says of a name."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import NamedTuple

from django.apps import apps
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from fullduplex.conf import SETTING, HistoryRule, get_settings
from fullduplex.exceptions import ConfigurationError
from fullduplex.layers import get_layer
from fullduplex.layers.history import History, Keep

_APP = "fullduplex.history"
_DATABASE = "fullduplex.history.store.DatabaseHistory"


class Keeping(NamedTuple):
    """Attributes: the store of a group, and how much it keeps of it."""

    history: History
    keep: Keep


@functools.lru_cache(4096)
def rule_of(group: str) -> tuple[HistoryRule, Keep] | None:
    """What the settings say of a group; None: it keeps nothing."""
    for rule in get_settings().history:
        if rule.fits(group):
            return rule, Keep(rule.count, rule.age_s, rule.max_bytes)
    return None


def keeping_of(group: str) -> Keeping | None:
    """The store of a group; None: it keeps nothing.

    Raises:
        ConfigurationError: the settings name a store that is not there.
        LayerNotConfigured: it is the layer, and no layer reaches the members from this process.
    """
    found = rule_of(group)
    if found is None:
        return None
    return Keeping(_store(found[0]), found[1])


def check_stores() -> None:
    """
    Raises:
        ConfigurationError: the settings name a store that is not there.
        LayerNotConfigured: see :func:`keeping_of`.
    """
    for rule in get_settings().history:
        _store(rule)


def _store(rule: HistoryRule) -> History:
    if rule.store == "database":
        return _database()
    layer = get_layer()
    if not layer.supports_history:
        raise ConfigurationError(
            f"{SETTING}['HISTORY'][{rule.pattern!r}] asks the layer to keep messages, and {type(layer).__name__} keeps "
            f"none: take a layer of fullduplex in CHANNEL_LAYERS, or set 'STORE': 'database' there."
        )
    return layer


@functools.cache
def _database() -> History:
    if not apps.is_installed(_APP):
        raise ConfigurationError(
            f"{SETTING}['HISTORY'] has groups with 'STORE': 'database': put {_APP!r} into INSTALLED_APPS, and migrate."
        )
    store: History = import_string(_DATABASE)()
    return store


def outbox_of() -> ModuleType:
    """The outbox, whose models can be imported where their app is installed.

    Raises:
        ConfigurationError: it is not.
    """
    if not apps.is_installed(_APP):
        raise ConfigurationError(
            f"send_in_transaction() needs an outbox: put {_APP!r} into INSTALLED_APPS, and migrate."
        )
    from fullduplex.history import outbox

    return outbox


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting in (SETTING, "INSTALLED_APPS"):
        rule_of.cache_clear()
        _database.cache_clear()


setting_changed.connect(_forget, dispatch_uid="fullduplex.realtime.keeping")
