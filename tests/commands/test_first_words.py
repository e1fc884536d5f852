# SPDX-License-Identifier: Apache-2.0
"""What a person types first: the version, a misspelt command or option, and `cgdmer pretrain`."""

import subprocess
import sys

import pytest

from cgdmer import pretrain
from cgdmer.about import __version__
from cgdmer.commands import main
from cgdmer.presets import preset_folder, presets


@pytest.mark.parametrize("start", [["-m", "cgdmer"], ["-m", "cgdmer.pretrain"]])
def test_the_version_is_printed(start):
    done = subprocess.run([sys.executable, *start, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cgdmer {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clasify", "RECORD"], "there is no command 'clasify'. Did you mean classify? Commands: demo, prepare, "),
        (["eval"], "Did you mean evaluate?"),
        (["fine-tune"], "Did you mean finetune?"),
        (["train", "--dataset", "d"], "Did you mean pretrain?"),
        (["zzzz"], "there is no command 'zzzz'. Commands: "),
        (["--verison"], "there is no option --verison. Did you mean --version?"),
        # Without the check of options first, argparse would ask for the missing --labels.
        (["classify", "RECORD", "--lables", "a"], "there is no option --lables. Did you mean --labels?"),
        (["finetune", "M", "--output-dir=x"], "there is no option --output-dir. Did you mean --output_dir?"),
        (["evaluate", "M", "--jsn"], "Did you mean --json?"),
        (["classify", "RECORD", "--qqqq"], "there is no option --qqqq."),
    ],
)
def test_a_wrong_word_is_named_with_what_was_probably_meant(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("cgdmer: error: ") and message in complaint
    assert complaint.endswith(".") or complaint.endswith("?")


def test_the_beginning_of_an_option_and_what_follows_two_dashes_are_let_through(capsys):
    assert main(["plot", "nowhere/record", "--uni", "mV"]) == 1  # argparse takes it for --unit
    assert main(["plot", "--", "--nowhere"]) == 1
    assert capsys.readouterr().err.count("cgdmer plot: ") == 2


def test_pretraining_refuses_misspelt_options_too(capsys):
    with pytest.raises(SystemExit) as stopped:
        pretrain.main(["--dataset", "d", "--output_dir", "o", "--config-name", "cgdmer-tiny"])
    assert stopped.value.code == 2
    assert "there is no option --config-name. Did you mean --config_name?" in capsys.readouterr().err


def test_pretrain_as_a_command_says_what_to_type(capsys):
    assert main(["pretrain", "--dataset", "my data", "--output_dir", "run"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "  accelerate launch -m cgdmer.pretrain --dataset 'my data' --output_dir run\n" in printed.err
    assert "  python -m cgdmer.pretrain --dataset 'my data' --output_dir run\n" in printed.err
    for words, status in (([], 2), (["--help"], 0)):
        assert main(["pretrain", *words]) == status
        printed = capsys.readouterr()
        said = printed.err if status else printed.out
        assert "python -m cgdmer.pretrain --config_name cgdmer-tiny --dataset DATASET --output_dir RUN" in said


def test_an_error_of_pretraining_takes_one_line():
    command = [sys.executable, "-m", "cgdmer.pretrain", "--dataset", "nowhere", "--output_dir", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cgdmer.pretrain: pass either --config_name, a preset ")


def test_the_help_of_pretraining_tells_what_each_preset_decides(capsys):
    with pytest.raises(SystemExit):
        pretrain.parse_arguments(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for words in (
        "cgdmer-tiny 10 s at 100 Hz in patches of 0.4 s, 70% of the patches masked; its own small text tower",
        "cgdmer-base 10 s at 500 Hz in patches of 0.1 s, 75% of the patches masked; text tower in the shape of "
        "ncbi/MedCPT-Query-Encoder, with random weights unless --text_model ncbi/MedCPT-Query-Encoder loads them",
        "coreecg-tiny 10 s at 100 Hz in patches of 0.4 s, 50% of the columns masked and 20% of the leads; "
        "signals alone, no texts",
        "cgdmer-tiny-resnet18 10 s at 100 Hz in patches of 0.4 s, a residual network, nothing masked; its own small",
        "cgdmer-tiny-vit 10 s at 100 Hz in patches of 0.4 s, a transformer over all leads at once, nothing masked; ",
    ):
        assert words in printed
    assert all(preset_folder(name) == folder and f" {name} " in printed for name, folder in presets().items())
