"""The Django project that is served: what ``startproject`` makes, with DEBUG off."""
