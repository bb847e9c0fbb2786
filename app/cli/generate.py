"""`app generate RUN`: text from a trained language model.

app generate gpt-char --prompt "The light" --temperature 0.8 --top-k 40 --max-tokens 300
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace

from app.cli.arguments import add_json, add_run


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app generate`."""
    about = "Continue a prompt with a trained language model. The same seed gives the same text."
    parser = argparse.ArgumentParser(prog="app generate", description=about)
    add_run(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="text to continue (default: start a new text)")
    parser.add_argument("--max-tokens", type=int, default=200, metavar="N", help="most tokens to add (default: 200)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="divides the logits; 0 takes the likeliest token (default: 1)",
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="sample from the K likeliest tokens only")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="sample from the likeliest tokens that add up to probability P"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the sampling (default: 1)")
    parser.add_argument(
        "--samples", type=int, default=1, metavar="N", help="texts to generate, as one batch (default: 1)"
    )
    add_json(parser, "one JSON object a text: prompt and text")
    return parser


def main(argv: Sequence[str]) -> int:
    """Generate; a single text is printed as it is made, several are separated by lines of ---."""
    arguments = parser()
    options = arguments.parse_args(argv)
    if options.samples < 1:
        arguments.error("--samples: give a whole number from 1")

    from app.finetune.generation.sampling import Sampling
    from app.runs.folder import find_run

    sampling = Sampling(options.max_tokens, options.temperature, options.top_k, options.top_p, options.seed)
    run = find_run(options.run, options.runs)
    from app.finetune.generation.generator import load_generator

    generator = load_generator(run)
    sampling = replace(sampling, stop=generator.task.vocabulary.end)
    if options.json:
        for text in generator.texts(options.prompt, sampling, options.samples):
            print(json.dumps({"prompt": options.prompt, "text": text}, ensure_ascii=False))
    elif options.samples > 1:
        texts = generator.texts(options.prompt, sampling, options.samples)
        print("\n---\n".join(options.prompt + text for text in texts))
    else:
        before = options.prompt  # printed with the first piece: by then the model has accepted it
        for (piece,) in generator.pieces(options.prompt, sampling):
            print(before + piece, end="", flush=True)
            before = ""
        print()
    return 0
