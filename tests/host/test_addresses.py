"""Addresses are shown without their passwords, however they are written, and another machine's is told from ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.host.addresses import is_remote, without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://ana:p%40ss@proxy:3128/", "http://proxy:3128/"),
        ("http://ana:se/cr@et@proxy:3128", "http://proxy:3128"),
        ("ana:secret@proxy:3128", "proxy:3128"),
        ("//ana:secret@proxy", "//proxy"),
        ("socks5h://ana:secret@[::1]:1080", "socks5h://[::1]:1080"),
        ("http://ana:[secret@proxy", "http://proxy"),  # urlsplit raises ValueError
        ("localhost,.example", "localhost,.example"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert without_password(address) == shown


@given(st.sampled_from(["", "//", "http://", "HTTPS://", "socks5://"]), st.text(max_size=8), st.text(max_size=8))
def test_no_form_of_password_is_shown(scheme: str, before: str, after: str) -> None:
    assert "S3CRET" not in without_password(f"{scheme}ana:{before}S3CRET{after}@proxy:3128")


@pytest.mark.parametrize(
    ("address", "remote"),
    [
        ("", False),
        ("unix:///var/run/docker.sock", False),
        ("npipe:////./pipe/docker_engine", False),
        ("tcp://127.0.0.1:2375", False),
        ("tcp://localhost:2375", False),
        ("tcp://[::1]:2375", False),
        ("tcp://10.0.0.2:2375", True),
        ("tcp://[fe80::1]:2375", True),
        ("ssh://ana@build.example", True),
        ("https://engine.example:2376", True),
    ],
)
def test_another_machines_engine_is_told_from_ours(address: str, remote: bool) -> None:
    assert is_remote(address) is remote
