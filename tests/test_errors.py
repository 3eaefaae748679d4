"""Refusals: what they say, and that they are values."""

import ast
import pickle
from pathlib import Path

import pytest

import lossviz
from lossviz.errors import (
    LossvizError,
    Refusal,
    RequestError,
    WorkError,
    either,
    first_line,
    needing_extra,
    refuse,
    show,
    spell,
)

RAISED = ("LossvizError", "RequestError", "WorkError")


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (Refusal("runs/a"), "runs/a"),
        (Refusal("runs/a", "has no checkpoint"), "runs/a: has no checkpoint"),
        (Refusal("train.lr", given=0), "train.lr = 0"),
        (Refusal("train.lr", given=0, accepted="a number above 0"), "train.lr = 0\n  accepted: a number above 0"),
        (
            Refusal("train.lr", "is too high", 7, "at most 5", "try 3", place="c.yaml, line 4"),
            "c.yaml, line 4: train.lr = 7: is too high\n  accepted: at most 5\n  try 3",
        ),
        (Refusal(("probe", "lengths", 2), given=(1, True)), "probe.lengths[2] = [1, true]"),
        (Refusal("a", advice="one\ntwo"), "a\n  one\n  two"),
    ],
)
def test_what_a_refusal_says(refusal: Refusal, text: str) -> None:
    assert str(refusal) == text


def test_an_error_has_several_refusals_and_says_each_once() -> None:
    first, second = Refusal("a", "is wrong", advice="b"), Refusal("c", "is wrong")
    error = RequestError(first, second, first)
    assert str(error) == "a: is wrong\n  b\nc: is wrong"
    assert error.refusals == (first, second, first)
    assert error.exit_status == 2
    assert WorkError(first).exit_status == 1


def test_a_text_is_a_refusal_without_parts() -> None:
    error = RequestError("a: is wrong\n  try b")
    assert str(error) == "a: is wrong\n  try b"
    assert error.refusals == (Refusal("a: is wrong\n  try b"),)


def test_an_error_survives_the_way_to_another_process() -> None:
    error = RequestError(Refusal("train.lr", "is too high", 7), "b")
    copied: LossvizError = pickle.loads(pickle.dumps(error))
    assert type(copied) is RequestError
    assert copied.refusals == error.refusals


def test_refuse_raises_what_it_is_told() -> None:
    with pytest.raises(RequestError) as caught:
        refuse("train.lr", "is too high", given=7, accepted="at most 5", advice="try 3")
    assert caught.value.refusals == (Refusal("train.lr", "is too high", 7, "at most 5", "try 3"),)


def test_keys_are_a_path() -> None:
    assert Refusal("train.schedule.kind").keys == ("train", "schedule", "kind")
    assert Refusal(("model", "args", "a.b")).keys == ("model", "args", "a.b")
    assert spell(("probe", "lengths", 2, "x")) == "probe.lengths[2].x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-3, "0.001"),
        ("1e-3x", "1e-3x"),
        ("true", "'true'"),
        ("", "''"),
        ((1, 2), "[1, 2]"),
        ({"a": [1]}, "{a: [1]}"),
        ("a\nb", '"a\\nb"'),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
        (["x" * 80], "[" + "x" * 76 + "..."),
        # what YAML has no words for
        (Path("a/" * 200), "a/" * 199 + "a"),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_values_are_shown_as_a_configuration_has_them(value: object, text: str) -> None:
    assert show(value) == text


def test_small_words() -> None:
    assert [either(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a or b", "a, b or c"]
    assert first_line(ValueError(" \n one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"


def test_every_refusal_has_parts() -> None:
    """No text with its own colons and lines is raised anywhere: `Refusal` alone renders."""
    package = Path(lossviz.__file__).parent
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED:
                text = [part for part in node.args if isinstance(part, ast.JoinedStr | ast.Constant | ast.BinOp)]
                assert not text, f"{file.relative_to(package)}, line {node.lineno}"


def test_what_an_extra_lacks_is_named_with_the_command_that_adds_it() -> None:
    with (
        pytest.raises(
            RequestError, match=r"^figure x: needs vtk, which is not installed\n  pip install 'lossviz\[v\]'$"
        ),
        needing_extra("v", "figure x"),
    ):
        raise ModuleNotFoundError(name="vtk")


def test_an_extra_that_is_broken_is_refused_with_its_own_words() -> None:
    with pytest.raises(RequestError, match=r"^x: cannot be had: needs b 2\n"), needing_extra("v", "x"):
        raise ImportError("needs b 2\nand more")


def test_a_damaged_configuration_of_a_library_is_refused_with_its_words() -> None:
    with pytest.raises(RequestError, match=r"^x: cannot be had: a.yaml is malformed$"), needing_extra("v", "x"):
        raise ValueError("a.yaml is malformed\nline 1")


def test_other_errors_are_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ZeroDivisionError), needing_extra("v", "figure x"):
        raise ZeroDivisionError
