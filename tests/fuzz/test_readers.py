"""A fixed part of the fuzzing, for every run of the tests; and that a fault would be found."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.harness import Harness, retained_bytes, run
from tests.fuzz.readers import READERS

INPUTS_COUNTS = {"config_file": 150}


@pytest.mark.parametrize("name", READERS)
def test_a_fixed_part_finds_nothing(name):
    report = run(READERS[name](), seed=0, inputs_count=INPUTS_COUNTS.get(name, 2500))
    assert not report.findings, "\n".join(map(str, report.findings))


class Broken(Harness):
    """A reader that fails where an input has an exclamation mark, and looks closely at question marks."""

    name = "broken"
    vectors = (b"abc", b"abcdef")
    words = (b"!", b"?", b"x")

    def check(self, data: bytes) -> None:
        if b"!" in data:
            raise KeyError(data)

    def check_closely(self, data: bytes) -> None:
        assert b"?" not in data


def test_a_finding_is_kept_once_and_can_be_repeated():
    report = run(Broken(), seed=1, inputs_count=1000, sample_every=1)
    assert sorted(finding.error.splitlines()[-1].split(":")[0] for finding in report.findings) == [
        "AssertionError",
        "KeyError",
    ]
    for finding in report.findings:
        again = run(Broken(), seed=1, inputs_count=1, start=finding.number, sample_every=1)
        assert [found.data for found in again.findings] == [finding.data]


@pytest.mark.parametrize("name", READERS)
def test_inputs_differ_from_each_other_and_from_what_they_are_made_of(name):
    harness = READERS[name]()
    made = [harness.make(Random(number)) for number in range(300)]
    assert len(set(made)) > 200
    assert len(set(made) - set(harness.vectors)) > 180


def test_what_an_object_holds_is_counted_once():
    text = b"x" * 100
    assert retained_bytes([text, text, (b"abc", text), bytearray(7)]) == 110
