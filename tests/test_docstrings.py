# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings of public names run and print what stands below them."""

import doctest
from itertools import islice
from pathlib import Path

import pytest

import cgdmer
from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from recordings import write_wfdb

FUNCTIONS = ["prepare_corpus", "pretrain_model", "evaluate_model", "finetune_model", "score_recordings"]
FUNCTIONS += ["explain_recording", "simulate_record", "simulate_cohort", "ECGEmbedder", "ECGClassifier"]
FUNCTIONS += ["dataset_from_records", "model_path", "calibrate_model"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working directory with a dataset (`ecgs`), recordings (`recordings`), and a table of them (`table.csv`)."""
    folder = tmp_path_factory.mktemp("examples")
    cohort = cgdmer.simulate_cohort(60, seed=3, sampling_rate=100)
    write_dataset(cohort, folder / "ecgs", splits=split_of_fold, description="Simulated patients.")
    (folder / "recordings").mkdir()
    lines = ["record,text,labels"]
    for number, record in enumerate(islice(cgdmer.simulate_cohort(12, seed=4, sampling_rate=100), 12)):
        write_wfdb(record, folder / "recordings" / f"patient{number:02d}")
        lines.append(f"patient{number:02d},Sinus rhythm.,{';'.join(record.labels)}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_example_does_what_it_says(name, place, monkeypatch):
    monkeypatch.chdir(place)
    found = doctest.DocTestFinder(recurse=False).find(getattr(cgdmer, name), name, globs={"cgdmer": cgdmer})
    examples = [test for test in found if test.examples]
    assert examples, f"{name} has no example"
    for test in examples:
        assert not doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed


def test_every_public_function_has_an_example():
    functions = {name for name in cgdmer.__all__ if callable(getattr(cgdmer, name)) and name.islower()}
    assert functions - {"read_record", "read_wfdb"} <= set(FUNCTIONS)  # which need a file of the user's
