"""Empty on purpose: each test names its own URLconf with ``override_settings(ROOT_URLCONF=...)``."""

urlpatterns: list[object] = []
