"""Makes the checkout importable as the collection ansible_collections.mlops.stack."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / ".collections"))
