"""Merging of trees, without files: what is merged, and what is replaced."""

import pytest

from lossviz.config.merging import differences, merge, name_random_directions, spell_out

Tree = dict[str, object]


@pytest.mark.parametrize(
    ("base", "changes", "merged"),
    [
        ({"a": 1}, [{"b": 2}], {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, [{"a": {"b": 3}}, {"a": {"b": 4}}], {"a": {"b": 4, "c": 2}}),
        ({"a": [1, 2]}, [{"a": [3]}], {"a": [3]}),
        ({"a": {"b": 1}}, [{"a": None}], {"a": None}),
        ({"a": 1}, [{"a": {"b": 1}}], {"a": {"b": 1}}),
        # a tag decides which other keys exist, also inside a variant, and only where it is a tag
        ({"model": {"name": "vgg", "depth": 9}}, [{"model": {"name": "resnet"}}], {"model": {"name": "resnet"}}),
        (
            {"variants": {"v": {"model": {"name": "vgg", "depth": 9}}}},
            [{"variants": {"v": {"model": {"name": "resnet"}}}}],
            {"variants": {"v": {"model": {"name": "resnet"}}}},
        ),
        ({"surface": {"name": "a", "x": 1}}, [{"surface": {"name": "b"}}], {"surface": {"name": "b", "x": 1}}),
        # arguments are those of one function
        (
            {"loss": {"target": "f", "args": {"a": 1}, "b": 2}},
            [{"loss": {"target": "g", "args": {"c": 3}}}],
            {"loss": {"target": "g", "args": {"c": 3}, "b": 2}},
        ),
    ],
)
def test_merge(base: Tree, changes: list[Tree], merged: Tree) -> None:
    before = repr((base, changes))
    assert merge(base, *changes) == merged
    assert repr((base, changes)) == before


def test_tags_that_people_leave_out() -> None:
    short = {"data": {"target": "f"}, "model": {"name": "torchvision/resnet18", "args": {}}, "loss": {"name": "own"}}
    long = {
        "data": {"name": "own", "target": "f"},
        "model": {"name": "torchvision", "network": "resnet18", "args": {}},
        "loss": {"name": "own"},
    }
    assert spell_out(short) == long
    assert spell_out({"variants": {"a": short, "b": None, "c": 3}}) == {"variants": {"a": long, "b": None, "c": 3}}
    assert spell_out(long) == long


def test_directions_are_random_unless_they_have_a_kind() -> None:
    assert name_random_directions({"surface": {"directions": {"seed": 1}}}) == {
        "surface": {"directions": {"kind": "random", "seed": 1}}
    }
    for other in ({"surface": {"directions": {"kind": "pca"}}}, {"surface": {"directions": 3}}, {"surface": None}, {}):
        assert name_random_directions(other) == other


def test_differences_of_two_trees_are_told_by_key_and_of_another_kind_by_its_name() -> None:
    """Another network has other keys, of which none says more than its name."""
    there = {"model": {"name": "vgg", "depth": 11}, "train": {"lr": 0.1, "schedule": {"kind": "step", "gamma": 0.1}}}
    here = {"model": {"name": "resnet", "shortcut": "A"}, "train": {"lr": 0.1, "schedule": {"kind": "step"}}}
    assert list(differences(there, here, "c")) == [
        ("c.model.name", "vgg", "resnet"),
        ("c.train.schedule.gamma", 0.1, None),
    ]
    assert list(differences(there, there, "c")) == []
