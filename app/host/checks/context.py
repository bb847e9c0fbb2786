"""What the pre-flight checks are handed: the host, what the user asked for, and the plan that comes of both."""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import HostError, Problem
from app.host.checks.check import Answer, failed, warned
from app.host.plan.choose import Plan, Request, choose
from app.host.probe.machine import Host, detect
from app.host.world import World


@dataclass(frozen=True)
class CheckContext:
    """`plan` is None where nothing can be done as asked; `problems` then says why."""

    world: World
    host: Host
    request: Request
    plan: Plan | None
    problems: tuple[Problem, ...] = ()

    @staticmethod
    def of(world: World, request: Request) -> CheckContext:
        """Look at the machine and choose; never raises."""
        host = detect(world)
        try:
            return CheckContext(world, host, request, choose(host, request))
        except HostError as error:
            return CheckContext(world, host, request, None, error.problems)

    def judge(self, obstacle: Problem) -> Answer:
        """A failure where the obstacle stops what was asked, a warning where there is a way round it."""
        stops = any(problem.what == obstacle.what for problem in self.problems)
        return (failed if stops else warned)(obstacle.what, obstacle.fix)

    @property
    def conclusion(self) -> str:
        """One line: what to use, or why nothing will do and what would."""
        if self.plan is None:
            return "nothing will do here: " + "; ".join(f"{p.what} (fix: {p.fix})" for p in self.problems)
        plan = self.plan
        if plan.cards:
            names = [card.name for card in plan.cards]
            cards = ", ".join(f"{names.count(n)} x {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names))
            gpus = f"GPU through {plan.gpu_mode} ({cards})" if plan.backend == "docker" else f"GPU ({cards})"
        else:
            gpus = f"no GPU ({plan.why_gpus})" if plan.why_gpus else "no GPU"
        how = f"variant {plan.variant.name} ({plan.why_variant}), back end {plan.backend} ({plan.why_backend})"
        return f"use {how}, {gpus}"
