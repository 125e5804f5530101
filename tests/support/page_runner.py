"""Executes the blocks of a page: commands in this process, Python in one namespace, TOML as files of commands."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
import tomllib
import warnings
from argparse import ArgumentParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from nnbackprop.cli import app
from nnbackprop.errors import RunFolderError
from nnbackprop.runs.config_files import load_recipe, recipes
from tests.support.commands import run
from tests.support.page_blocks import ROOT, Block, blocks
from tests.support.page_files import SMALL_MNIST, make

PARSED = {
    r"^lab(?!.*--export)": "serves a page until it is stopped: tests/lab",
    r"--processes": "starts mpiexec: make stress, tests/stress/process_kills.py",
    r"--device (cuda|gpu|mps|xpu)": "needs a GPU",
    r"--log (wandb|trackio)": "needs an environment of its own: make test-tools",
    r"ciresan": "has 12 million parameters: a step takes seconds",
    r"^gradcheck (cnn|.*--backend jax)": "takes half a minute: tests/diagnostics",
    r"^parity": "compiles for many seconds: tests/diagnostics/test_parity.py",
    r"--epochs (300|10000)": "takes minutes; a page trains the same for fewer epochs above it",
}
"""Commands of ours of which only the words are checked, and why."""

OTHERS = {
    "pip": "would change the environment of the tests",
    "uv": "would change the environment of the tests",
    "uvx": "makes an environment from a package index",
    "jupyter": "serves a page until it is stopped",
    "jupyterlab": "serves a page until it is stopped",
    "mpiexec": "starts processes",
    "srun": "is of a cluster",
    "pytest": "is what runs this",
    ".venv-cuda/bin/python": "is another environment's: make test-cuda",
}
"""Programs of others, and why they are not started. What they are given to start of ours is checked."""

PARSERS = {"bench": "benchmarks", "stress": "tests.stress"}
"""What ARGS of a target of the Makefile are handed to."""

NEEDS = {
    r"--backend torch|torch,|--dtype bfloat16": "torch",
    r"--backend jax|,jax": "jax",
    r"\.onnx": "onnxruntime",
    r"--onnx": "ndonnx",
    r"^search": "optuna",
    r"--log tensorboard": "tensorboard",
    r"\.parquet": "polars",
    r"\.mat\b": "scipy",
}
"""Libraries that a command needs: where one is absent its words are checked, and the test ends as skipped."""

CHEAPER_RECIPE = {'data = "mnist"': f'data = "{SMALL_MNIST}"', "trials = 40": "trials = 3"}
"""What is written instead in recipes that pages show."""


def cheaper(words: list[str]) -> list[str]:
    """The command on MNIST's first 600 images, where its recipe has MNIST; and for one epoch if it names none."""
    command, *rest = words
    if command not in ("train", "lr-find", "gradcheck", "doctor", "parity") or "--resume" in rest:
        return words
    recipe = rest[0] if rest and not rest[0].startswith("-") else None
    of_mnist = (recipe is None or recipe in recipes()) and load_recipe(recipe or "mnist").data == "mnist"
    found = [*words]
    if of_mnist and not {"--data", "last"} & {*rest}:
        found += ["--data", SMALL_MNIST]
    if command == "train" and "--epochs" not in rest:
        found += ["--epochs", "1"]
    return found


class Parsed(Exception):  # noqa: N818 (what was wanted)
    """The program's own parser has accepted the words."""


