"""Containers of the tests' own: each is removed when its test is over, whatever happened in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from docker import DockerClient
from docker.models.containers import Container

LABEL = "gpu-workspace.test"


@dataclass(frozen=True)
class Finished:
    """A container that ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Output of a command that must succeed and say nothing on standard error."""
        assert (self.code, self.err) == (0, ""), self
        return self.out


@dataclass(frozen=True)
class Boxes:
    """Runs commands in new containers. Options are those of the SDK's `containers.create`."""

    client: DockerClient

    @contextmanager
    def started(self, image: str, *argv: str, **options: Any) -> Iterator[Container]:
        """A running container."""
        box = self.client.containers.create(image, list(argv), labels=[LABEL], **options)
        try:
            box.start()
            yield box
        finally:
            box.remove(force=True, v=True)

    def run(self, image: str, *argv: str, timeout: float = 60, **options: Any) -> Finished:
        """Run a command to its end; `timeout` in seconds."""
        with self.started(image, *argv, **options) as box:
            return finished(box, timeout)


def finished(box: Container, timeout: float = 60) -> Finished:
    """Wait for a container's end."""
    code = box.wait(timeout=timeout)["StatusCode"]
    return Finished(code, box.logs(stderr=False).decode(), box.logs(stdout=False).decode())
