# SPDX-License-Identifier: Apache-2.0
"""Options declared once: our command-line parser, transformers' parser, and command lines made from them."""

import argparse
import dataclasses
from typing import Annotated, Literal

import pytest
from transformers import HfArgumentParser

from cgdmer import EvaluationArguments, FinetuningArguments, PretrainingArguments
from cgdmer.models.errors import ConfigurationError
from cgdmer.options import Group, Marker, add_options, default_of, option, options_from, options_marked, words_of
from cgdmer.pretrain import parse_arguments


@dataclasses.dataclass
class Arguments:
    place: Annotated[str, Marker.POSITIONAL] = option("where")
    count: Annotated[int, Group("numbers"), Marker.FIXED] = option("how many", 3)
    rate: float | None = option("how often (default: never)", None)
    kind: Literal["first", "second"] = option("which", "first")
    names: Annotated[list[str], Marker.LIST_WITH_COMMAS] = option("who", ["a"])
    quick: bool = option("do not wait", False)
    start: float = option("from where", 0.0)


def parse(*words: str) -> Arguments:
    parser = argparse.ArgumentParser()
    add_options(parser, Arguments)
    return options_from(Arguments, parser.parse_args(words))


def test_a_parser_is_built_from_fields():
    assert parse("here") == Arguments("here")
    given = parse("here", "--count", "5", "--rate", "0.5", "--kind", "second", "--names", "b,c", "d", "--quick")
    assert given == Arguments("here", 5, 0.5, "second", ["b", "c", "d"], True)
    first, second = parse("here"), parse("there")
    assert first.names is not second.names


@pytest.mark.parametrize("words", [(), ("here", "--count", "x"), ("here", "--kind", "third"), ("here", "--unknown")])
def test_wrong_words_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        parse(*words)
    assert "usage" in capsys.readouterr().err


def test_the_help_states_defaults_once():
    parser = argparse.ArgumentParser()
    add_options(parser, Arguments)
    text = " ".join(parser.format_help().split())
    for said in (
        "how many (default: 3)",
        "which (default: first)",
        "who (default: a)",
        "from where (default: 0.0)",
        "numbers:",
    ):
        assert said in text
    assert text.count("default: never") == 1 and "None" not in text


def test_the_help_of_pretraining_says_what_happens_without_each_option():
    given_elsewhere = {"config_name", "model"}  # one of the two is needed
    silent = [
        field.name
        for field in dataclasses.fields(PretrainingArguments)
        if default_of(PretrainingArguments, field.name) is None and "(default: " not in field.metadata["help"]
    ]
    assert set(silent) == given_elsewhere


def test_a_command_line_gives_the_same_options_again():
    given = Arguments("here", 5, None, "second", ["b", "c"], True)
    assert parse(*words_of(Arguments, dataclasses.asdict(given))) == given
    assert words_of(Arguments, dataclasses.asdict(Arguments("here"))) == ["here"]


def test_markers_and_defaults_are_found():
    assert options_marked(Arguments, Marker.FIXED) == ["count"]
    assert (default_of(Arguments, "names"), default_of(Arguments, "place")) == (["a"], dataclasses.MISSING)


@pytest.mark.parametrize("kind", [PretrainingArguments, FinetuningArguments, EvaluationArguments])
def test_transformers_reads_the_same_dataclasses(kind):
    words = ["--dataset", "d", "--output_dir", "o"]
    words += ["--config_name", "c"] if kind is PretrainingArguments else ["--model", "m"]
    if kind is EvaluationArguments:
        words += ["--tasks", "csn", "cpsc2018", "--protocol", "as_published", "--shots", "3", "5"]
    (read,) = HfArgumentParser(kind).parse_args_into_dataclasses(words)
    parser = argparse.ArgumentParser()
    add_options(parser, kind)
    positional = [words.pop(words.index("--model") + 1)] if "--model" in words else []
    words = [word for word in words if word != "--model"]
    assert read == options_from(kind, parser.parse_args([*positional, *words]))


def test_pretraining_starts_from_a_preset_or_a_model():
    for more in ([], ["--config_name", "c", "--model", "m"]):
        with pytest.raises(ConfigurationError, match="either --config_name"):
            parse_arguments(["--dataset", "d", "--output_dir", "o", *more])
    with pytest.raises(ConfigurationError, match="--learning_rate is nan"):
        PretrainingArguments("d", "o", config_name="c", learning_rate=float("nan"))
