"""Keep what run folders reached, in benchmarks/results/records, for the tables of docs/records.md and docs/cnn.md.

python scripts/records.py deformed RUN ...             runs of the recipe, a seed each: what of the test part is
                                                       wrong; draws the digits that the best of them gets wrong
python scripts/records.py deformed --trials RUN ...    runs by which settings were chosen: their validation part
python scripts/records.py ciresan --attempts RUN ...   further runs of the recipe, ended or not: their test part
python scripts/records.py fashion-mnist --data RUN     a run of a recipe on files of another data set, by its name

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
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--trials", dest="keep", action="store_const", const=records.keep_trials)
    kind.add_argument("--attempts", dest="keep", action="store_const", const=records.keep_attempts)
    kind.add_argument("--data", dest="keep", action="store_const", const=records.keep_data_set)
    parser.add_argument("runs", nargs="+", type=Path)
    given = parser.parse_args()
    (given.keep or records.keep)(given.name, given.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
