# SPDX-License-Identifier: Apache-2.0
"""Groups of test records by the sex and age of the patient, and by where they come from."""

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np

AGES = {
    "under 18": (0, 18),
    "18 to 39": (18, 40),
    "40 to 59": (40, 60),
    "60 to 79": (60, 80),
    "80 and older": (80, np.inf),
}


def groups_in_words(groups: Mapping[str, Any] | None) -> str:
    """A title for results by group."""
    return "By sex, age, and source" if groups and "source" in groups else "By sex and age"


def patient_groups(rows: datasets.Dataset) -> dict[str, dict[str, np.ndarray]]:
    """For "sex", "age" and "source", a mask of the records in each group. Records of which it is unknown are in none.

    Groups without records are left out, and the source if there is only one. Ages are in years.
    """
    held = [name for name in ("sex", "age", "source") if name in rows.features]
    columns = rows.select_columns(held)[:]
    sex = np.array([value or "" for value in columns["sex"]])
    age = np.array([np.nan if value is None else value for value in columns["age"]], dtype=float)
    groups = {
        "sex": {name: sex == name for name in sorted(set(sex) - {""})},
        "age": {name: (age >= low) & (age < high) for name, (low, high) in AGES.items()},
    }
    source = np.array([value or "" for value in columns.get("source", ())])
    if len(names := sorted(set(source) - {""})) > 1:
        groups["source"] = {name: source == name for name in names}
    return {what: {name: mask for name, mask in one.items() if mask.any()} for what, one in groups.items()}
