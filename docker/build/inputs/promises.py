"""Print what a variant promises as JSON, for docker/build/check/verify.py: promises.py VARIANT."""

import json
import sys

from app.host.variants import PYTHON, TORCH, TORCHAUDIO, TORCHVISION, variant

promised = variant(sys.argv[1])
promises = {
    "variant": promised.name,
    "python": PYTHON,
    "modules": {"torch": TORCH, "torchvision": TORCHVISION, "torchaudio": TORCHAUDIO},
    "cuda": promised.cuda,
    "archs": promised.archs,
}
print(json.dumps(promises, indent=2))
