# SPDX-License-Identifier: Apache-2.0
import datasets

from cgdmer.evaluation.patients import patient_groups


def test_every_known_sex_and_age_is_in_one_group():
    rows = {"sex": ["female", None, "male", "female"], "age": [17.9, 18.0, None, 90.0]}
    groups = patient_groups(datasets.Dataset.from_dict(rows))
    assert {name: mask.tolist() for name, mask in groups["sex"].items()} == {
        "female": [True, False, False, True],
        "male": [False, False, True, False],
    }
    assert {name: mask.tolist() for name, mask in groups["age"].items()} == {
        "under 18": [True, False, False, False],
        "18 to 39": [False, True, False, False],
        "80 and older": [False, False, False, True],
    }


def test_where_nothing_is_known_there_is_no_group():
    rows = datasets.Dataset.from_dict({"sex": [None, None], "age": [None, None]})
    assert patient_groups(rows) == {"sex": {}, "age": {}}


def test_several_sources_are_groups():
    unknown = {"sex": [None] * 3, "age": [None] * 3}
    groups = patient_groups(datasets.Dataset.from_dict({**unknown, "source": ["Cart 2", "Cart 1", None]}))
    assert {name: mask.tolist() for name, mask in groups["source"].items()} == {
        "Cart 1": [False, True, False],
        "Cart 2": [True, False, False],
    }
    assert "source" not in patient_groups(datasets.Dataset.from_dict({**unknown, "source": ["Cart 1"] * 3}))
