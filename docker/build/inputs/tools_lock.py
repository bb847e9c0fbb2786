"""Print the entries of dev.txt that runtime.txt lacks: the lock of the layer that only the dev image has.

tools_lock.py RUNTIME DEV > TOOLS
"""

from __future__ import annotations

import sys
from pathlib import Path

from app.host.backends.lockfiles import blocks


def pins(entries: list[str]) -> set[str]:
    """Return `name==version` of each entry, without the markers: they depend on what else requires the package."""
    return {entry.split()[0] for entry in entries}


runtime, dev = (blocks(Path(path).read_text()) for path in sys.argv[1:])
moved = sorted(name for name, entries in runtime.items() if pins(dev.get(name, [])) != pins(entries))
if moved:
    sys.exit(f"error: runtime.txt and dev.txt disagree about {', '.join(moved)}\n  fix: invoke lock")
print("\n".join(entry for name, entries in dev.items() if name not in runtime for entry in entries))
