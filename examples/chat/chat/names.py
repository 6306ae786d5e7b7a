"""Names without a password: each comes back in the browser that chose it, which has a signed cookie."""

from django.contrib.auth.base_user import AbstractBaseUser
from django.core import signing
from django.http import HttpRequest, HttpResponse

COOKIE = "names"
AGE_S = 365 * 24 * 3600
MOST_COUNT = 20


def kept(request: HttpRequest) -> list[int]:
    """Return the ids of the users whose names this browser has chosen, the latest last."""
    try:
        ids: list[int] = signing.loads(request.COOKIES.get(COOKIE, ""), salt=COOKIE, max_age=AGE_S)
    except signing.BadSignature:
        return []
    return ids


def keep(request: HttpRequest, response: HttpResponse, user: AbstractBaseUser) -> None:
    """Let this browser have the name of ``user`` again, after they have left."""
    ids = [*(pk for pk in kept(request) if pk != user.pk), user.pk][-MOST_COUNT:]
    response.set_cookie(COOKIE, signing.dumps(ids, salt=COOKIE), max_age=AGE_S, httponly=True, samesite="Lax")
