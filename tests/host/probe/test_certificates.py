"""A company's certificates are trusted in addition to the system's, so every site stays reachable."""

from __future__ import annotations

import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.native import command_in
from app.host.plan import wheels
from app.host.plan.choose import Request, choose
from app.host.probe.certificates import SYSTEM, ca_env, write_ca_bundle
from app.host.probe.machine import detect
from tests.host.fake_world import CERTIFICATE, FakeWorld

FILES = {SYSTEM[1]: "system", "/company.pem": CERTIFICATE}


def test_both_bundles_are_in_one_file_that_variables_name(tmp_path: Path) -> None:
    world = FakeWorld(files=FILES, env={"WORKSPACE_CA_BUNDLE": "/company.pem"})
    write_ca_bundle(world, tmp_path)
    joined = tmp_path / ".cache" / "ca.pem"
    assert joined.read_text() == f"system\n{CERTIFICATE}"
    assert list(joined.parent.iterdir()) == [joined]
    assert ca_env(world, tmp_path) == {"SSL_CERT_FILE": str(joined), "REQUESTS_CA_BUNDLE": str(joined)}


def test_a_changed_bundle_is_written_again(tmp_path: Path) -> None:
    for text in (CERTIFICATE, f"{CERTIFICATE}# renewed\n"):
        write_ca_bundle(FakeWorld(files={**FILES, "/company.pem": text}, env={"PIP_CERT": "/company.pem"}), tmp_path)
        assert (tmp_path / ".cache" / "ca.pem").read_text() == f"system\n{text}"


def test_an_invoke_started_by_another_leaves_the_file(tmp_path: Path) -> None:
    joined = str(tmp_path / ".cache" / "ca.pem")
    world = FakeWorld(files={**FILES, joined: CERTIFICATE}, env={"SSL_CERT_FILE": joined, "REQUESTS_CA_BUNDLE": joined})
    write_ca_bundle(world, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert ca_env(world, tmp_path) == {}


def test_without_a_bundle_nothing_is_set_or_written(tmp_path: Path) -> None:
    for env in ({}, {"SSL_CERT_FILE": SYSTEM[1]}):
        world = FakeWorld(files=FILES, env=env)
        write_ca_bundle(world, tmp_path)
        assert ca_env(world, tmp_path).get("SSL_CERT_FILE") is None
        assert list(tmp_path.iterdir()) == []


def test_the_users_own_bundle_for_requests_stays(tmp_path: Path) -> None:
    env = {"WORKSPACE_CA_BUNDLE": "/company.pem", "REQUESTS_CA_BUNDLE": "/mine.pem"}
    assert set(ca_env(FakeWorld(files=FILES, env=env), tmp_path)) == {"SSL_CERT_FILE"}


def test_a_cache_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / ".cache").touch()  # root may write anywhere, but not into a file
    with pytest.raises(HostError, match=r"ca\.pem cannot be written"):
        write_ca_bundle(FakeWorld(files=FILES, env={"PIP_CERT": "/company.pem"}), tmp_path)


def test_commands_of_the_native_environment_trust_both(tmp_path: Path) -> None:
    """For example a model's download behind a proxy that opens TLS."""
    world = FakeWorld(files=FILES, env={"WORKSPACE_CA_BUNDLE": "/company.pem", "PATH": "/bin"})
    plan = choose(detect(world), Request(backend="native"))
    command = command_in(tmp_path, plan, ["app", "train", "sentiment"], world)
    joined = str(tmp_path / ".cache" / "ca.pem")
    assert (command.env["SSL_CERT_FILE"], command.env["REQUESTS_CA_BUNDLE"]) == (joined, joined)
    assert command.background["PATH"].endswith(":/bin")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield (address, its certificate, another certificate) of a local TLS server."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    for name in ("localhost", "company"):
        made = [*("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}")]
        made += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([openssl, *made], cwd=tmp_path, check=True, capture_output=True)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "localhost.pem", tmp_path / "localhost.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}/torch.whl", tmp_path / "localhost.pem", tmp_path / "company.pem"
    server.shutdown()
    server.server_close()


def test_sites_that_the_system_trusts_stay_reachable_with_a_companys_bundle(
    site: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, theirs, company = site
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(company))  # as many guides recommend
    monkeypatch.setattr(wheels, "SYSTEM", ("/nowhere.pem",))
    assert "CERTIFICATE_VERIFY_FAILED" in wheels.fetch_obstacle(address, str(company))
    monkeypatch.setattr(wheels, "SYSTEM", (str(theirs), "/nowhere.pem"))
    assert wheels.fetch_obstacle(address, str(company)) == ""
    assert wheels.fetch_obstacle(address, str(theirs)) == ""


@pytest.mark.parametrize("proxy", ["http://ana:secret@proxy:port", "http://[ana:secret@proxy", "ana:se/cret@proxy:1"])
def test_a_proxy_that_cannot_be_read_is_a_sentence_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    said = wheels.fetch_obstacle("https://wheels.invalid/torch.whl")
    assert said
    assert "secret" not in said and "cret" not in said
