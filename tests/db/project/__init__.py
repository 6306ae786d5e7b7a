"""A project that has chosen the engine ``fullduplex.db.postgresql``; ``POSTGRESQL`` is the folder of the server."""
