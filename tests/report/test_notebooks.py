"""Notebooks: the progress display and `_repr_html_` in a kernel, and the executed notebooks of examples/."""

from __future__ import annotations

import html.parser
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb
from nnbackprop.errors import UsageError
from nnbackprop.report.progress import progress
from nnbackprop.training.events import Score
from tests.support.small_runs import clouds, make_trainer

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))


@contextmanager
def kernel_environment() -> Iterator[None]:
    """Kernels import this checkout, and their commands are those beside this Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield


def execute(notebook: Any, folder: Path) -> Any:
    """Run a notebook's cells in a kernel of this Python; nbclient raises where one does."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel")
    with kernel_environment():
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def outputs(folder: Path, *cells: str) -> list[list[Any]]:
    """The outputs of each cell."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel")
    v4 = nbformat.v4
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells], metadata=kernel)
    return [cell.outputs for cell in execute(notebook, folder).cells]


TRAIN = """
import numpy as np
import nnbackprop as nb
x = np.random.default_rng(0).standard_normal((60, 3))
data = nb.Dataset(x, (x[:, 0] > 0).astype(int))
network = nb.Sequential(nb.Dense(4), nb.ReLU(), nb.Dense(2))
numpy = nb.select("numpy")
trainer = nb.Trainer(network, nb.SoftmaxCrossEntropy(), nb.Adam(), 0.01, epochs=3, backend=numpy, CALLBACKS)
trainer.fit(data)
None
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestInAKernel:
    @pytest.mark.parametrize("kind", ["auto", "rich"])
    def test_the_progress_display_is_a_row_of_text_an_epoch(self, kind: str, tmp_path: Path) -> None:
        (found,) = outputs(tmp_path, TRAIN.replace("CALLBACKS", f'callbacks=[nb.progress("{kind}")]'))
        assert {output.output_type for output in found} == {"stream"}
        text = "".join(output.text for output in found)
        assert "\x1b" not in text
        assert "\r" not in text
        epochs = [line for line in text.splitlines() if line.startswith("epoch ")]
        assert [line.split()[1] for line in epochs] == ["1/3", "2/3", "3/3"]

    def test_a_command_in_a_cell_prints_rows_too(self, tmp_path: Path) -> None:
        words = "train weight-height --epochs 3 --progress rich"
        (found,) = outputs(tmp_path, f"!nnbackprop {words}")
        text = "".join(output.text for output in found)
        assert "\x1b[2K" not in text
        assert sum(line.startswith("epoch ") for line in text.splitlines()) == 3

    def test_objects_show_themselves_as_tables_and_plots_as_images(self, tmp_path: Path) -> None:
        cells = "data", "network", "network.summary((3,))", "trainer.history", "trainer.evaluate(data)"
        check = "nb.gradcheck(network, nb.SoftmaxCrossEntropy(), x, data.targets)"
        found = outputs(tmp_path, TRAIN.replace("CALLBACKS", ""), *cells, check, "nb.plot(trainer.history)")
        for (output,) in found[1:-1]:
            assert output.data["text/html"].startswith("<table>")
        assert "image/png" in found[-1][0].data


def test_there_are_three_examples() -> None:
    assert [path.stem for path in EXAMPLES] == [
        "from_scalars_to_a_layer",
        "is_my_gradient_right",
        "your_own_data",
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    """Its cells assert what its text claims."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel")
    execute(nbformat.read(path, as_version=4), tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_kept_with_its_outputs_and_without_errors(path: Path) -> None:
    code = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    found = [output for cell in code for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in found}
    assert any("image/png" in output.get("data", {}) for output in found) or path.stem == "is_my_gradient_right"
    assert "/tmp/" not in path.read_text(encoding="utf-8")


class Cells(html.parser.HTMLParser):
    """The texts of a table's cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_networks_summary_has_its_shapes_and_parameters() -> None:
    network = nb.Sequential(nb.Dense(4), nb.ReLU(), nb.Dense(2))
    texts = Cells(network.summary((3,))._repr_html_()).texts
    assert texts == [
        *("layer", "output shape", "parameters"),
        *("dense1", "4", "16", "relu1", "4", "dense2", "2", "10", "total", "26"),
    ]


def test_a_network_names_its_layers() -> None:
    texts = Cells(nb.Sequential(nb.Dense(4), nb.Residual(nb.Dense(4)))._repr_html_()).texts
    assert [name for name in texts if name.startswith(("dense", "residual"))] == ["dense1", "residual1.dense1"]


def test_what_a_file_calls_its_classes_is_text() -> None:
    data = nb.Dataset(np.zeros((3, 2)), np.array([0, 1, 1]), ("<script>", "b"), source="<img>")
    cells = Cells(data._repr_html_())
    assert "script" not in cells.tags
    assert "img" not in cells.tags
    assert "<script> (1), b (2)" in cells.texts


def test_a_score_and_a_history_show_their_numbers() -> None:
    texts = Cells(Score(0.25, {"top_3": 0.5}, 1000)._repr_html_()).texts
    assert texts == ["loss", "top 3", "samples", "0.25", "0.5", "1,000"]
    trainer = make_trainer(epochs=52)
    history = trainer.fit(clouds())
    texts = Cells(history._repr_html_()).texts
    assert texts[0] == "after 2 earlier epochs"
    assert f"{history[-1].train.loss:.6g}" in texts
    assert f"{history[0].train.loss:.6g}" not in texts


def test_a_wrong_gradient_is_named() -> None:
    report = nb.gradcheck_function(lambda p: float((p["w"] ** 3).sum()), lambda p: p, {"w": np.ones(2)})
    texts = Cells(report._repr_html_()).texts
    assert "WRONG" in texts
    assert texts[0].startswith("FAILED: 1 of 1 tensors")


def test_an_unknown_display_is_refused() -> None:
    with pytest.raises(UsageError, match="progress got 'bars' and needs one of auto"):
        progress("bars")