class PageRunner:
    """One page from top to bottom, in the working folder; `absent` are the libraries it would have needed."""

    def __init__(self, page: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.page = page
        self.capsys = capsys
        self.absent: set[str] = set()
        self.names: dict[str, Any] = {"__name__": "page"}
        exec(
            compile(f"import nnbackprop as nb\nimport numpy as np\n{given}", f"given to {page}", "exec"),
            self.names,
        )

    def execute(self, block: Block) -> None:
        if block.language == "console":
            for command, shown in block.commands:
                self.command(command, shown)
        elif block.language == "python":
            self.python(block)
        elif block.language == "toml":
            self.toml(block)
        elif block.language == "bash":
            for line in block.text.splitlines():
                if "nnbackprop " in line:
                    self.check(shlex.split(line.partition("nnbackprop ")[2]))

    def command(self, line: str, shown: str = "") -> None:
        """Execute a line of a console block and look for what the page shows under it."""
        for part in line.partition(" # ")[0].split(" && "):
            words = shlex.split(part, comments=True)
            if words[0] == "nnbackprop":
                self.ours(words[1:], shown)
            elif words[0] == "make":
                self.target(words[1], dict(word.split("=", 1) for word in words[2:]))
            elif words[:2] == ["python", "scripts/train.py"]:  # which is the command train
                self.ours(["train", *words[2:]], shown)
            elif words[0] == "python" and words[1:3] not in (["-m", "pip"], ["-m", "pytest"]):
                self.program(words[1:])
            else:
                name = words[2] if words[:2] == ["python", "-m"] else words[0]
                assert name in OTHERS, f"{self.page}: nobody has said why {line!r} is not executed"
                if "nnbackprop" in words:
                    self.check(words[words.index("nnbackprop") + 1 :])

    def ours(self, words: list[str], shown: str) -> None:
        """A command of ours: executed, or checked where `PARSED` or an absent library says so."""
        text = " ".join(words)
        if any(re.search(pattern, text) for pattern in PARSED) or self.lacks(text):
            self.check(words)
            return
        for word in (SMALL_MNIST, *words):
            make(self.page, word.rstrip("/"))
        if self.absent and any(word.endswith(".toml") and not Path(word).exists() for word in words):
            return  # of a recipe that a library was missing for
        self.capsys.readouterr()
        status = run(*cheaper(words))
        said = self.capsys.readouterr()
        if self.absent and status == RunFolderError.exit_code:  # of a run that a library was missing for
            return
        allowed = (0, 1) if words[0] == "doctor" else (0,)  # of so few images it may find fault
        assert status in allowed, f"{self.page}: {text}\n{said.out[-2000:]}{said.err}"
        if shown:
            assert " ".join(shown.split()) in " ".join((said.out + said.err).split()), said.out + said.err

    def lacks(self, text: str) -> bool:
        missing = set()
        for pattern, library in NEEDS.items():
            if re.search(pattern, text):
                try:
                    __import__(library)
                except ImportError:
                    missing.add(library)
        self.absent |= missing
        return bool(missing)

    def check(self, words: list[str]) -> None:
        """Have the words parsed; and those of a training checked against its recipe and its data by --dry-run."""
        app.parse_args(words, exit_on_error=False, print_error=False)
        text = " ".join(words)
        if (
            words[0] != "train"
            or "--resume" in words
            or self.lacks(text)
            or re.search("--device|--log wandb", text)
        ):
            return
        for word in (SMALL_MNIST, *words):
            make(self.page, word)
        alone = re.sub(r"--(processes|restarts) \d+", "", shlex.join(cheaper(words)))
        status = run(*shlex.split(alone), "--dry-run")
        said = self.capsys.readouterr()
        assert status == 0, f"{self.page}: {text}\n{said.out[-2000:]}{said.err}"

    def target(self, name: str, variables: dict[str, str]) -> None:
        """A target of the Makefile exists, and the program that its ARGS go to takes them."""
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M), f"make {name}"
        if name in PARSERS:
            self.program(["-m", PARSERS[name], *shlex.split(variables.get("ARGS", ""))])

    def program(self, words: list[str]) -> None:
        """A program of the repository: its own parser takes the words; one without a parser is executed.

        What it prints is a block of the page.
        """
        module, rest = (words[1], words[2:]) if words[0] == "-m" else (None, words[1:])
        parse = ArgumentParser.parse_args

        def parse_only(parser: ArgumentParser, *arguments: Any, **named: Any) -> None:
            parse(parser, *arguments, **named)
            raise Parsed

        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the module may have been imported by other tests
            patch.setattr(ArgumentParser, "parse_args", parse_only)
            patch.setattr(sys, "argv", [words[0], *rest])
            patch.setattr(sys, "path", [str(ROOT if module else (ROOT / words[0]).parent), *sys.path])
            self.capsys.readouterr()
            try:
                if module:
                    runpy.run_module(module, run_name="__main__", alter_sys=True)
                else:
                    runpy.run_path(str(ROOT / words[0]), run_name="__main__")
            except Parsed:
                return
        printed = self.capsys.readouterr().out.strip()
        shown = [block.text.strip() for block in blocks(ROOT / self.page) if block.language == "text"]
        assert printed in shown, f"{self.page} does not show what {words} prints:\n{printed}"

    def python(self, block: Block) -> None:
        """Execute a block; an expression with a value in a comment beside it has that value."""
        tree = ast.increment_lineno(ast.parse(block.text), block.line - 1)
        lines = block.text.splitlines()
        names = {} if block.note == "alone" else self.names
        for word in re.findall(r'"([\w.]+)"', block.text):
            make(self.page, word)
        try:
            for statement in tree.body:
                comment = lines[(statement.end_lineno or 0) - block.line].partition("# ")[2]
                if isinstance(statement, ast.Expr) and (expected := literal(comment)) is not None:
                    value = eval(compile(ast.Expression(statement.value), block.page, "eval"), names)
                    assert value == (pytest.approx(expected) if isinstance(expected, float) else expected), (
                        f"{block.place}: {value} beside {comment}"
                    )
                else:
                    exec(compile(ast.Module([statement], []), block.page, "exec"), names)
        except ImportError as error:
            if error.name is None or find_spec(error.name.partition(".")[0]) is not None:
                raise
            self.absent.add(error.name)
        except (FileNotFoundError, NameError):
            if not self.absent:  # of a block before it, which a library was missing for
                raise

    def toml(self, block: Block) -> None:
        """Write it to the file that its first line names; layers are tried in a recipe of their own."""
        found = tomllib.loads(block.text)
        text = block.text
        for shown, written in CHEAPER_RECIPE.items():
            text = text.replace(shown, written)
        if name := re.match(r"# (\S+\.toml)\n", text):
            Path(name[1]).write_text(text, encoding="utf-8")
        elif "layers" in found:
            Path("layers.toml").write_text(f'data = "{SMALL_MNIST}"\n{text}', encoding="utf-8")
            self.check(["train", "layers.toml"])


def literal(comment: str) -> Any:
    """The value that a comment is, or None."""
    try:
        return ast.literal_eval(comment.strip())
    except (ValueError, SyntaxError):
        return None
