"""What stops the workspace before anything is started: the checkout's path, certificates, a setting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.errors import HostError
from app.host.plan.choose import Request, choose
from app.host.probe.machine import Host, detect
from app.host.variants import slim
from tests.host.fake_world import CERTIFICATE, FakeWorld, docker_info


def host(project: str = "/home/ana/workspace", **machine: Any) -> Host:
    return replace(detect(FakeWorld({"docker info": docker_info()}, **machine)), project=project)


def test_a_colon_in_the_checkouts_path_stops_what_needs_path() -> None:
    odd = host("/home/ana/12:30/workspace")
    with pytest.raises(HostError, match="path has a colon") as caught:
        choose(odd, Request(backend="native"))
    assert "/home/ana/12:30/workspace" in caught.value.problems[0].what
    assert choose(odd, Request(backend="docker")).backend == "docker"
    assert choose(host(), Request(backend="native")).backend == "native"


@pytest.mark.parametrize(
    ("files", "named", "error"),
    [
        ({}, "/company.pem", "/company.pem, which does not exist"),
        ({"/etc/ssl/certs/company.pem": CERTIFICATE}, "/etc/ssl/certs", "/etc/ssl/certs, which is a folder"),
        ({"/company.pem": "0\x82\x03U"}, "/company.pem", "which holds no certificate in PEM form"),
        ({"/company.pem": ""}, "/company.pem", "which holds no certificate in PEM form"),
        ({"/company.pem": CERTIFICATE.replace("M", "N", 4)}, "/company.pem", "a certificate that cannot be parsed"),
        ({"/work/company.pem": "x"}, "company.pem", "/work/company.pem, which holds no certificate"),
    ],
)
def test_certificates_that_cannot_be_used_stop_a_build_and_warn_natively(
    files: dict[str, str], named: str, error: str
) -> None:
    odd = host(files=files, env={"WORKSPACE_CA_BUNDLE": named})
    with pytest.raises(HostError) as caught:
        choose(odd, Request())
    (problem,) = caught.value.problems
    assert problem.what.startswith("WORKSPACE_CA_BUNDLE names /")
    assert error in problem.what
    native = choose(odd, Request(backend="native"))
    assert error in native.warnings[0].what


def test_a_bundle_that_cannot_be_read() -> None:
    class Unreadable(FakeWorld):
        def read(self, path: str) -> str | None:
            return None if path == "/company.pem" else super().read(path)

    found = detect(Unreadable(files={"/company.pem": CERTIFICATE}, env={"PIP_CERT": "/company.pem"}))
    assert (found.ca_bundle, found.ca_error) == (None, "this user may not read")


@pytest.mark.parametrize("text", [CERTIFICATE, f"# Company, Zürich\n{CERTIFICATE}\n{CERTIFICATE}"])
def test_a_relative_bundle_is_absolute_before_anything_reads_it(text: str) -> None:
    found = host(files={"/work/certs/company.pem": text}, env={"SSL_CERT_FILE": "certs/company.pem"})
    assert (found.ca_bundle, found.ca_missing) == ("/work/certs/company.pem", "")
    assert choose(found, Request()).backend == "docker"


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("false", False),
        ("no", False),
        ("", False),
    ],
)
def test_slim_is_a_yes_or_no(value: str, meant: bool) -> None:
    assert slim({"WORKSPACE_SLIM": value}) is meant
    assert not slim({})


def test_another_value_of_slim_is_refused_before_anything_is_built() -> None:
    with pytest.raises(HostError, match="WORKSPACE_SLIM='maybe' is neither yes nor no"):
        choose(host(env={"WORKSPACE_SLIM": "maybe"}), Request())
    assert choose(host(env={"WORKSPACE_SLIM": "maybe"}), Request(backend="native")).backend == "native"
