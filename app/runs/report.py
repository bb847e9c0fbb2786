"""report.md: what a run reached, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.schema import Recipe


def report(
    recipe: Recipe,
    manifest: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, float]],
    tables: Mapping[str, str],
    curves: str | None,
    dev_scored: tuple[int, int],
) -> str:
    """Markdown of a finished run. `scores`: split to name to number; `tables`: heading to Markdown; `curves`: name of
    a picture beside the report."""
    scored, of = dev_scored
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    header = [f"| split | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    rows = [
        f"| {split} | {' | '.join(f'{v[n]:.4f}' if n in v else '' for n in names)} |" for split, v in scores.items()
    ]
    sections = [text for heading, table in tables.items() if table for text in (f"## {heading}", table)]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    hardware = manifest["hardware"]
    devices = ", ".join(gpu["name"] for gpu in hardware["gpus"]) or f"{hardware['cpu']}, {hardware['threads']} threads"
    return (
        "\n\n".join(
            [
                f"# {recipe.name}",
                f"{recipe.task}, started {manifest['started']}, on {devices}.",
                "\n".join(header + rows),
                *([f"Dev: {scored:,} of {of:,} examples were scored."] if scored < of else []),
                *([f"![loss, scores and learning rate over the steps]({curves})"] if curves else []),
                *sections,
                "## Made with",
                f"{versions}; code {manifest['code'].get('revision') or 'unknown'}; "
                f"recipe sha256 `{manifest['recipe_sha256']}`.",
            ]
        )
        + "\n"
    )
