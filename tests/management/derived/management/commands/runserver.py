"""An app whose runserver is built on ours, as WhiteNoise's ``runserver_nostatic`` is."""

from fullduplex.management.commands.runserver import Command as Ours


class Command(Ours):
    pass
