"""CDI specifications, in every form that `nvidia-ctk cdi generate` and people write."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.host.probe.cdi import read_spec
from tests.host.fake_world import CDI_SPEC

# The members that could be taken for devices: mounts and hooks with names, as toolkit 1.17 writes them.
SPEC = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["name: no"]}],
        "mounts": [{"hostPath": "/usr/bin/nvidia-smi", "containerPath": "/usr/bin/nvidia-smi", "name": "no"}],
    },
    "devices": [
        {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "name": "no"}]}},
        {"containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}, "name": "GPU-3f2c1a00-1c5d"},
        {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}},
    ],
}


class Indented(yaml.SafeDumper):
    """Lists are indented below their key, as other writers of YAML do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


READ = ("nvidia.com/gpu", ["0", "GPU-3f2c1a00-1c5d", "all"])


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(SPEC, separators=(",", ":")),
        json.dumps(SPEC),
        json.dumps(SPEC, indent=2),
        yaml.safe_dump(SPEC),
        yaml.safe_dump(SPEC, sort_keys=False, explicit_start=True),
        yaml.safe_dump(SPEC, indent=4),
        yaml.dump(SPEC, default_style='"'),
        yaml.dump(SPEC, Dumper=Indented),
    ],
    ids=["one line", "spaces", "indented JSON", "sorted", "document start", "four spaces", "quoted", "indented lists"],
)
def test_every_form_gives_the_same_devices(text: str) -> None:
    assert read_spec(text) == READ


def test_the_flow_form_and_remarks() -> None:
    text = "kind: nvidia.com/gpu  # NVIDIA\ndevices:\n  # all cards\n  - {name: all, containerEdits: {}}\n"
    assert read_spec(text) == ("nvidia.com/gpu", ["all"])
    assert read_spec(CDI_SPEC) == ("nvidia.com/gpu", ["0", "all"])


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", '{"devices": 3}', '{"kind": 1, "devices": [{"name": "x"}, 4]}']
)
def test_what_is_no_specification_has_no_nvidia_devices(text: str) -> None:
    assert read_spec(text)[0] != "nvidia.com/gpu"


@given(st.text(alphabet="kind:devices name-all{}[]\"'\n #,x", max_size=200))
def test_no_text_is_an_error(text: str) -> None:
    read_spec(text)
