"""Endpoints: many groups over one socket, in the protocol ``fullduplex.v1``; and server-sent events beside it."""
