"""Redis and Valkey between processes: single servers, several hosts, Sentinel and Cluster.

::

    CHANNEL_LAYERS = {"default": {
        "BACKEND": "fullduplex.layers.redis.RedisLayer",
        "CONFIG": {"hosts": ["redis://localhost:6379/0"]},
    }}

How the parts divide the work::

    layer.py        RedisLayer: the contract of layers
    loop_state.py   what one event loop holds: connections, subscriptions, poppers of queues
    hosts.py        what CONFIG's ``hosts`` says, and redis-py's connection objects made from it
    topology.py     which server serves a name: hash over hosts, Sentinel, slots of a cluster (sans I/O)
    connecting.py   opening connections, with deadlines, for coroutines and for threads
    subscriber.py   the connection that listens: confirmations, liveness, reconnects, gaps
    pipeline.py     the connection that commands: many callers, one write
    threads.py      the connections of synchronous code
    commands.py     what a server is asked to do, and when it may be asked again
    sealing.py      messages to bytes, encrypted where keys are configured
    envelopes.py    what a message looks like on its channel: its position, and parts of a long one
    history.py      histories, in Lua on streams
    appending.py    many appends to one group, in one script
    queues.py       queues for channel names, in Lua
"""

try:
    from fullduplex.layers.redis.layer import RedisLayer
    from fullduplex.layers.redis.limits import RedisLimits
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "redis":
        raise
    message = "layers over Redis need redis-py: pip install 'fullduplex[redis]'"
    raise ModuleNotFoundError(message, name=error.name) from error

__all__ = ["RedisLayer", "RedisLimits"]
