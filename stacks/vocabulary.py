"""What the data is called everywhere: the counts that a model tells apart, and the splits of the photos.

Stacks, command line and training code import this one file. It is packed into the source archive of the jobs as
`stacks/vocabulary.py`, so it imports nothing but the standard library.
"""

from __future__ import annotations

from typing import Final

CLASSES: Final = (1, 2, 3, 4, 5)
"""Items in a bin, in the order of the network's outputs. Photos of any other count are skipped by Ingest.

The served model names its classes in serving.json, and the endpoint refuses a model whose classes differ from these.
"""

ARCHIVE_DIGEST: Final = "archive"
"""Entry of an evaluation's lineage: the digest of serving.json in the archive, which names that of the graph."""

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
SPLITS: Final = (TRAIN, VALIDATION, TEST)
"""Names of the splits: of Ingest's outputs, of the jobs' channels and of the scripts' flags."""
