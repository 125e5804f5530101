#!/usr/bin/env bash
# Build the wheel, install it in an empty environment elsewhere, and train and evaluate with it there.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python="$root/.venv/bin/python"
"$python" -m build --quiet --wheel --outdir "$work/dist" "$root"
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$work"/dist/nnbackprop-*.whl

cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import importlib.util, pathlib, backends, nnbackprop
assert importlib.util.find_spec("benchmarks") is None
for package in (backends, nnbackprop):
    assert "site-packages" in pathlib.Path(package.__file__).parts, package.__file__
PYTHON
"$work/venv/bin/nnbackprop" recipes
"$work/venv/bin/nnbackprop" train mnist --epochs 1 --hidden 32 --dropout 0 --progress plain --name wheel
"$work/venv/bin/nnbackprop" train weight-height --epochs 20 --progress off
"$work/venv/bin/nnbackprop" evaluate runs/wheel
test -s runs/wheel/plots/loss.png
echo "the wheel works"
