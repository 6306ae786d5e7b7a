"""Runs scenarios: every peer in turn, round after round, each in a fresh process."""

from __future__ import annotations

import gc
import json
import re
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import cores, report
from bench.report import Table
from bench.scenario import Failed, Measurement, Scenario
from bench.scenarios import SCENARIOS
from bench.server import Peer, Server, ServerFailed


def run(
    names: Sequence[str],
    *,
    seconds: float,
    rounds: int,
    only: Sequence[str] | None,
    json_file: Path | None,
    docs_file: Path | None,
) -> int:
    """Run the scenarios and print their tables.

    Returns:
        The exit status: 1 when a peer of ours failed, 2 when there is no such scenario.
    """
    scenarios = choose(names)
    if not scenarios:
        print(f"bench: no scenario is called {' or '.join(names)}; see --list", file=sys.stderr)
        return 2
    cores.pin_load()
    _raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server under test is stopped, too
    gc.disable()  # a pause of the load generator must not look like one of the server
    machine = report.machine(seconds=seconds, rounds=rounds)
    print("\n".join(f"{key}: {value}" for key, value in machine.items()))
    tables = []
    for scenario in scenarios:
        table = measure(scenario, seconds=seconds, rounds=rounds, only=only)
        tables.append(table)
        print(f"\n{report.text(table)}", flush=True)
    if json_file is not None:
        raw = {"machine": machine, "scenarios": {table.scenario.name: _plain(table) for table in tables}}
        json_file.write_text(json.dumps(raw, indent=2) + "\n")
    if docs_file is not None:
        docs_file.parent.mkdir(parents=True, exist_ok=True)
        docs_file.write_text(report.page(machine, tables))
        print(f"\nwritten: {docs_file}")
    return int(any(peer.ours and not table.good(peer) for table in tables for peer in table.peers))


def choose(names: Sequence[str]) -> list[Scenario]:
    """The scenarios with these names; where none has the name, those whose names begin with it. No names: all."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if not names:
        return [scenario() for scenario in SCENARIOS]
    chosen = []
    for name in names:
        matches = [known[name]] if name in known else [known[key] for key in known if key.startswith(name)]
        chosen += [scenario() for scenario in matches]
    return chosen


def measure(scenario: Scenario, *, seconds: float, rounds: int, only: Sequence[str] | None = None) -> Table:
    """Measure each peer once per round: A B C, A B C ..."""
    peers = [peer for peer in scenario.peers() if not only or any(text in peer.name for text in only)]
    scenario.prepare()
    table = Table(scenario, peers, {peer.name: [] for peer in peers})
    for round_number in range(1, rounds + 1):
        for peer in peers:
            print(f"bench: {scenario.name}, round {round_number} of {rounds}: {peer.name}", file=sys.stderr, flush=True)
            table.measurements[peer.name].append(measure_once(scenario, peer, seconds))
    return table


def measure_once(scenario: Scenario, peer: Peer, seconds: float) -> Measurement:
    """Start the peer, measure it, stop it. A failure becomes a measurement without figures."""
    log_name = re.sub(r"\W+", "-", f"{scenario.name} {peer.name}")
    try:
        with Server(peer, log_name) as server:
            try:
                measurement = scenario.measure(server, seconds)
                server.check_alive()
            except (Failed, OSError, TimeoutError) as error:
                return Measurement(errors=1, note=f"{error or type(error).__name__}; log: {server.last_words()}")
            return measurement
    except ServerFailed as error:
        return Measurement(errors=1, note=str(error))
    finally:
        gc.collect()


def print_list() -> int:
    for scenario in choose([]):
        print(f"{scenario.name:22} {scenario.title}: {', '.join(peer.name for peer in scenario.peers())}")
    return 0


def _plain(table: Table) -> dict[str, list[dict[str, object]]]:
    return {name: [asdict(one) for one in measurements] for name, measurements in table.measurements.items()}


def _raise_file_limit() -> None:
    """Thousands of sockets need thousands of descriptors, here and in the servers, which inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
