"""
The benchmarks compute exponents, latencies and memory correctly, and write volumes as the kubelet does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dflag.testing import ConfigMapVolume
from tests.benchmarks._files import publish, read_raw, rewrite
from tests.benchmarks._fit import exponent
from tests.benchmarks._memory import traced
from tests.benchmarks.swaps import Latencies, latencies

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_exponent_of_a_power(power: float) -> None:
    """`exponent()` of a power of x is that power, whatever factor multiplies it."""
    assert exponent([(x, 7e-6 * x**power) for x in (1000, 10_000, 100_000)]) == pytest.approx(power)


def test_exponent_weighs_ratios() -> None:
    """`exponent()` weighs ratios: a point twice too high and one twice too low cancel out, whatever their sizes."""
    assert exponent([(1, 2.0), (10, 5.0), (100, 200.0)]) == pytest.approx(1.0)


def test_latency_of_each_swap() -> None:
    """The latency of a swap is the time from its own rename until its own number was seen."""
    assert latencies({1: 10.0, 2: 20.0}, {0: 9.0, 1: 10.5, 2: 20.25}) == Latencies([0.25, 0.5], 0)


def test_latency_of_an_overtaken_swap() -> None:
    """A swap whose number was never seen counts as missed, and its latency ends when a later number was seen."""
    assert latencies({1: 10.0, 2: 20.0, 3: 30.0}, {1: 11.0, 3: 32.0}) == Latencies([2.0, 12.0, 1.0], 1)


def test_latency_without_the_last_swap() -> None:
    """`latencies()` raises if the last swap was never seen."""
    with pytest.raises(AssertionError, match="the last of 2 swaps was never seen"):
        latencies({1: 10.0, 2: 20.0}, {1: 11.0})


def test_published_volume_is_the_kubelets(tmp_path: Path) -> None:
    """`ConfigMapVolume` reads what `publish()` and `rewrite()` wrote, and the links are those of the kubelet."""
    path = str(tmp_path / "volume")
    publish(path, {"a": "1", "b": "2"})
    rewrite(path, "b", "3")
    assert ConfigMapVolume(path).read() == {"a": b"1", "b": b"3"} == read_raw(path)
    assert {name: os.readlink(f"{path}/{name}") for name in "ab"} == {"a": "..data/a", "b": "..data/b"}


def test_traced_counts_what_is_kept() -> None:
    """`traced()` does not count memory that was released again during the call."""
    made, held = traced(lambda: bytes(len(bytearray(10_000_000)) // 10))
    assert len(made) == 1_000_000
    assert held == pytest.approx(1_000_000, rel=0.01)
