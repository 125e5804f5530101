"""Write every generated block of README.md and docs/*.md, between the marks that name it.

python scripts/make_figures.py                    from what is kept in docs/*.json and benchmarks/results
python scripts/make_figures.py --run recipes      measure or draw first: recipes, seeds, verification,
                                                  reproducibility, estimators, tables, dependencies,
                                                  coverage (of what `make coverage` left), derivation,
                                                  chart; terminal, lab (with what `make test-lab` installs)
python scripts/make_figures.py --check            write nothing; exit status 1 if a page would change

Kept by others: `python -m benchmarks` (speed), `scripts/gpu_check.py`, `scripts/records.py`, `python -m
tests.stress --json docs/reliability.json`, `python -m tests.support.claims --json docs/claims.json`, `python -m
tests.support.cuda_emulator nodes --json docs/nodes.json`, `python -m tests.support.layer_mistakes.planted --json
docs/layer-mistakes.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # this checkout

from figures import (  # noqa: E402
    PAGES,
    coverage,
    dependencies,
    estimators,
    filled,
    recipes,
    records,
    reproducibility,
    seeds,
    stored,
    tables,
    verification,
    write,
)

STORE = ROOT / "docs" / "figures.json"
MEASURED = {
    module.__name__.split(".")[1]: module.measure
    for module in (recipes, seeds, verification, reproducibility, estimators, tables, dependencies, coverage)
}


def blocks() -> dict[str, str]:
    """Every block but the derivation's, by name."""
    found = json.loads(STORE.read_text(encoding="utf-8"))
    return {
        **recipes.blocks(found["recipes"]),
        "coverage": coverage.block(found["coverage"]),
        "dependencies": dependencies.block(found["dependencies"]),
        "estimators": estimators.block(found["estimators"]),
        "mnist-seeds": seeds.block(found["seeds"]),
        **tables.blocks(found["tables"]),
        **found["verification"],
        **found["reproducibility"],
        **records.blocks(),
        **stored.blocks(),
    }


def main() -> int:
    """Measure what is asked for, keep it, fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    drawn = ("derivation", "chart", "terminal", "lab")
    parser.add_argument("--run", nargs="+", default=[], choices=(*MEASURED, *drawn))
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    for name in given.run:
        if name == "derivation":
            import derivation_figures

            derivation_figures.main()
        elif name == "chart":
            stored.draw()
        elif name == "terminal":
            from figures import terminal

            terminal.draw()
        elif name == "lab":
            from figures import lab_page

            lab_page.draw()
        else:
            kept = {**json.loads(STORE.read_text(encoding="utf-8")), name: MEASURED[name]()}
            STORE.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    found = blocks()
    if given.check:
        changed = [page.name for page in PAGES if filled(text := page.read_text(encoding="utf-8"), found) != text]
        print("\n".join(f"{name} would change" for name in changed) or "Every page is as its figures are.")
        return int(bool(changed))
    write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
