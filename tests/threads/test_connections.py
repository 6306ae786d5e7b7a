"""What is taken from a connection before the next lease has it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction

from fullduplex.threads.connections import are_clean, clean_connections


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "clean", [clean_connections, lambda: are_clean([connections["default"]])], ids=["all", "the-quick-way"]
)
def test_an_error_that_rolled_back_does_not_keep_its_request_alive(clean: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(), transaction.mark_for_rollback_on_error():
        raise IntegrityError
    assert connection.rollback_exc is not None  # type: ignore[attr-defined]  # Django's, since 5.0
    connections["default"].close_at = None  # CONN_MAX_AGE is 0 here: it would be closed
    clean()
    assert connection.rollback_exc is None  # type: ignore[attr-defined]
