"""The context of the pre-flight checks: the host, the user's request, and the plan for both."""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import HostError, Problem
from app.host.checks.check import Answer, failed, warned
from app.host.plan.choose import Plan, Request, choose
from app.host.probe.machine import Host, detect
from app.host.world import World

CANNOT_RUN = "the workspace cannot run here: "


@dataclass(frozen=True)
class CheckContext:
    """The host, the request and their plan. `plan` is None if the request cannot be met; `problems` then says why."""

    world: World
    host: Host
    request: Request
    plan: Plan | None
    problems: tuple[Problem, ...] = ()

    @staticmethod
    def of(world: World, request: Request, ask_gpus: bool = True) -> CheckContext:
        """Return the context of this machine and request; never raises. Unless `ask_gpus`, the driver is not asked."""
        host = detect(world, ask_gpus)
        try:
            return CheckContext(world, host, request, choose(host, request))
        except HostError as error:
            return CheckContext(world, host, request, None, error.problems)

    def answer_to(self, obstacle: Problem) -> Answer:
        """Return a failure if the obstacle rules out the request, a warning if there is a way around it."""
        stops = any(problem.what == obstacle.what for problem in self.problems)
        return (failed if stops else warned)(obstacle.what, obstacle.fix)

    @property
    def conclusion(self) -> str:
        """One line: what to use, or why the workspace cannot run and how to fix it."""
        if self.plan is None:
            return CANNOT_RUN + "; ".join(f"{p.what} (fix: {p.fix})" for p in self.problems)
        plan = self.plan
        if plan.cards:
            names = [card.name for card in plan.cards]
            cards = ", ".join(f"{names.count(n)} x {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names))
            gpus = f"GPU through {plan.gpu_mode} ({cards})" if plan.backend == "docker" else f"GPU ({cards})"
        else:
            gpus = f"no GPU ({plan.why_gpus})" if plan.why_gpus else "no GPU"
        how = f"variant {plan.variant.name} ({plan.why_variant}), back end {plan.backend} ({plan.why_backend})"
        return f"use {how}, {gpus}"
