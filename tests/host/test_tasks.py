"""The invoke tasks as a user types them, on a machine made of stub programs."""

from __future__ import annotations

import functools
import os
import re
import resource
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from invoke.parser import Parser, ParserContext

from app.cli import VERBS
from tests.host.fake_world import NVIDIA_RUNTIME, docker_info

ROOT = Path(__file__).parents[2]
INVOKE = Path(sys.executable).with_name("invoke")
TASKS = {"up", "down", "shell", "build", "train", "app", "bench", "status", "doctor", "test", "lint", "lock", "clean"}

pytestmark = pytest.mark.skipif(not INVOKE.exists(), reason="invoke is not installed with this Python")


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH with the system's tools, and no Docker, driver or uv but what a test puts there."""
    for name in ("sh", "bash", "env", "git", "cat", "echo", "realpath", "dirname"):
        found = next(p for p in (Path("/bin") / name, Path("/usr/bin") / name) if p.exists())
        (tmp_path / name).symlink_to(found)
    return tmp_path


def with_gpu(machine: Path) -> None:
    info = docker_info(Runtimes=NVIDIA_RUNTIME, CgroupDriver="cgroupfs")
    program(machine, "docker", f'[ "$1" = info ] && echo {shlex.quote(info)} || exit 1')
    row = "0, NVIDIA GeForce RTX 4090, GPU-1, 535.104.05, 24564, 8.9"
    program(machine, "nvidia-smi", f"echo {shlex.quote(row)}")


