"""What .devcontainer/initialize.py writes for a machine, without an engine."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from app.host.backends.commands import BuildInputs
from app.host.plan.choose import Request, choose
from app.host.probe.machine import detect
from tests.host.fake_world import FakeWorld, docker_info

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def initialize() -> ModuleType:
    spec = importlib.util.spec_from_file_location("initialize", ROOT / ".devcontainer" / "initialize.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(initialize: ModuleType, uid: int = 1000, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    host = detect(FakeWorld({"docker info": docker_info()}, env=env))
    overlay: dict[str, Any] = initialize.overlay(choose(host, Request()), host, BuildInputs("l0ck", "d1gest"), uid)
    return overlay


def test_no_password_is_written(initialize: ModuleType) -> None:
    secrets = {
        "HTTPS_PROXY": "http://me:planted@proxy:3128",
        "http_proxy": "http://me:planted@proxy:3128",
        "PIP_INDEX_URL": "https://me:planted@index.example/simple",
        "APT_MIRROR": "http://me:planted@mirror.example",
        "HF_TOKEN": "planted",
    }
    assert "planted" not in json.dumps(written(initialize, env=secrets))


def test_root_on_the_host_is_root_in_the_container_as_with_invoke(initialize: ModuleType) -> None:
    """Else the checkout could not be written to. The same for an engine without root, if root is the user."""
    assert written(initialize, uid=0)["services"]["dev"]["user"] == "root"
    assert written(initialize, uid=1000)["services"]["dev"]["user"] == "dev"
    settings = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    assert '"remoteUser"' not in settings, "it would override the service's user"


def test_each_checkout_and_user_has_a_project(initialize: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "me")
    mine = written(initialize)["name"]
    monkeypatch.setenv("USER", "you")
    assert written(initialize)["name"] != mine
    monkeypatch.setenv("USER", "me")
    monkeypatch.setattr(initialize, "ROOT", Path("/another/clone"))
    assert written(initialize)["name"] not in (mine, "")
