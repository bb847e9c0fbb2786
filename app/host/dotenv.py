"""The settings in the checkout's `.env`, which compose reads too: both must see the same variant, image and mirror."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

# What compose.yaml and `invoke` both ask for. A token in `.env` is compose's alone: it becomes part of the container.
_NAMES = ("COMPOSE_PROJECT_NAME", "PIP_INDEX_URL", "APT_MIRROR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=[ \t]*"""
    r"""(?:'(?P<raw>[^']*)'|"(?P<quoted>[^"]*)"|(?P<bare>.*))"""
)


def with_dotenv(env: Mapping[str, str], root: Path) -> Mapping[str, str]:
    """Return `env` with the settings of `root/.env` that it lacks; unchanged if that file cannot be read.

    The form is compose's: quotes, `export`, remarks after ` #`, and `${NAME}` outside single quotes.
    """
    try:
        lines = (root / ".env").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return env
    found: dict[str, str] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None or not (match["name"].startswith("WORKSPACE_") or match["name"] in _NAMES):
            continue
        value = match["raw"]
        if value is None:
            text = match["quoted"] if match["quoted"] is not None else re.sub(r"\s+#.*|^#.*", "", match["bare"]).strip()
            value = Template(text).safe_substitute({**found, **env})
        found[match["name"]] = value
    return {**found, **env}
