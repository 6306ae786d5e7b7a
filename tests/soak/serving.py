"""The project of the long run on our server, in a process of its own."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.process import ROOT, Process, fullduplex


def serve(
    folder: Path, age_s: int, max_count: int = 1_000, *, loop: str = "auto", layer_url: str = "", workers: int = 1
) -> Process:
    env = {"DATABASE": str(folder / "db"), "AGE": str(age_s), "MAX_COUNT": str(max_count), "LAYER_URL": layer_url}
    options = ("--no-access-log", "--loop", loop, "--workers", str(workers))
    return fullduplex("tests.soak.site_asgi:application", *options, app_dir=ROOT, env=env)
