"""Makes the checkout importable as the collection ansible_collections.mlops.stack, and what integration tests share."""

import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent / ".collections"), str(TESTS / "integration")]
