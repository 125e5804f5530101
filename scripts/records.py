"""Keep what run folders reached, in benchmarks/results/records, for the tables of docs/records.md.

python scripts/records.py deformed RUN ...             runs of the recipe, a seed each: what of the test part is
                                                       wrong; draws the digits that the best of them gets wrong
python scripts/records.py deformed --trials RUN ...    runs by which settings were chosen: their validation part

`python scripts/make_figures.py` then writes the tables.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout

from figures import records  # noqa: E402


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the result: a recipe's, or another one")
    parser.add_argument("--trials", action="store_true")
    parser.add_argument("runs", nargs="+", type=Path)
    given = parser.parse_args()
    (records.keep_trials if given.trials else records.keep)(given.name, given.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
