"""Every reader before a few changed files, each time others; `python -m tests.stress.fuzz` tries millions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .readers import CHECKPOINT, READERS, with_digest, without_digest

CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 8), st.binary(max_size=8)), max_size=4)
EXAMPLES = 100


@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    reader, path = READERS[name], tmp_path_factory.mktemp(name) / "fuzz"

    @settings(max_examples=EXAMPLES if reader.in_process else EXAMPLES // 10, deadline=None)
    @given(st.sampled_from(reader.seed_files()), CHANGES)
    def tried(content: bytes, changes: list[tuple[int, int, bytes]]) -> None:
        for place, cut, junk in changes:
            at = place % (len(content) + 1)
            content = content[:at] + junk + content[at + cut :]
        reader.accepts(path, content)

    tried()


@pytest.mark.parametrize("name", READERS)
def test_each_reader_accepts_one_of_the_files_it_begins_from(name: str, tmp_path: Path) -> None:
    assert any(READERS[name].accepts(tmp_path / "seed", content) for content in READERS[name].seed_files())


def test_a_changed_checkpoint_is_given_its_digest(tmp_path: Path) -> None:
    content = without_digest(CHECKPOINT)
    assert with_digest(content) == CHECKPOINT
    assert READERS["checkpoint"].accepts(tmp_path / "seed", b"\1" + content[:-1] + b"\7")


PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@PIPES
@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_pipe_or_reads_a_device(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "endless"):
        with pytest.raises(READERS[name].error, match="is a pipe or a device"):
            READERS[name].read(path)
