"""scikit-learn's own checks of an estimator, all of them, with none expected to fail, on each library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

import backends

pytest.importorskip("sklearn", reason="sklearn is not installed: pip install scikit-learn")

from sklearn.utils.estimator_checks import estimator_checks_generator

from nnbackprop.sklearn import NNClassifier, NNRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hundreds of fits, each of which has JAX compile its steps: programs that it has compiled before are kept."""
    if find_spec("jax") is None:
        yield
        return
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    settings: dict[str, Any] = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("jax")),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for values in (settings, before):
        reset_cache()
        for name, value in values.items():
            jax.config.update(name, value)
        if values is settings:
            yield


def cases() -> list[Any]:
    """Every check, in each estimator and on each library."""
    return [
        pytest.param(estimator, check, id=f"{name}-{kind.__name__}-{getattr(check, 'func', check).__name__}")
        for name in ("numpy", "torch", "jax")
        for kind in (NNClassifier, NNRegressor)
        for estimator, check in estimator_checks_generator(kind(backend=name))
    ]


@pytest.mark.parametrize(("estimator", "check"), cases())
def test_an_estimator_passes_the_check(estimator: Any, check: Callable[[Any], None]) -> None:
    try:
        backends.select(estimator.backend)
    except backends.BackendError as error:
        pytest.skip(f"{estimator.backend}: {error.reason}")
    check(estimator)
