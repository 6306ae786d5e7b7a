"""``python -m tests.fuzz --inputs 10000000 --seed 1 [--reader http1] [--start 0]``: the long run.

Ends with 1 when there are findings. Without ``--reader`` the inputs are shared out among all of them.
"""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.harness import run
from tests.fuzz.readers import READERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="Number of the first input.")
    parser.add_argument("--reader", choices=sorted(READERS), action="append")
    options = parser.parse_args()
    chosen = [READERS[name] for name in options.reader or READERS]
    shares = sum(make.share for make in chosen)
    findings_count = 0
    for make in chosen:
        report = run(
            make(),
            seed=options.seed,
            start=options.start,
            inputs_count=options.inputs * make.share // shares,
            progress=_progress if sys.stderr.isatty() else None,
        )
        findings_count += len(report.findings)
        print(report, flush=True)
        for finding in report.findings:
            print(finding, flush=True)
    return 1 if findings_count else 0


def _progress(number: int) -> None:
    print(f"\r{number}", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
