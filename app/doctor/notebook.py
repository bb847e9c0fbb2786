"""Start a Jupyter kernel, let it add two numbers, and stop it: `python -m app.doctor.notebook`."""

from __future__ import annotations

import sys
import time


def main() -> int:
    """Print how long the kernel took to start. Raises RuntimeError if its answer is wrong."""
    from jupyter_client.manager import start_new_kernel

    begin = time.perf_counter()
    manager, client = start_new_kernel(startup_timeout=30)
    try:
        ready = time.perf_counter() - begin
        printed: list[str] = []
        reply = client.execute_interactive(
            "print(20 + 22)",
            timeout=10,
            output_hook=lambda m: printed.append(m["content"].get("text", "")) if m["msg_type"] == "stream" else None,
        )
        if reply["content"]["status"] != "ok" or "".join(printed).strip() != "42":
            raise RuntimeError(f"the kernel answered {reply['content']} and printed {printed}")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    print(f"kernel {manager.kernel_name} ready after {ready:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
