# SPDX-License-Identifier: Apache-2.0
"""What JSON from elsewhere must have, and what else it may have."""

from typing import Any, Literal, NotRequired, TypedDict

import pytest

from cgdmer.files.json_types import check


class Leaf(TypedDict):
    count: int


class Tree(TypedDict):
    name: str
    share: float
    mean: float | None
    kind: Literal["deciduous", "evergreen"] | None
    is_old: bool
    leaves: dict[str, Leaf]
    rings: list[int]
    first: NotRequired[Leaf | None]
    below: NotRequired["list[Tree]"]
    anything: NotRequired[Any]


TREE: dict[str, Any] = {
    "name": "oak",
    "share": 0.5,
    "mean": 2.0,
    "kind": "deciduous",
    "is_old": True,
    "leaves": {"a": {"count": 1}, "b": {"count": 2, "color": "red"}},
    "rings": [1, 2],
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"more": object()},
        {"share": 1, "mean": 3},
        {"mean": None, "kind": None, "first": None},
        {"first": {"count": 3}, "below": [TREE, {**TREE, "below": [TREE]}]},
        {"leaves": {}, "rings": []},
        {"anything": True},
        {"anything": {"a": None}},
    ],
)
def test_accepted_values(change):
    check({**TREE, **change}, Tree)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "'name' expected str, got NoneType"),
        ({"share": 10**310}, "share is a number of more than 300 digits"),
        ({"name": True}, "'name' expected str, got bool"),
        ({"share": None}, "'share' expected float, got NoneType"),
        ({"share": "1"}, "'share' expected float, got str"),
        ({"share": True}, "'share' expected float, got bool"),
        ({"mean": False}, "'mean' expected float, got bool"),
        ({"kind": "stone"}, "deciduous"),
        ({"is_old": 1}, "'is_old' expected bool, got int"),
        ({"leaves": []}, "'leaves' expected dict, got list"),
        ({"leaves": {"a": 1}}, "'leaves.a' expected dict, got int"),
        ({"leaves": {"a": {}}}, "leaves.a lacks count"),
        ({"leaves": {"a": {"count": 1.0}}}, "'leaves.a.count' expected int, got float"),
        ({"leaves": {"a": {"count": True}}}, "'leaves.a.count' expected int, got bool"),
        ({"rings": {}}, "'rings' expected list, got dict"),
        ({"rings": [1, "2"]}, r"'rings\[1\]' expected int, got str"),
        ({"rings": [1, False]}, r"'rings\[1\]' expected int, got bool"),
        ({"first": {}}, "first lacks count"),
        ({"below": None}, "'below' expected list, got NoneType"),
        ({"below": [TREE, {**TREE, "below": [{"share": 1.0}]}]}, r"below\[1\]\.below\[0\] lacks name, mean, kind"),
    ],
)
def test_wrong_values_are_located(change, words):
    with pytest.raises(ValueError, match=words):
        check({**TREE, **change}, Tree)


@pytest.mark.parametrize("value", [None, [], "text", 1, True])
def test_wrong_type_at_the_top(value):
    with pytest.raises(ValueError, match="'it' expected dict"):
        check(value, Tree)


def test_everything_is_missing():
    with pytest.raises(ValueError, match=r"^it lacks name, share, mean, kind, is_old, leaves, rings$"):
        check({}, Tree)


@pytest.mark.parametrize(
    "change", [{"share": "x" * 10**7}, {"kind": "x" * 10**7}, {"leaves": {"x" * 10**7: {}}}, {"rings": ["x" * 10**7]}]
)
def test_messages_are_short(change):
    with pytest.raises(ValueError) as error:
        check({**TREE, **change}, Tree)
    assert len(str(error.value)) < 1000
