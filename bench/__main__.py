"""The command. It runs itself again with the interpreter of ``.bench/venv``, where the peers are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import environment

DOCS = Path("docs/reference/benchmarks.md")


def main() -> int:
    options = _parser().parse_args()
    environment.enter("bench")
    from bench import run  # what follows needs the packages of the venv

    if options.list:
        return run.print_list()
    return run.run(
        options.scenarios,
        seconds=options.seconds or (1.0 if options.quick else 5.0),
        rounds=options.rounds or (1 if options.quick else 3),
        only=options.peer,
        json_file=options.json,
        docs_file=options.write_docs and environment.ROOT / options.write_docs,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="names, or beginnings of names; default: all")
    parser.add_argument("--list", action="store_true", help="print the scenarios and their peers, and stop")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of one measurement; default 5")
    parser.add_argument("--rounds", type=int, metavar="N", help="each peer is measured so often, in turn; default 3")
    parser.add_argument("--quick", action="store_true", help="one round of one second: a smoke test, no figures")
    parser.add_argument("--peer", action="append", metavar="TEXT", help="only peers whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement to FILE")
    parser.add_argument("--write-docs", nargs="?", type=Path, const=DOCS, metavar="FILE", help=f"default: {DOCS}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
