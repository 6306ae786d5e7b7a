"""Moves a project from Channels: ``python -m fullduplex.migrate`` changes imports and dotted paths, and tells
what is left.

It reads files and imports nothing of the project, nor of Django.
"""
