"""Messages in the project's database: a history of groups that outlives everything, and the outbox.

An app of its own, for ``INSTALLED_APPS``, so that projects that need neither get no tables.
"""
