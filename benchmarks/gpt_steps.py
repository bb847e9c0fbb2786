"""Time the steps of gpt-char in a separate process: this package, or a plain eager float32 loop.

    python -m benchmarks.gpt_steps plain --data input.txt --steps 200

prints one JSON list: the seconds of each step.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from benchmarks.json_process import stdout_to_stderr

WARM_UP = 20  # steps that are not counted: allocations, the first touch of every page, the compiler


def ours(settings: Sequence[str], steps: int) -> list[float]:
    """Return the seconds of each step of the package's own training, loading and records included."""
    from app.config import load
    from app.finetune.session import prepare

    marks: list[float] = []
    session = prepare(load("gpt-char", [*settings, f"trainer.max_steps={steps}"]))
    update = session.step.update

    def marked() -> None:
        update()
        marks.append(time.perf_counter())

    session.step.update = marked  # type: ignore[method-assign]
    session.fit()
    return [after - before for before, after in zip(marks, marks[1:])]


def plain(settings: Sequence[str], steps: int) -> list[float]:
    """Return the seconds of each step of a simple loop on the same batches: float32, eager, torch's AdamW."""
    import torch
    from torch.nn.utils.clip_grad import clip_grad_norm_

    from app.config import load
    from app.finetune.session import prepare

    session = prepare(load("gpt-char", [*settings, "trainer.precision=fp32", "trainer.deterministic=false"]))
    recipe, model = session.recipe, session.model
    chosen = recipe.optimizer
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=chosen.lr, betas=chosen.betas, weight_decay=chosen.weight_decay
    )
    model.train()
    marks = []
    for batch, _ in zip(chain.from_iterable(repeat(session.train_loader)), range(steps)):
        loss = session.task.loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        mean: Any = loss / session.task.weight(batch)
        mean.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        marks.append(time.perf_counter())
    return [after - before for before, after in zip(marks, marks[1:])]


def main(argv: Sequence[str] | None = None) -> None:
    """Train `--steps` steps and print the seconds of each as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpt_steps", description=__doc__)
    parser.add_argument("side", choices=("ours", "plain"))
    parser.add_argument("--data", type=Path, required=True, help="a text file")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(argv)
    with stdout_to_stderr():
        settings = [f"data.train={options.data}", *options.overrides]
        seconds = (ours if options.side == "ours" else plain)(settings, options.steps + WARM_UP)
    print(json.dumps(seconds[WARM_UP:]))


if __name__ == "__main__":
    main()
