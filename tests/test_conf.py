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


def test_every_field_documents_itself_and_names_its_unit() -> None:
    for field in dataclasses.fields(Settings):
        assert field.metadata["help"]
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert field.name.endswith(("_s", "_bytes", "_count")), field.name


def test_the_reference_page_has_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/sockets.md").read_text()
    for field in dataclasses.fields(Settings):
        default = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
        assert re.search(rf"\| `{field.name.upper()}` \| `?{re.escape(default)}`? \|", page), field.name
