"""A test case with a real server."""

from fullduplex.testing.live import ChannelsLiveServerTestCase

__all__ = ["ChannelsLiveServerTestCase"]
