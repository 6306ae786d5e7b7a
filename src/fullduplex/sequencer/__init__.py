"""The sequencer of the local layer: a process of its own between the workers, without Django and without the server.

It puts the messages of all in one order, and hands each to those who subscribed. ``layers/local/`` starts it.
"""
