"""The limits that figures are set against: the datasheet's where the card is known, and what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from app.benchmark.figure import Figure, Limit
from app.benchmark.machine import device_memory, device_name
from app.benchmark.results import Kernel
from app.hardware.peaks import Peak, Precision, lookup

# FLOP/s and bytes/s are shown in these; a CPU's rate in TFLOP/s would begin with zeros.
FLOP_UNITS = {"cpu": ("GFLOP/s", 1e9), "cuda": ("TFLOP/s", 1e12)}
BANDWIDTH_UNIT = ("GB/s", 1e9)


def flop_unit(device: torch.device) -> tuple[str, float]:
    """Unit of rates on this kind of device, and how many FLOP/s one of it is."""
    return FLOP_UNITS.get(device.type, FLOP_UNITS["cpu"])


@dataclass
class Limits:
    """What is known of a device's limits; the measured ones are filled in as the kernels are."""

    device: torch.device
    peak: Peak | None
    unknown: str
    """Why there is no datasheet peak; empty where there is."""
    measured_flops: dict[Precision, float] = field(default_factory=dict)
    """Best matrix product measured here, in FLOP/s."""
    measured_bandwidth: float | None = None
    """Best of copy and triad measured here, in bytes/s."""

    @classmethod
    def of(cls, device: torch.device) -> Limits:
        if device.type != "cuda":
            return cls(device, None, "a CPU has no datasheet rate: its peak is measured, not looked up")
        name = device_name(device)
        peak = lookup(name, device_memory(device))
        return cls(device, peak, "" if peak else f"{name} is not in the table of peaks (app/hardware/peaks.json)")

    @classmethod
    def unmeasured(cls, device: torch.device) -> Limits:
        """Of a device whose kernels are not measured: of the CPU beside a GPU."""
        return cls(device, None, f"the kernels were measured on another device than the {device.type}")

    def datasheet_flops(self, precision: Precision) -> Limit:
        """Datasheet rate for matrix products, in this device's unit."""
        rate = self.peak.rate(precision) if self.peak else None
        if self.peak and rate is None:
            return Limit(None, f"{self.peak.name} has no {precision} units")
        return self._limit(rate, flop_unit(self.device)[1])

    def datasheet_bandwidth(self) -> Limit:
        """Datasheet memory bandwidth in GB/s."""
        return self._limit(self.peak.bandwidth if self.peak else None, BANDWIDTH_UNIT[1])

    def roofline_flops(self, precision: Precision, flops: float, moved: float) -> Limit:
        """The most that a kernel of so many FLOPs and bytes can reach: the lower of both measured limits.

        Williams, Waterman, Patterson 2009, `Roofline`: min(peak, bandwidth x intensity).
        """
        peak, bandwidth = self.measured_flops.get(precision), self.measured_bandwidth
        if peak is None or bandwidth is None:
            return Limit(None, f"no {precision} matrix product and bandwidth were measured to set it against")
        best = min(peak, bandwidth * flops / moved)
        return Limit(best / flop_unit(self.device)[1], "roofline of the rate and the bandwidth measured here")

    def memory_time(self, moved: float, scale: float = 1e3) -> Limit:
        """The least time (ms) in which so many bytes can be moved at the bandwidth measured here."""
        if self.measured_bandwidth is None:
            return Limit(None, "no bandwidth was measured to set it against")
        return Limit(moved / self.measured_bandwidth * scale, "its bytes at the bandwidth measured here")

    def _limit(self, value: float | None, scale: float) -> Limit:
        if self.peak is None or value is None:
            return Limit(None, self.unknown)
        return Limit(value / scale, f"datasheet, {self.peak.name}, dense: {self.peak.source}")


def best_matmuls(kernels: list[Kernel]) -> Mapping[str, Figure]:
    """The highest matmul rate of each precision: the peak that is measured."""
    best: dict[str, Figure] = {}
    for kernel in kernels:
        if kernel.group == "matmul":
            rate = kernel.figures["rate"]
            if kernel.precision not in best or rate.value > best[kernel.precision].value:
                best[kernel.precision] = rate
    return best
