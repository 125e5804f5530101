"""Trees of arrays: parameters, gradients, states and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Array = Any
"""An array of the backend's own library."""

Tree = Any
"""Arrays nested in tuples and dicts."""


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to every array of a tree of tuples and dicts; the structure stays.

    It gets the arrays in the same place of `others` too: None where another has none by that name. Arrays are
    paired by name, as dicts of one structure may differ in order.
    """
    if isinstance(tree, dict):
        if not others:  # mostly; in two thirds of the time
            return {name: tree_map(function, branch) for name, branch in tree.items()}
        return {
            name: tree_map(function, branch, *[other.get(name) for other in others])
            for name, branch in tree.items()
        }
    if isinstance(tree, tuple):
        return tuple([tree_map(function, *branches) for branches in zip(tree, *others, strict=True)])
    return function(tree, *others)


def leaves(tree: Tree) -> list[Array]:
    """All arrays of a tree, depth first, in order."""
    if isinstance(tree, dict):
        return [array for branch in tree.values() for array in leaves(branch)]
    if isinstance(tree, tuple):
        return [array for branch in tree for array in leaves(branch)]
    return [tree]


def zip_leaves(tree: Tree, *others: Tree) -> list[tuple[Any, ...]]:
    """Each array of `tree` with those in its place of `others`, in the order of `leaves`."""
    rows: list[tuple[Any, ...]] = []
    tree_map(lambda *row: rows.append(row), tree, *others)
    return rows


def tree_unflatten(tree: Tree, arrays: Iterable[Array]) -> Tree:
    """`arrays`, in the order of `leaves`, in the structure of `tree`."""
    in_order = iter(arrays)
    return tree_map(lambda _: next(in_order), tree)
