"""What an edit costs: only what depends on it is built again."""

from __future__ import annotations

import time
from pathlib import Path

from docker import DockerClient

from tests.images.boxes import Boxes
from tests.images.conftest import VARIANT, invoke
from tests.images.test_layers import layers


def rebuilt(client: DockerClient, checkout: Path, env: dict[str, str]) -> list[str]:
    """Layers of the runtime image that this checkout makes."""
    done = invoke("build", "--target", "runtime", env=env, root=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    return layers(client, f"gpu-workspace:{VARIANT}-runtime")


def test_an_edit_to_the_package_rebuilds_its_layer_alone(
    client: DockerClient, images: dict[str, str], build_env: dict[str, str], checkout: Path
) -> None:
    before = rebuilt(client, checkout, build_env)
    seconds = []
    for _ in range(2):  # the better of two: the machine has other things to do
        # Any module, those too that the build itself reads.
        for name in ("app/cli/__init__.py", "app/errors.py", "app/host/variants.py"):
            with (checkout / name).open("a") as file:
                file.write(f"\n# {time.time()}\n")
        started = time.monotonic()
        after = rebuilt(client, checkout, build_env)
        seconds.append(time.monotonic() - started)
        assert after[:-1] == before[:-1]
        assert after[-1] != before[-1]
    assert min(seconds) < 10


def test_an_edit_to_the_tests_or_the_readme_rebuilds_nothing(
    client: DockerClient, images: dict[str, str], build_env: dict[str, str], checkout: Path
) -> None:
    before = rebuilt(client, checkout, build_env)
    (checkout / "README.md").write_text("Something else.\n")
    (checkout / "tests").mkdir()
    (checkout / "tests" / "test_new.py").write_text("def test_new() -> None: ...\n")
    assert rebuilt(client, checkout, build_env) == before


def test_a_new_tool_does_not_touch_runtime(
    client: DockerClient, images: dict[str, str], build_env: dict[str, str], checkout: Path
) -> None:
    """dev.txt is runtime.txt and the tools; an edit to a tool's entry moves the tools' layer and no other."""
    before = rebuilt(client, checkout, build_env)
    lock = checkout / "docker" / "locks" / "dev.txt"
    lock.write_text(lock.read_text() + "\n# a comment at the end belongs to the last tool\n")
    assert rebuilt(client, checkout, build_env)[:-1] == before[:-1]


def test_modes_are_not_those_of_the_checkout(
    client: DockerClient, images: dict[str, str], build_env: dict[str, str], checkout: Path, boxes: Boxes
) -> None:
    """A clone under umask 077 would make files that only root can read or start, one under 002 files for the group."""
    listing = "find /opt/venv/lib/python3.10/site-packages/app /opt/venv/locks /usr/local/bin -printf '%m %p\\n' | sort"
    found = []
    for umask in (0o077, 0o002):
        # Not the inputs of torch's layer, which another mode would rebuild: minutes.
        scripts = (checkout / "docker").glob("*.sh")
        for path in (checkout / "app", *(checkout / "app").rglob("*"), checkout / "pyproject.toml", *scripts):
            kind = 0o777 if path.is_dir() or path.stat().st_mode & 0o100 else 0o666
            path.chmod(kind & ~umask)
        rebuilt(client, checkout, build_env)
        found.append(boxes.run(f"gpu-workspace:{VARIANT}-runtime", "sh", "-c", listing, user="1234:1234").text)
    assert found[0] == found[1]
    modes = {line.split()[0] for line in found[0].splitlines()}
    assert "755 /usr/local/bin/entrypoint.sh" in found[0]
    assert modes <= {"755", "644", "777"}, modes  # 777: links
