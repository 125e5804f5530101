"""The network as one step of a scikit-learn pipeline, searched over by GridSearchCV.

Needs `pip install scikit-learn`.
"""

from __future__ import annotations

from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnbackprop.sklearn import NNClassifier

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
network = NNClassifier((32,), learning_rate_init=0.01, random_state=0)
pipeline = make_pipeline(StandardScaler(), network)
search = GridSearchCV(pipeline, {"nnclassifier__dropout": [0.0, 0.3], "nnclassifier__alpha": [1e-4, 1e-2]}, cv=3)
search.fit(X_train, y_train)
print(search.best_params_)
print(f"cross-validation {search.best_score_:.1%}, test {search.score(X_test, y_test):.1%}")
