"""A Runner that notes commands instead of running them, and answers with the exit codes it is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.host.backends.commands import Command
from app.host.backends.runner import Runner


class RecordingRunner(Runner):
    """`react` is called with each command and returns its exit code; it may do what the command would have done."""

    def __init__(self, root: Path, react: Callable[[Command], int] = lambda command: 0, dry: bool = False) -> None:
        super().__init__(dry=dry, root=root)
        self.react = react
        self.commands: list[Command] = []
        self.output = ""

    @property
    def lines(self) -> list[str]:
        return [command.line for command in self.commands]

    def run(self, command: Command, on_signal: Callable[[int], None] | None = None) -> int:
        self.commands.append(command)
        return self.react(command)

    def observe(self, command: Command) -> tuple[int, str]:
        return self.run(command), self.output
