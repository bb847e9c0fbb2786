"""Check whether a variant's wheels can be fetched from here, and fall back to another variant if they cannot.

Two variants take torch from the PyTorch index, which some networks block. The default package index has the CUDA 11.7
build of the same release. It also runs without a GPU, so it is the fallback if it has code for every card.
"""

from __future__ import annotations

import http.client
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

FetchProbe = Callable[[str], str]  # a URL -> why it cannot be reached; empty if it can


def with_fallback(plan: Plan, root: Path, probe: FetchProbe) -> tuple[Plan, Problem | None]:
    """Return the plan; if its wheels cannot be reached, the fallback and a warning.

    Raises:
        HostError: if they cannot be reached and the default index's build has no code for a card of the plan.
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
    cpu = "" if plan.cards else ", which also runs without a GPU"
    return other, Problem(
        f"{unreached}; using the default index's build of the same PyTorch, {other.variant.name}{cpu}",
        f"nothing to do; when {site} can be reached, run `invoke clean` and repeat the command",
    )


def fallback(plan: Plan) -> Plan | None:
    """Return the plan with the default index's build, or None if that has no code for one of the cards.

    Without cards its image is built on the base of the original variant, because the wheels bring their own CUDA.
    """
    other = VARIANTS[DEFAULT_INDEX]
    if not all(card.capability is None or other.kernel_for(card.capability) for card in plan.cards):
        return None
    base = "" if plan.cards else plan.variant.dev_base
    return replace(
        plan, variant=other, base_image=base, why_variant=f"the wheels of {plan.variant.name} are out of reach"
    )


def first_url(lock: str) -> str:
    """Return the first URL in a lock that names its wheels by URL; empty for a lock that uses an index."""
    match = re.search(r"^\S+ @ (\S+)", lock, re.M)
    return match[1] if match else ""


def fetch_obstacle(address: str, ca_bundle: str | None = None) -> str:
    """Return why a wheel cannot be fetched, from a HEAD request; empty if it can. Uses HTTPS_PROXY.

    `ca_bundle` is trusted in addition to the system's certificates, even if a variable replaces them by it.
    """
    context = ssl.create_default_context()
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "gpu-workspace"})
    try:
        for file in [ca_bundle, *filter(os.path.exists, SYSTEM)] if ca_bundle else []:
            context.load_verify_locations(file)
        with urllib.request.urlopen(request, timeout=5, context=context):
            return ""
    except urllib.error.HTTPError as error:
        # Some mirrors answer only GET: 405 means that the URL exists.
        return "" if error.code == 405 else f"HTTP {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))
    except (ValueError, http.client.HTTPException):  # its text may have the password of the proxy
        return "the address in HTTPS_PROXY or HTTP_PROXY cannot be read"
