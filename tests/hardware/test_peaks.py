"""The peak table is dense, monotone and sourced, and no device name is read as another card's."""

from __future__ import annotations

import pytest

from app.hardware.peaks import PRECISIONS, Peak, cards, lookup

GIB = 1 << 30


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_every_row_is_monotone_in_precision(card: Peak) -> None:
    rates = [rate for p in PRECISIONS if (rate := card.rate(p)) is not None]
    assert rates == sorted(rates)
    assert card.bf16 in (None, card.fp16), "dense bf16 and fp16 run on the same units"
    assert card.fp16 is not None and card.fp16 > card.fp32, "an fp16 rate equal to fp32 is a shader rate"


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_every_row_has_a_source_and_a_plausible_size(card: Peak) -> None:
    assert card.source
    assert 8e12 <= card.fp32 <= 100e12
    assert card.fp16 is not None and card.fp16 <= 1000e12, "above 1,000 TFLOP/s is a sparse rate"
    assert 300e9 <= card.bandwidth <= 5000e9


def test_names_are_unique() -> None:
    names = [card.name for card in cards()]
    assert len(names) == len(set(names))


# Names as the driver prints them, memory as torch reports it, and the dense bf16/fp16 rate and bandwidth of that card.
KNOWN = [
    ("NVIDIA H100 80GB HBM3", 79.1, 989.4, 3350),
    ("NVIDIA H100 PCIe", 79.1, 756, 2039),
    ("NVIDIA H200", 139.8, 989.4, 4800),
    ("NVIDIA A100-SXM4-40GB", 39.4, 312, 1555),
    ("NVIDIA A100-SXM4-80GB", 79.1, 312, 2039),
    ("NVIDIA A100-PCIE-40GB", 39.4, 312, 1555),
    ("NVIDIA A100 80GB PCIe", 79.1, 312, 1935),
    ("NVIDIA A10", 22.0, 125, 600),
    ("NVIDIA A10G", 22.0, 70, 600),
    ("NVIDIA L4", 22.0, 121, 300),
    ("NVIDIA L40", 44.4, 181, 864),
    ("NVIDIA L40S", 44.4, 362, 864),
    ("NVIDIA RTX A6000", 47.5, 154.8, 768),
    ("NVIDIA RTX 6000 Ada Generation", 47.4, 364.2, 960),
    ("NVIDIA GeForce RTX 3090", 23.7, 71, 936),
    ("NVIDIA GeForce RTX 4090", 23.6, 165.2, 1008),
    ("NVIDIA GeForce RTX 3060", 11.8, 25.5, 360),
    ("Tesla T4", 14.6, 65, 320),
    ("Tesla V100-SXM2-16GB", 15.8, 125, 900),
    ("Tesla V100-SXM2-32GB", 31.7, 125, 900),
    ("Tesla V100-PCIE-16GB", 15.8, 112, 900),
]


@pytest.mark.parametrize(("name", "gib", "tensor", "bandwidth"), KNOWN)
def test_a_known_card_is_read_as_itself(name: str, gib: float, tensor: float, bandwidth: float) -> None:
    peak = lookup(name, int(gib * GIB))
    assert peak is not None
    assert peak.fp16 == pytest.approx(tensor * 1e12)
    assert peak.bandwidth == pytest.approx(bandwidth * 1e9)


# Cards whose name begins like, or holds, the name of one in the table.
STRANGERS = [
    ("NVIDIA GeForce RTX 3080 Ti", 11.8),
    ("NVIDIA GeForce RTX 3080", 11.8),  # the 12 GB model has more units than the 10 GB one
    ("NVIDIA GeForce RTX 3060", 7.8),  # the 8 GB model has a narrower bus
    ("NVIDIA GeForce RTX 3060 Ti", 7.8),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", 15.7),
    ("NVIDIA GeForce RTX 4090 D", 23.6),
    ("NVIDIA GeForce RTX 4080 SUPER", 15.7),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4.8),
    ("NVIDIA H200", 16.0),  # a slice that keeps the card's name
    ("NVIDIA H200 NVL", 139.8),
    ("NVIDIA H100 NVL", 93.1),
    ("NVIDIA GH200 480GB", 94.5),
    ("NVIDIA L40G", 22.0),
    ("NVIDIA T4G", 14.6),
    ("Tesla V100S-PCIE-32GB", 31.7),
    ("NVIDIA A10-24Q", 22.0),
    ("NVIDIA B200", 178.0),
    ("Quadro RTX 6000", 22.0),
    ("", 0.0),
]


@pytest.mark.parametrize(("name", "gib"), STRANGERS)
def test_an_unknown_card_has_no_peak(name: str, gib: float) -> None:
    assert lookup(name, int(gib * GIB)) is None


def test_a_precision_that_a_card_lacks_is_none() -> None:
    t4 = lookup("Tesla T4", int(14.6 * GIB))
    assert t4 is not None
    assert t4.rate("bf16") is None and t4.rate("tf32") is None
    assert t4.rate("fp32") == pytest.approx(8.1e12)
