"""Users without a database, and the cookies of their sessions."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from django.core import signing
from django.http import HttpRequest


@dataclass(frozen=True)
class Person:
    pk: int
    is_authenticated: bool = True
    is_active: bool = True

    @property
    def id(self) -> int:
        return self.pk

    @property
    def username(self) -> str:
        return f"person-{self.pk}"

    def get_username(self) -> str:
        return self.username


class Backend:
    def authenticate(self, request: HttpRequest) -> None:
        return None

    def get_user(self, user_id: int) -> Person:
        return Person(user_id)

    async def aget_user(self, user_id: int) -> Person:
        return Person(user_id)


@functools.cache
def session_of(pk: int) -> str:
    """The cookie of the session in which person ``pk`` is signed in; it has the time in it, so it is made once."""
    session = {"_auth_user_id": str(pk), "_auth_user_backend": "tests.agents.people.Backend"}
    salt = "django.contrib.sessions.backends.signed_cookies"
    return signing.TimestampSigner(key="agents", salt=salt, fallback_keys=[]).sign_object(session, compress=True)
