# SPDX-License-Identifier: Apache-2.0
"""Labels in the forms that scikit-learn takes: one per recording, lists of names, or a matrix of zeros and ones."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target


def are_lists_of_names(y: Any) -> bool:
    """Whether `y` has a list of strings per recording; numbers are left to scikit-learn."""
    if isinstance(y, str) or not isinstance(y, Iterable) or getattr(y, "ndim", 1) != 1:
        return False
    lists = list(y)
    return bool(lists) and all(
        isinstance(names, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in names)
        for names in lists
    )


def read_labels(y: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Read labels in any form that `ECGClassifier.fit` takes.

    Returns:
        (K,) classes; (n,) the index of each recording's class, or (n, K) zeros and ones; and whether it is the latter.
    """
    if are_lists_of_names(y):
        binarizer = MultiLabelBinarizer()
        targets = binarizer.fit_transform(y)
        if not len(binarizer.classes_):
            raise ValueError("y holds no labels at all: every list in it is empty.")
        return binarizer.classes_, targets, True
    if not hasattr(y, "__array__") and not issparse(y):
        y = list(y)
    with np.errstate(invalid="ignore"):  # scikit-learn casts NaN to an integer before it refuses it
        check_classification_targets(y)
    if (kind := type_of_target(y, input_name="y")) == "multilabel-indicator":
        matrix = y.toarray() if issparse(y) else np.asarray(y)
        return np.asarray(getattr(y, "columns", np.arange(matrix.shape[1]))), matrix.astype(np.int64), True
    if kind == "multiclass-multioutput":
        raise ValueError(
            "y is a matrix with values other than 0 and 1. For several labels per recording pass 0 and 1."
        )
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    classes, targets = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds only one class, {classes.tolist()[0]!r}; at least 2 classes are needed.")
    return classes, targets, False
