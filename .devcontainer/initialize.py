"""Choose the dev container's variant and GPU overlay for this machine; runs on the host, before anything is built.

    python3 .devcontainer/initialize.py        writes .devcontainer/compose.host.yaml

Needs only Python 3.9 or later: invoke and the environment do not exist yet. Chooses as `invoke up` does.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from app.errors import WorkspaceError, print_warning  # noqa: E402
from app.host.backends import commands  # noqa: E402
from app.host.backends.build_inputs import build_inputs  # noqa: E402
from app.host.backends.clean import DEV_CONTAINER  # noqa: E402
from app.host.backends.docker import this_user  # noqa: E402
from app.host.plan.choose import Plan, Request, choose  # noqa: E402
from app.host.plan.wheels import fetch_obstacle, with_fallback  # noqa: E402
from app.host.probe.engine import Engine  # noqa: E402
from app.host.probe.machine import Host, detect  # noqa: E402
from app.host.world import World  # noqa: E402


def overlay(plan: Plan, host: Host, inputs: commands.BuildInputs, uid: int) -> dict[str, Any]:
    """Return the compose file that adds this machine's values to compose.yaml, as plain data; `uid` is the container's.

    It has no proxies: they may contain a password. compose.yaml takes them from the environment.
    """
    service: dict[str, Any] = {
        "image": commands.image_name(plan, host),
        # By name, because VS Code changes the id of this name to the host user's.
        "user": "dev" if uid else "root",
        "build": {
            "args": {"VARIANT": plan.variant.name, "LOCK_HASH": inputs.lock_hash, **inputs.options},
            "labels": {commands.INPUTS_LABEL: inputs.digest},
        },
        "environment": {**commands.device_env(plan), **({"NVIDIA_DISABLE_REQUIRE": "true"} if plan.skip_gate else {})},
    }
    if file := commands.gpu_overlay(plan):
        service["extends"] = {"file": str(ROOT / file), "service": commands.SERVICE}
    if host.ca_bundle:
        service["secrets"] = ["ca"]
    return {
        # Not the project of `invoke up`: each would replace the other's container.
        "name": commands.project(ROOT, os.environ.get("USER", ""), DEV_CONTAINER),
        "services": {commands.SERVICE: service},
        **({"secrets": {"ca": {"file": host.ca_bundle}}} if host.ca_bundle else {}),
    }


def main() -> int:
    world = World()
    host = detect(world)
    try:
        plan = choose(host, Request.of(world.env, None, "docker", None))
        if not world.run(["docker", "image", "inspect", commands.image_name(plan, host)]).ok:
            plan, warning = with_fallback(plan, ROOT, partial(fetch_obstacle, ca_bundle=host.ca_bundle))
            plan = replace(plan, warnings=(*plan.warnings, *([warning] if warning else [])))
        inputs = build_inputs(world, host, ROOT, plan.variant, "dev", plan.base_image)
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for warning in plan.warnings:
        print_warning(warning)
    target = HERE / "compose.host.yaml"
    draft = target.with_suffix(".new")
    uid = this_user(isinstance(host.engine, Engine) and host.engine.rootless).uid
    draft.write_text(json.dumps(overlay(plan, host, inputs, uid), indent=2) + "\n", encoding="utf-8")  # JSON is YAML
    draft.replace(target)
    print(f"variant {plan.variant.name}: {plan.why_variant}; GPUs: {plan.why_gpus or plan.gpu_mode}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
