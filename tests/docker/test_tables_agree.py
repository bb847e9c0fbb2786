"""What the Dockerfile, bake file and compose files say about variants is what app/host/variants.py says. No engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from app.host.backends import commands
from app.host.variants import VARIANTS, Variant

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
STAGES = {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)}


def base_of(stage: str) -> str:
    """The image that an alias leads to."""
    while stage in STAGES:
        stage = STAGES[stage]
    return stage


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_dockerfile_has_each_variants_bases(variant: Variant) -> None:
    assert base_of(f"{variant.name}-runtime") == variant.runtime_base
    assert base_of(f"{variant.name}-dev") == variant.dev_base
    assert base_of(f"{variant.name}-slim") == variant.slim_base


def test_the_dockerfile_has_no_other_variant() -> None:
    named = {match[1] for match in (re.fullmatch(r"(\w+)-(runtime|slim)", name) for name in STAGES) if match}
    assert named - {"variant"} == set(VARIANTS)


def test_both_images_have_the_same_environment() -> None:
    """They have no stage in common to inherit it from, so it stands there twice."""
    runtime, dev = DOCKERFILE.split("AS runtime\n")[1].split("AS dev\n")
    settings = [set(re.findall(r"^(?:ENV|    )\s*([A-Z_]+=\S+)", part, re.M)) for part in (runtime, dev)]
    assert settings[1] - settings[0] == {"PYTHONPATH=/workspace"}
    assert settings[0] <= settings[1]
    for instruction in ("ENTRYPOINT", "HEALTHCHECK", "WORKDIR", "USER"):
        lines = [re.findall(rf"^{instruction} .*$", part, re.M) for part in (runtime, dev)]
        assert lines[0] == lines[1] != []


def test_the_dockerfile_asks_for_no_frontend_from_a_registry() -> None:
    assert not re.match(r"#\s*syntax\s*=", DOCKERFILE)


def test_bake_builds_every_variant_and_target() -> None:
    bake = (ROOT / "docker" / "bake.hcl").read_text()
    lists = {name: re.findall(r'"(\w+)"', items) for name, items in re.findall(r"(\w+)\s*= \[(.*)\]", bake)}
    assert lists["variant"] == list(VARIANTS)
    assert set(lists["stage"]) == set(commands.TARGETS)


def test_compose_has_the_services_that_app_host_names() -> None:
    whole = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert whole["name"] == commands.PROJECT + "-${USER:-}${PWD:-}"  # commands.project() makes the same of it
    assert commands.SERVICE in whole["services"]
    for overlay in ("gpu", "cdi", "ca", "start"):
        named = yaml.safe_load((ROOT / "docker" / f"compose.{overlay}.yaml").read_text())["services"]
        assert set(named) <= set(whole["services"])


def test_no_service_listens_beyond_this_machine() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_nothing_that_a_build_copies_into_an_image_has_the_checkouts_modes() -> None:
    """The umask of whoever cloned decided them. The wheel's stage sets its own and only hands over a wheel."""
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]:
        for copy in re.findall(r"^COPY (.*)$", stage, re.M):
            inner = "--from=" in copy or "AS inputs" in stage  # from a stage, or a stage that no image is made from
            assert inner or "--chmod=" in copy or "chmod -R u=rwX,go=rX /src" in stage, copy


def test_no_argument_of_the_build_may_hold_a_password() -> None:
    """Arguments that a stage of the images uses stand in `docker history`."""
    for stage in ("base", "dev-base", "runtime", "dev"):
        (body,) = re.findall(rf"^FROM \S+ AS {stage}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
        assert set(re.findall(r"^ARG (\w+)", body, re.M)) <= {"VARIANT", "LOCK_HASH", "REVISION", "CREATED"}, stage
    assert "ARG APT_MIRROR" not in DOCKERFILE
    build = yaml.safe_load((ROOT / "compose.yaml").read_text())["x-build"]
    assert "APT_MIRROR" not in build["args"] and "apt_mirror" in build["secrets"]


def test_services_that_open_a_port_or_join_a_network_may_do_little() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name in set(services) - {commands.SERVICE}:
        service = services[name]
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True and service["pids_limit"] > 0
        assert service["security_opt"] == ["no-new-privileges:true"]
