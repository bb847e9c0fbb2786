"""Peak rates of GPUs: dense FLOP/s and memory bandwidth by device name, with sources, from peaks.json.

A card that is not in the table has no peak: a guess would make every MFU computed from it wrong. A CPU's peak is
measured by `app bench`, never looked up.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16")

_GIB = 1 << 30
_VENDOR_WORDS = ("nvidia", "tesla", "geforce")
# The driver reports less than the vendor: ECC and reserved pages take 9 % of a T4's memory (14.6 GiB of "16 GB").
_LEAST_SHARE_REPORTED = 0.88


@dataclass(frozen=True)
class Peak:
    """One card's peaks: rates in FLOP/s (dense, FP32 accumulation), None without such units; bandwidth in bytes/s."""

    name: str
    memory_gb: tuple[int, ...]
    fp32: float
    tf32: float | None
    bf16: float | None
    fp16: float | None
    bandwidth: float
    source: str

    def rate(self, precision: Precision) -> float | None:
        """Return the peak of matrix products in `precision`, in FLOP/s; None if the card has no such units."""
        return {"fp32": self.fp32, "tf32": self.tf32, "bf16": self.bf16, "fp16": self.fp16}[precision]


def lookup(device_name: str, memory_bytes: int) -> Peak | None:
    """Return the peaks of the card with this name and memory, as the driver reports them; None if it is not known.

    The whole name must match, except for the vendor's words: an `L40S` is never taken for an `L4`, an `A10G` never for
    an `A10`, and an `RTX 3080 Ti`, a laptop chip or a MIG slice never for the full card. The memory must match too: an
    `RTX 3060` with 8 GB has two thirds of the bandwidth of one with 12 GB, and a slice of a card that keeps the card's
    name has only some of its units.
    """
    peak = _table().get(_plain(device_name))
    if peak is None:
        return None
    gib = memory_bytes / _GIB
    return peak if any(_LEAST_SHARE_REPORTED * gb <= gib <= gb * 1.01 for gb in peak.memory_gb) else None


def cards() -> tuple[Peak, ...]:
    """Return every card in the table, once for each of its names."""
    return tuple(_table().values())


def _plain(device_name: str) -> str:
    words = re.split(r"[\s_-]+", device_name.strip().lower())
    return " ".join(word for word in words if word not in _VENDOR_WORDS)


@cache
def _table() -> dict[str, Peak]:
    data = json.loads(Path(__file__).with_name("peaks.json").read_text(encoding="utf-8"))

    def per_second(tera: float | None) -> float | None:
        return None if tera is None else tera * 1e12

    table: dict[str, Peak] = {}
    for card in data["cards"]:
        source = "; ".join(data["sources"][letter] for letter in card["source"].split(", "))
        if "derived" in card:
            source += f" ({', '.join(card['derived'])} derived)"
        for name in card["names"]:
            table[_plain(name)] = Peak(
                name=name,
                memory_gb=tuple(card["memory"]),
                fp32=card["fp32"] * 1e12,
                tf32=per_second(card["tf32"]),
                bf16=per_second(card["bf16"]),
                fp16=per_second(card["fp16"]),
                bandwidth=card["bandwidth"] * 1e9,
                source=source,
            )
    return table
