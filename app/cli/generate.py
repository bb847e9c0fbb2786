"""`app generate`: what is typed, and what is printed.

app generate gpt-char --prompt "The light" --temperature 0.8 --top-k 40 --max-tokens 300
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path


def generate(argv: Sequence[str]) -> int:
    """Go on with a text by a trained language model; the same seed gives the same text."""
    parser = argparse.ArgumentParser(prog="app generate", description=generate.__doc__)
    parser.add_argument("run", help="folder of a run, or a recipe's name for its newest run")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="text to go on with (default: begin a new one)")
    parser.add_argument("--max-tokens", type=int, default=200, metavar="N", help="most tokens to add (default: 200)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="0: the likeliest token; 1 (default): as learned"
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens only")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest that reach probability P")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the draw (default: 1)")
    parser.add_argument(
        "--samples", type=int, default=1, metavar="N", help="texts to make, at the same time (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a text: prompt and text")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where run folders are (default: runs)"
    )
    options = parser.parse_args(argv)
    if options.samples < 1:
        parser.error("--samples: give a whole number from 1")

    from app.finetune.generation.sampling import Sampling
    from app.runs.folder import find

    sampling = Sampling(options.max_tokens, options.temperature, options.top_k, options.top_p, options.seed)
    run = find(options.run, options.runs)
    from app.finetune.generation.generator import writer_of

    writer = writer_of(run)
    sampling = replace(sampling, stop=writer.task.vocabulary.end)
    if options.json:
        for text in writer.texts(options.prompt, sampling, options.samples):
            print(json.dumps({"prompt": options.prompt, "text": text}, ensure_ascii=False))
    elif options.samples > 1:
        texts = writer.texts(options.prompt, sampling, options.samples)
        print("\n---\n".join(options.prompt + text for text in texts))
    else:
        before = options.prompt  # with the first piece, when it is clear that the model can read it
        for (piece,) in writer.pieces(options.prompt, sampling):
            print(before + piece, end="", flush=True)
            before = ""
        print()
    return 0
