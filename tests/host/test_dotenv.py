"""`.env` means for `invoke` what it means for compose."""

from __future__ import annotations

from pathlib import Path

from app.host.dotenv import with_dotenv

TEXT = """\
# remark
WORKSPACE_VARIANT=cu117
export WORKSPACE_SLIM="1"  # remark
WORKSPACE_IMAGE='a$b' # remark
WORKSPACE_BASE_IMAGE=${MIRROR}/cuda:11.8 # remark
APT_MIRROR = "http://u:p#w@mirror"
WORKSPACE_CACHE=
COMPOSE_PROJECT_NAME=mine#1
HF_TOKEN=secret
no assignment
"""


def test_settings_are_read_as_compose_reads_them_and_tokens_are_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(TEXT)
    assert with_dotenv({"MIRROR": "hub.example"}, tmp_path) == {
        "MIRROR": "hub.example",
        "WORKSPACE_VARIANT": "cu117",
        "WORKSPACE_SLIM": "1",
        "WORKSPACE_IMAGE": "a$b",
        "WORKSPACE_BASE_IMAGE": "hub.example/cuda:11.8",
        "APT_MIRROR": "http://u:p#w@mirror",
        "WORKSPACE_CACHE": "",
        "COMPOSE_PROJECT_NAME": "mine#1",
    }


def test_the_environment_comes_first(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WORKSPACE_VARIANT=cu117\n")
    assert with_dotenv({"WORKSPACE_VARIANT": "cpu"}, tmp_path) == {"WORKSPACE_VARIANT": "cpu"}


def test_no_file_and_an_unreadable_one_change_nothing(tmp_path: Path) -> None:
    assert with_dotenv({"A": "b"}, tmp_path) == {"A": "b"}
    (tmp_path / ".env").write_bytes(b"WORKSPACE_VARIANT=\xff\xfe\n")
    assert with_dotenv({"A": "b"}, tmp_path) == {"A": "b"}
