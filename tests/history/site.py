"""Settings of the processes that the tests kill; what differs is in the environment."""

import json
import os

SECRET_KEY = "tests"
INSTALLED_APPS = ["fullduplex", "fullduplex.history"]
DATABASES = {"default": json.loads(os.environ["HISTORY_DATABASE"])}
CHANNEL_LAYERS = {"default": json.loads(os.environ["HISTORY_LAYER"])}
FULLDUPLEX = json.loads(os.environ["HISTORY_SETTINGS"])
USE_TZ = True
