"""The arguments that scripts share: the limits of numbers, and what has a default."""

import argparse

import pytest

from common.basics import arguments
from tests.conftest import refused

COUNT, SEED = arguments.number(int, 1), arguments.number(int, 0)
RATE, SECONDS = arguments.number(float, 1e-30), arguments.number(float, 0)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [(COUNT, "1", 1), (SEED, str(2**32 - 1), 2**32 - 1), (RATE, "1e-30", 1e-30), (SECONDS, "0", 0)],
)
def test_numbers_within_their_limits(parse, text, value):
    parsed = parse(text)
    assert parsed == value
    assert type(parsed) is (int if parse in (COUNT, SEED) else float)


@pytest.mark.parametrize(
    ("parse", "texts", "limits"),
    [
        (
            COUNT,
            ["0", "0.5", "many", "", "-1", "1_0", "+5", "9" * 5000],
            "a whole number from 1 to 4294967295",
        ),
        (SEED, ["-1", str(2**32)], "a whole number from 0 to 4294967295"),
        (RATE, ["0", "-0.1", "nan", "many", "", "inf"], "a number from 1e-30 to 4294967295"),
        (SECONDS, ["-1", "nan", "inf", "1e300"], "a number from 0 to 4294967295"),
    ],
)
def test_numbers_beyond_their_limits(parse, texts, limits):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            parse(text)
        assert str(caught.value) == f"{text}: must be {limits}"


RECIPE = {"model_save_path": "m.pth", "batch_size": 8, "epochs": 50, "lr": 0.1, "precision": "fp32"}


@pytest.fixture
def parsers():
    """A trainer's and a tester's."""
    trainer = arguments.trainer_parser("", hypothesis=1, **RECIPE)
    return trainer, arguments.tester_parser("", hypothesis=1, review_confidence=0.3)


def test_help_names_the_defaults_that_there_are(parsers, capsys):
    for parser in parsers:
        with pytest.raises(SystemExit):
            parser.parse_args(["--help"])
        printed = capsys.readouterr().out
        assert "images per step (default: 8)" in printed
        assert "None" not in printed
        assert "SUPPRESS" not in printed


@pytest.mark.parametrize("precision", ["auto", "fp32", "fp16", "bf16"])
def test_each_precision_that_the_readme_names_can_be_asked_for(precision, parsers):
    paths = ["--csv_path", "a.csv", "--image_folder_path", "images"]
    assert parsers[0].parse_args([*paths, "--precision", precision]).precision == precision


def test_a_misspelt_default_of_a_recipe_is_no_default():
    with pytest.raises(TypeError, match="epoch"):
        arguments.trainer_parser("", hypothesis=1, epoch=16, **RECIPE)


def test_arguments_without_a_default_are_required(parsers, capsys):
    for parser, missing in zip(parsers, ("csv_path, --image_", "image_folder_path, --model_path")):
        message = f"error: the following arguments are required: --{missing}"
        assert refused(lambda parser=parser: parser.parse_args([]), capsys, message) == ""
