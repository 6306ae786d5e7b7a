"""A project that imports ``channels``, and so do the packages that it uses. Run by ``test_unchanged``.

``STACK`` says on what: ``fullduplex``, with the names of Channels as an alias of ours, or ``channels``, the original.
"""
