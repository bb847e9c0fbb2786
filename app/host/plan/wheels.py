"""Whether a variant's wheels can be fetched from here, and what serves where they cannot.

Two variants take torch from the PyTorch index, which not every network lets through. The default package index has the
same release as the CUDA 11.7 build; it runs without a GPU too, so it stands in wherever the cards allow.
"""

from __future__ import annotations

import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.errors import HostError, Problem
from app.host.plan.choose import Plan
from app.host.probe.certificates import SYSTEM
from app.host.variants import DEFAULT_INDEX, VARIANTS

FetchProbe = Callable[[str], str]  # an address -> why it cannot be reached; empty where it can


def with_fallback(plan: Plan, root: Path, probe: FetchProbe) -> tuple[Plan, Problem | None]:
    """The plan, or the one of the default index's build with a warning where the variant's wheels are out of reach.

    Raises:
        HostError: they are out of reach, and the default index's build has no code for a card of the plan.
    """
    address = first_url((root / plan.variant.lock).read_text(encoding="utf-8"))
    why = probe(address) if address else ""
    if not why:
        return plan, None
    site = address.split("/")[2]
    unreached = f"the wheels of variant {plan.variant.name} are out of reach ({site}: {why})"
    other = fallback(plan)
    if other is None:
        fix = f"let this machine reach {site}: HTTPS_PROXY for a proxy, WORKSPACE_CA_BUNDLE for certificates"
        raise HostError(Problem(unreached, fix))
    cpu = "" if plan.cards else "; it runs without a GPU too"
    return other, Problem(
        f"{unreached}; taking the default index's build of the same PyTorch, {other.variant.name}{cpu}",
        f"nothing to do; once {site} can be reached, `invoke clean` and repeat the command",
    )


def fallback(plan: Plan) -> Plan | None:
    """The same plan with the default index's build; None where that has no code for one of the cards.

    Its images keep the base of the variant that was chosen: the wheels bring their own CUDA.
    """
    other = VARIANTS[DEFAULT_INDEX]
    if not all(card.capability is None or other.kernel_for(card.capability) for card in plan.cards):
        return None
    base = "" if plan.cards else plan.variant.dev_base
    return replace(
        plan, variant=other, base_image=base, why_variant=f"the wheels of {plan.variant.name} are out of reach"
    )


def first_url(lock: str) -> str:
    """The first address in a lock whose wheels are named by address; empty for one from an index."""
    match = re.search(r"^\S+ @ (\S+)", lock, re.M)
    return match[1] if match else ""


def fetch_obstacle(address: str, ca_bundle: str | None = None) -> str:
    """Why a wheel cannot be fetched, asking for its header only; empty where it can. Follows HTTPS_PROXY.

    `ca_bundle` is trusted beside the system's certificates, also where a variable puts it in their place.
    """
    context = ssl.create_default_context()
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "gpu-workspace"})
    try:
        for file in [ca_bundle, *filter(os.path.exists, SYSTEM)] if ca_bundle else []:
            context.load_verify_locations(file)
        with urllib.request.urlopen(request, timeout=5, context=context):
            return ""
    except urllib.error.HTTPError as error:
        # Some mirrors answer only GET; then the address is right.
        return "" if error.code == 405 else f"HTTP {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))
