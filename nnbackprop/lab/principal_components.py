"""Principal components by products alone: a block of directions is multiplied until it no longer turns."""

from __future__ import annotations

import numpy as np

BLOCK = 8  # directions; those beyond the ones wanted make these settle sooner
MAX_PRODUCTS = 300
SETTLED = 1e-7  # change of a variance from one product to the next, of the largest


def principal_components(x: np.ndarray, k: int = 2) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores (n, k) of the rows of x (n, d) along the k directions of greatest variance, and the variances.

    Orthogonal iteration with Rayleigh-Ritz (Golub and Van Loan, Matrix Computations, 4th edition, sections 7.3.2
    and 8.2.4): V <- orth(X^T (X V)). Directions are turned so that their largest entry is positive. The third
    value is the sum of the variances along all directions.
    """
    x = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    n, d = x.shape
    block = min(max(BLOCK, k), d)
    V = np.linalg.qr(np.random.Generator(np.random.Philox(0)).standard_normal((d, block)))[0]
    variances = np.zeros(block)
    for _ in range(MAX_PRODUCTS):
        product = x.T @ (x @ V)
        eigenvalues, turned = np.linalg.eigh(V.T @ product)
        before, variances = variances, eigenvalues[::-1] / n
        V = np.linalg.qr(product @ turned[:, ::-1])[0]
        if np.abs(variances - before)[:k].max() <= SETTLED * max(variances[0], 1e-300):
            break
    V = V[:, :k]
    V = V * np.where(V[np.abs(V).argmax(axis=0), np.arange(V.shape[1])] < 0, -1.0, 1.0)
    scores = x @ V
    if scores.shape[1] < k:  # fewer features than components
        scores = np.concatenate([scores, np.zeros((n, k - scores.shape[1]))], axis=1)
        variances = np.concatenate([variances, np.zeros(k)])
    return scores, np.maximum(variances[:k], 0), float((x * x).sum() / n)
