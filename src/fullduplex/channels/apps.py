from django.apps import AppConfig


class ChannelsConfig(AppConfig):
    """For projects that replace ``"channels"`` in INSTALLED_APPS; ``"fullduplex"`` alone does as well."""

    name = "fullduplex.channels"
    label = "channels"
    verbose_name = "Channels"
