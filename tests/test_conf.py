"""The FULLDUPLEX setting."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.conf import Settings, get_settings
from fullduplex.exceptions import ConfigurationError


def test_without_the_setting_the_defaults_are_in_force() -> None:
    assert get_settings() == Settings()


def test_override_settings_is_honoured_both_ways() -> None:
    with override_settings(FULLDUPLEX={"HANDSHAKE_TIMEOUT_S": 3, "DISCONNECT_GRACE_S": 0.5}):
        assert get_settings() == Settings(handshake_timeout_s=3, disconnect_grace_s=0.5)
    assert get_settings() == Settings()


def test_an_unknown_key_is_an_error_with_a_suggestion() -> None:
    for key in ("HANDSHAKE_TIMEOUT", "handshake_timeout_s"):
        with (
            override_settings(FULLDUPLEX={key: 1}),
            pytest.raises(ConfigurationError, match=r"unknown key .*Did you mean 'HANDSHAKE_TIMEOUT_S'\?"),
        ):
            get_settings()


def test_a_key_like_no_other_gets_the_list() -> None:
    with override_settings(FULLDUPLEX={"ZZZ": 1}), pytest.raises(ConfigurationError, match="may hold HANDSHAKE_TIME"):
        get_settings()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["HANDSHAKE_TIMEOUT_S"], "must be a dict, not list"),
        ({"HANDSHAKE_TIMEOUT_S": "10"}, r"must be float, not '10'"),
        ({"HANDSHAKE_TIMEOUT_S": True}, "must be float, not True"),
        ({"READ_AHEAD_BYTES": 1.5}, "must be int, not 1.5"),
        ({"READ_AHEAD_BYTES": -1}, "must not be negative"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_it(value: Any, message: str) -> None:
    with override_settings(FULLDUPLEX=value), pytest.raises(ConfigurationError, match=message):
        get_settings()


def test_a_policy_that_does_not_exist_is_an_error() -> None:
    with (
        override_settings(FULLDUPLEX={"GAP_POLICY": "ignore"}),
        pytest.raises(ConfigurationError, match=r"'GAP_POLICY'.*one of disconnect, continue"),
    ):
        get_settings()


def test_the_first_pattern_that_fits_a_group_says_what_is_kept_of_it() -> None:
    history = {"chat.*": {"COUNT": 5}, "chat.*.log": {}, "orders": {"STORE": "database", "AGE_S": 60, "MAX_BYTES": 9}}
    with override_settings(FULLDUPLEX={"HISTORY": history}):
        chat, log, orders = get_settings().history
    assert (chat.count, chat.age_s, chat.max_bytes, chat.store) == (5, 86_400, 1_048_576, "layer")
    assert (orders.count, orders.age_s, orders.max_bytes, orders.store) == (1_000, 60, 9, "database")
    assert [rule.fits("chat.1.log") for rule in (chat, log, orders)] == [True, True, False]
    assert [rule.fits(name) for rule in (chat, orders) for name in ("chatter", "orders.1")] == [False] * 4


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (["chat.*"], r"\['HISTORY'\] must be a dict"),
        ({"chat *": {}}, r"key 'chat \*'"),
        ({"chat.*": 100}, r"\['HISTORY'\]\['chat.\*'\] must be a dict, not int"),
        ({"chat.*": {"AGE": 5}}, r"\['chat.\*'\] has the unknown key 'AGE'. Did you mean 'AGE_S'\?"),
        ({"chat.*": {"COUNT": "5"}}, r"\['HISTORY'\]\['chat.\*'\]\['COUNT'\] must be int"),
        ({"chat.*": {"COUNT": 0}}, r"\['COUNT'\] must be 1 at least"),
        ({"chat.*": {"AGE_S": float("inf")}}, r"\['AGE_S'\] must be"),
        ({"chat.*": {"STORE": "redis"}}, r"\['STORE'\] is one of layer, database"),
    ],
)
def test_a_wrong_history_is_an_error_that_names_the_place(history: Any, message: str) -> None:
    with override_settings(FULLDUPLEX={"HISTORY": history}), pytest.raises(ConfigurationError, match=message):
        get_settings()


def test_every_field_documents_itself_and_names_its_unit() -> None:
    for field in dataclasses.fields(Settings):
        assert field.metadata["help"]
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert field.name.endswith(("_s", "_bytes", "_count")), field.name


def test_the_reference_page_has_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/sockets.md").read_text()
    for field in dataclasses.fields(Settings):
        default = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
        default = field.metadata.get("shown", default)
        assert re.search(rf"\| `{field.name.upper()}` \| `?{re.escape(default)}`? \|", page), field.name
