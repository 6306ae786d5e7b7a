"""Runs a server as the launchers of the packages do: the agent is there before the server and Django are imported.

``python -m tests.agents.run uvicorn …``
"""

from __future__ import annotations

import runpy
import sys

from tests.agents.agent import agent

agent.install()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
