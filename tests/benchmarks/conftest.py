"""Makes `benchmarks` importable, which lies beside the tests and is not installed."""

import sys
from pathlib import Path

# At the end: what is installed comes first.
sys.path.append(str(Path(__file__).resolve().parents[2]))
