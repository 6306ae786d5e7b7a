"""``python -m tests.fuzz.with_atheris READER [libFuzzer options]``: guided by coverage, where atheris installs.

It has wheels for some platforms alone, so it is no dependency of ours: ``pip install atheris``. A directory given
among the options keeps the corpus. The same harnesses, with inputs of libFuzzer's instead of our own.
"""

from __future__ import annotations

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["fullduplex"]):
    from tests.fuzz.readers import READERS


def main() -> None:
    harness = READERS[sys.argv.pop(1)]()

    def check(data: bytes) -> None:
        if data:
            harness.check(data)
            harness.check_closely(data)

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        """Half of the time ours, which knows what the input is made of; libFuzzer knows what is new."""
        random = Random(seed)
        if random.random() < 0.5:
            return harness.make(random)[:max_size]
        return atheris.Mutate(data, max_size)

    atheris.Setup(sys.argv, check, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
