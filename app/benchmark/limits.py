"""The limits that figures are compared with: a known card's datasheet, and the rates measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from app.benchmark.figure import Figure, Limit
from app.benchmark.machine import device_memory, device_name
from app.benchmark.results import Kernel
from app.hardware.peaks import PRECISIONS, Peak, Precision, lookup

# Units of FLOP/s and bytes/s in the results. In TFLOP/s a CPU's rates would start with zeros.
FLOP_UNITS = {"cpu": ("GFLOP/s", 1e9), "cuda": ("TFLOP/s", 1e12)}
BANDWIDTH_UNIT = ("GB/s", 1e9)


def flop_unit(device: torch.device) -> tuple[str, float]:
    """Return the unit of rates on this kind of device, and how many FLOP/s one unit is."""
    return FLOP_UNITS.get(device.type, FLOP_UNITS["cpu"])


@dataclass(frozen=True)
class Limits:
    """A device's limits: the datasheet's, and those measured here, once they are."""

    device: torch.device
    peak: Peak | None
    no_peak: str
    """Why there is no datasheet peak; empty if there is one."""
    measured_flops: Mapping[Precision, float] = field(default_factory=dict)
    """Highest matmul rate measured here, in FLOP/s."""
    measured_bandwidth: float | None = None
    """Higher of the copy and triad bandwidths measured here, in bytes/s."""

    @classmethod
    def of(cls, device: torch.device) -> Limits:
        """Return the datasheet's limits of a device, with nothing measured yet."""
        if device.type != "cuda":
            return cls(device, None, "a CPU has no datasheet rate: its peak is measured, not looked up")
        name = device_name(device)
        peak = lookup(name, device_memory(device))
        return cls(device, peak, "" if peak else f"{name} is not in the table of peaks (app/hardware/peaks.json)")

    @classmethod
    def unmeasured(cls, device: torch.device) -> Limits:
        """Return the limits of a device whose kernels are not measured, such as the CPU of a machine with a GPU."""
        return cls(device, None, f"the kernels were measured on another device than the {device.type}")

    def with_measured(self, kernels: Sequence[Kernel]) -> Limits:
        """Return these limits with the highest matmul rate of each precision, and the highest memory bandwidth."""
        flops: dict[Precision, float] = {}
        for precision in PRECISIONS:
            matmuls = [k.work for k in kernels if k.group == "matmul" and k.precision == precision]
            if matmuls:
                flops[precision] = max(work.flops / work.seconds for work in matmuls)
        bandwidth = max((k.work.bytes / k.work.seconds for k in kernels if k.group == "memory"), default=None)
        return replace(self, measured_flops=flops, measured_bandwidth=bandwidth)

    def datasheet_flops(self, precision: Precision) -> Limit:
        """Return the datasheet's matmul rate, in this device's unit."""
        rate = self.peak.rate(precision) if self.peak else None
        if self.peak and rate is None:
            return Limit(None, f"{self.peak.name} has no {precision} units")
        return self._datasheet_limit(rate, flop_unit(self.device)[1])

    def datasheet_bandwidth(self) -> Limit:
        """Return the datasheet's memory bandwidth, in GB/s."""
        return self._datasheet_limit(self.peak.bandwidth if self.peak else None, BANDWIDTH_UNIT[1])

    def roofline_flops(self, precision: Precision, flops: float, moved: float) -> Limit:
        """Return the highest rate that a kernel of `flops` FLOPs and `moved` bytes can reach, in this device's unit.

        Williams, Waterman, Patterson 2009, `Roofline`: min(peak, bandwidth x intensity), both measured here.
        """
        peak, bandwidth = self.measured_flops.get(precision), self.measured_bandwidth
        if peak is None or bandwidth is None:
            return Limit(None, f"no {precision} matrix product and bandwidth were measured to compare it with")
        best = min(peak, bandwidth * flops / moved)
        return Limit(best / flop_unit(self.device)[1], "roofline of the rate and the bandwidth measured here")

    def memory_time(self, moved: float) -> Limit:
        """Return the shortest time, in ms, that moving `moved` bytes takes at the bandwidth measured here."""
        if self.measured_bandwidth is None:
            return Limit(None, "no bandwidth was measured to compare it with")
        return Limit(1e3 * moved / self.measured_bandwidth, "its bytes at the bandwidth measured here")

    def _datasheet_limit(self, value: float | None, scale: float) -> Limit:
        if self.peak is None or value is None:
            return Limit(None, self.no_peak)
        return Limit(value / scale, f"datasheet, {self.peak.name}, dense: {self.peak.source}")


def best_matmuls(kernels: Sequence[Kernel]) -> Mapping[str, Figure]:
    """Return the highest matmul rate of each precision: the machine's measured peak."""
    best: dict[str, Figure] = {}
    for kernel in kernels:
        if kernel.group == "matmul":
            rate = kernel.figures["rate"]
            if kernel.precision not in best or rate.value > best[kernel.precision].value:
                best[kernel.precision] = rate
    return best