def invoke(machine: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [str(INVOKE), *arguments],
        cwd=ROOT,
        # An engine on a port, so that this machine's disk has no say; wheels of an index, which is not asked first.
        env={
            **kept,
            "PATH": str(machine),
            "DOCKER_HOST": "tcp://127.0.0.1:2375",
            "WORKSPACE_VARIANT": "cu117",
            **env,
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_the_list_is_a_table_of_contents_and_quick(machine: Path) -> None:
    """0.4 s of processor time: on a machine with nothing else to do that is what a user waits."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = invoke(machine, "--list")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert set(re.findall(r"^  (\S+)   ", done.stdout, re.M)) == TASKS
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.4


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("invoke ", TASKS),
        ("invoke tr", {"train"}),
        ("invoke train sentiment --", {"--backend", "--dry", "--gpus", "--recipe", "--set", "--variant"}),
        ("invoke train --se", {"--set"}),
        ("invoke trian --va", set()),
        ('invoke app "runs li', set()),
        ("invoke app \"doctor explain can't op", set()),
    ],
)
def test_bash_completes_tasks_and_options(tmp_path: Path, line: str, expected: set[str]) -> None:
    environ = {**os.environ, "PATH": f"{INVOKE.parent}:{os.environ['PATH']}"}
    script = tmp_path / "invoke.bash"
    made = subprocess.run([INVOKE, "--print-completion-script", "bash"], cwd=ROOT, capture_output=True, check=True)
    script.write_bytes(made.stdout)
    press_tab = 'source "$1"; COMP_WORDS=("$2"); _complete_invoke invoke "$3"; echo "${COMPREPLY[*]}"'
    command = ["bash", "--noprofile", "--norc", "-c", press_tab, "bash", str(script), line, line.rsplit(" ", 1)[1]]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected


def test_every_task_and_argument_has_help() -> None:
    for context in contexts():
        assert docstring(context), context.name
        for argument in context.args.values():
            assert argument.help, f"{context.name} {argument.name}"


@functools.cache
def contexts() -> list[ParserContext]:
    """The tasks as `invoke` parses them. Made once: invoke forgets the help texts when asked again."""
    import tasks

    made: list[ParserContext] = tasks.ns.to_contexts()
    return made


def docstring(context: ParserContext) -> str:
    import tasks

    return tasks.ns.tasks[str(context.name)].__doc__ or ""


def examples() -> list[str]:
    """Every `invoke ...` in the help texts, and every `--set KEY=VALUE` as an option of its task."""
    found = []
    for context in contexts():
        for text in (docstring(context), *(argument.help for argument in context.args.values())):
            found += re.findall(r"invoke [a-z]+ (?:\"[^\"]*\"|[^`\s.:;]+)(?= |\.|$|`)", text)
            found += [f"invoke {context.name} sentiment {option}" for option in re.findall(r"--set [^\s;]+", text)]
    return [e.replace("invoke bench sentiment", "invoke bench --recipe sentiment") for e in found]


@pytest.mark.parametrize("example", examples())
def test_every_example_in_a_help_text_is_accepted(example: str) -> None:
    """By the parser of `invoke` and, for what it passes on, by the parser of the verb of `app`."""
    (parsed,) = Parser(contexts(), ParserContext()).parse_argv(shlex.split(example)[1:])[1:]
    given = {name: argument.value for name, argument in parsed.args.items()}
    overridden = ["train", given.get("recipe"), *given.get("set", [])]  # `invoke bench` takes the same overrides
    words = shlex.split(given["arguments"]) if parsed.name == "app" else overridden
    if words == ["--help"]:
        return
    options = VERBS[words[0]].load().parser().parse_intermixed_args(words[1:])
    assert getattr(options, "recipe", None) in (None, *(path.stem for path in (ROOT / "app/recipes").glob("*.yaml")))


def test_the_help_texts_have_examples_of_three_tasks() -> None:
    assert {example.split()[1] for example in examples()} == {"train", "app", "bench"}


def test_dry_prints_the_exact_commands_for_a_gpu_host(machine: Path) -> None:
    with_gpu(machine)
    done = invoke(machine, "up", "--dry", "--command", "nvidia-smi -L")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "GPUs      0: NVIDIA GeForce RTX 4090 (sm_89), driver 535.104.05 through the NVIDIA runtime" in done.stderr
    assert "variant   cu117 (torch 2.0.1+cu117): asked for" in done.stderr
    build, up, execute = [line for line in done.stderr.splitlines() if line.startswith("$ ")]
    assert "--tag gpu-workspace:cu117-dev" in build
    assert "--file compose.yaml --file docker/compose.gpu.yaml --file docker/compose.start.yaml up --detach" in up
    assert execute.endswith("bash -c 'nvidia-smi -L'")


def test_train_hands_overrides_on_bare(machine: Path) -> None:
    with_gpu(machine)
    done = invoke(
        machine, "train", "sentiment", "--set", "trainer.max_epochs=1", "--set", "data.train=a b.tsv", "--dry"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("app train sentiment trainer.max_epochs=1 'data.train=a b.tsv'")


def test_app_splits_its_one_word(machine: Path) -> None:
    with_gpu(machine)
    done = invoke(machine, "app", "runs sentiment --json", "--dry")
    assert done.stderr.splitlines()[-1].endswith("app runs sentiment --json")


def test_a_verb_that_is_also_a_task_is_still_the_verb(machine: Path) -> None:
    with_gpu(machine)
    done = invoke(machine, "app", "doctor", "--dry")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("app doctor")


def test_a_shell_is_started_after_the_environment_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell's start file lies in the environment: written before, it would be nowhere."""
    import tasks

    there: list[str] = []

    def shell_command(plan: None) -> list[str]:
        return ["bash", *there]

    def run(plan: None, argv: list[str], terminal: bool) -> int:
        assert argv == ["bash", "the environment"]
        return 0

    workspace = SimpleNamespace(plan=None, ensure=lambda: there.append("the environment"), run=run)
    monkeypatch.setattr(tasks, "the_workspace", lambda *asked: workspace)
    monkeypatch.setattr("app.host.workspace.shell_command", shell_command)
    tasks.shell.body(None)


def test_the_environment_names_variant_and_back_end(machine: Path) -> None:
    with_gpu(machine)
    done = invoke(
        machine, "build", "--target", "runtime", "--dry", WORKSPACE_VARIANT="cu117", WORKSPACE_BACKEND="docker"
    )
    assert "--target runtime --tag gpu-workspace:cu117-runtime" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "fix"),
    [
        (["trian", "sentiment"], "there is no task 'trian'", "did you mean `train`?"),
        (["up", "--variant", "cu119"], "there is no variant 'cu119'", "cu118, cu117, cpu"),
        (["up", "--backend", "docker"], "Docker is not installed", "install Docker 23"),
        (["clean"], "nothing was removed", "add `--yes`"),
        (["app", "doctor explain can't open display"], "cannot be split into words: no closing quotation", "once more"),
    ],
)
def test_a_users_error_is_two_lines_and_code_2(machine: Path, arguments: list[str], error: str, fix: str) -> None:
    done = invoke(machine, *arguments)
    assert done.returncode == 2, done.stderr
    said, mended = done.stderr.splitlines()[-2:]
    assert said.startswith("error: ")
    assert error in said
    assert mended.startswith("  fix: ")
    assert fix in mended
    assert "Traceback" not in done.stderr


def test_inside_the_container_the_command_runs_at_once(machine: Path) -> None:
    inside = {"WORKSPACE_INSIDE": "1", "WORKSPACE_VARIANT": "cu117"}
    done = invoke(machine, "up", "--command", "echo here; exit 5", **inside)
    assert (done.stdout, done.returncode) == ("here\n", 5)
    assert "back end  inside: already in the container" in done.stderr


def test_a_blackwell_card_is_refused_before_anything_is_built(machine: Path) -> None:
    with_gpu(machine)
    program(machine, "nvidia-smi", "echo '0, NVIDIA GeForce RTX 5090, GPU-1, 580.65.06, 32607, 12.0'")
    done = invoke(machine, "up", "--dry")
    assert done.returncode == 2
    assert "Blackwell needs PyTorch 2.7" in done.stderr
    assert "--gpus none" in done.stderr
    assert "$ " not in done.stderr
