# SPDX-License-Identifier: Apache-2.0
"""Texts in words other than the corpus's (`--wordings`), on simulated records with labels of PTB-XL."""

import json
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from pretraining_runs import metrics, pretrain

import cgdmer.data.wordings as wordings_module
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import load_dataset_folder
from cgdmer.data.wordings import load_wordings
from cgdmer.models.errors import ConfigurationError, CorpusError, ModelFolderError
from cgdmer.models.objectives import satisfied_pairs
from cgdmer.training.pairs import (
    GENERAL_TERMS,
    MOST_HELD,
    MOST_STATEMENTS,
    OWN_STATEMENTS,
    RARITY,
    PairCollator,
    PairDataset,
    PairMaker,
    statement_id,
)
from cgdmer.training.streaming import StreamedPairs, WorkerPosition

# Including an SNOMED CT code with the meaning of AFIB, one for a general term, and an unknown label.
LABELS = (
    *(["SR", "NORM"], ["SR", "ASMI", "LVH"], ["AFIB", "CLBBB", "INJIL"], ["164889003", "1AVB"], ["164865005"]),
    *(["unheard", "PVC"], ["unheard"], ["ILMI", "ISCAL", "LPR", "1AVB", "STACH", "PAC"]),
)
FOLDER = Path(wordings_module.__file__).with_suffix("")
FILES = [json.loads((FOLDER / f"{name}.json").read_text()) for name in ("scp", "snomed", "simulated")]


def in_corpus(label: str) -> str:
    return f"The corpus says {label}."


@pytest.fixture(scope="module")
def labeled_folder(cohort_folder, tmp_path_factory) -> Path:
    """The cohort's folder with other labels, and a summary that counts them."""
    folder = tmp_path_factory.mktemp("labeled") / "dataset"

    def label(row, index):
        labels = LABELS[index % len(LABELS)]
        return {"labels": labels, "statements": [in_corpus(label) for label in labels]}

    splits = load_dataset_folder(cohort_folder)
    labeled = datasets.DatasetDict(
        {name: split.map(label, with_indices=True, load_from_cache_file=False) for name, split in splits.items()}
    )
    labeled.save_to_disk(str(folder))
    counts = Counter(label for labels in labeled["train"]["labels"] for label in labels)
    summary = json.loads((cohort_folder / "summary.json").read_text())
    summary["labels"] = {label: {"train": count} for label, count in counts.items()}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture(scope="module")
def train_split(labeled_folder):
    return load_dataset_folder(labeled_folder)["train"]


@pytest.fixture(scope="module")
def pairs(train_split, processor):
    return PairDataset(train_split, processor.feature_extractor, "statements", seed=5, wordings=load_wordings())


@pytest.fixture(scope="module")
def drawn(pairs) -> list[tuple[list[str], dict]]:
    """The labels and the sample of every record in 25 epochs."""
    samples = []
    for epoch in range(25):
        pairs.set_epoch(epoch)
        samples += [(row["labels"], pairs[index]) for index, row in enumerate(pairs.split)]
    return samples


def same_as(label: str) -> str:
    return next((file["same_as"][label] for file in FILES if label in file.get("same_as", {})), label)


def terms_of(labels: list[str]) -> set[str]:
    """A naive reference: add every term with a code that is held, until nothing changes."""
    held, before = {same_as(label) for label in labels}, set()
    while held != before:
        before = set(held)
        for file in FILES:
            held |= {term for term, entry in file["general"].items() if before & set(entry["codes"])}
    return held - {same_as(label) for label in labels}


def said_by(text: str) -> str:
    """The finding of one sentence of a text; each wording of the files belongs to one finding."""
    if text.startswith("The corpus says "):
        return same_as(text.removeprefix("The corpus says "))
    owners = [finding for finding, wordings in load_wordings().of_finding.items() if text in wordings]
    assert len(owners) == 1, text
    return owners[0]


def test_a_record_holds_its_findings_and_every_term_that_is_true_of_it(drawn):
    for labels, sample in drawn[: len(LABELS)]:
        expected = {same_as(label) for label in labels} | terms_of(labels)
        assert set(sample["ecg_statement_ids"]) - {0} == {statement_id(finding) for finding in expected}
        assert sample["ecg_statement_ids"].shape == (MOST_HELD,)
        assert sample["text_statement_ids"][0].shape == (MOST_STATEMENTS,)
    ids = {labels[0]: set(sample["ecg_statement_ids"]) for labels, sample in drawn[: len(LABELS)]}
    assert statement_id("myocardial infarction") in ids["164865005"] & ids["ILMI"]
    assert statement_id("myocardial infarction") not in ids["AFIB"] | ids["unheard"]
    assert statement_id("AFIB") in ids["AFIB"] & ids["164889003"]
    assert ids["unheard"] >= {statement_id("unheard")}


def test_a_text_says_what_its_ids_stand_for_and_its_ecg_satisfies_it(drawn):
    for labels, sample in drawn:
        said = {said_by(text) for text in sample["texts"][0].split(". ")}
        assert set(sample["text_statement_ids"][0]) - {0} == {statement_id(finding) for finding in said}
        assert said <= {same_as(label) for label in labels} | terms_of(labels)


def test_no_text_is_a_negative_of_an_ecg_of_which_it_is_true(drawn):
    """Against the sentences read back, whatever their wording, without ids."""
    some = drawn[: 3 * len(LABELS)]
    satisfied = satisfied_pairs(
        torch.tensor(np.stack([sample["ecg_statement_ids"] for _, sample in some])),
        torch.tensor(np.stack([sample["text_statement_ids"][0] for _, sample in some])),
    )
    said = [{said_by(text) for text in sample["texts"][0].split(". ")} for _, sample in some]
    true_of = [{same_as(label) for label in labels} | terms_of(labels) for labels, _ in some]
    assert satisfied.tolist() == [[text <= held for text in said] for held in true_of]


def test_shares_are_as_stated(drawn):
    """A single finding with wordings: in the corpus's words, in others, or replaced by a general term."""
    general, number = 0, 0
    for labels, sample in drawn:
        texts = sample["texts"][0].split(". ")
        if not terms_of(labels):
            assert {said_by(text) for text in texts} <= {same_as(label) for label in labels}
            continue
        general += said_by(texts[0]) in terms_of(labels)
        number += 1
    assert general / number == pytest.approx(GENERAL_TERMS, abs=0.03)
    alone = [
        sample["texts"][0]
        for labels, sample in drawn
        if ". " not in sample["texts"][0] and said_by(sample["texts"][0]) in set(map(same_as, labels)) - {"unheard"}
    ]
    own = sum(text.startswith("The corpus") for text in alone)
    assert len(alone) > 600
    assert own / len(alone) == pytest.approx(OWN_STATEMENTS, abs=0.05)


def test_all_wordings_are_drawn_and_unknown_labels_keep_their_statement(drawn):
    of_finding = load_wordings().of_finding
    seen = {text for _, sample in drawn for text in sample["texts"][0].split(". ")}
    assert set(of_finding["AFIB"]) <= seen
    assert {sample["texts"][0] for labels, sample in drawn if labels == ["unheard"]} == {"The corpus says unheard"}


def test_the_rarer_a_term_the_likelier_it_is_stated(train_split, processor):
    """AFIB is a hundred times rarer than CLBBB, and so are the terms that only AFIB implies."""
    row = next(row for row in train_split if row["labels"] == LABELS[2])
    of_fibrillation, of_block = terms_of(["AFIB"]), terms_of(["CLBBB"])
    counts = {"AFIB": 10, "CLBBB": 990, "INJIL": 10**9}
    make_pair = PairMaker(processor.feature_extractor, "statements", counts, wordings=load_wordings())
    stated = Counter()
    for number in range(700):
        first = said_by(make_pair(row, np.random.default_rng(number))["texts"][0].split(". ")[0])
        if first in terms_of(LABELS[2]):
            stated[first] += 1
    rare = sum(stated[term] for term in of_fibrillation - of_block - terms_of(["INJIL"]))
    number_of_rare = len(of_fibrillation - of_block - terms_of(["INJIL"]))
    number_of_common = len(of_block - of_fibrillation - terms_of(["INJIL"]))
    odds = number_of_rare / number_of_common * (990 / 10) ** RARITY
    assert number_of_rare >= 3 and number_of_common >= 3
    assert rare / stated.total() == pytest.approx(odds / (1 + odds), abs=0.03)


def test_draws_are_reproducible_and_signals_those_without_wordings(pairs, train_split, processor):
    extractor = processor.feature_extractor
    again = PairDataset(train_split, extractor, "statements", seed=5, wordings=load_wordings())
    plain = PairDataset(train_split, extractor, "statements", seed=5)
    texts = []
    for epoch in (3, 1):
        for dataset in (pairs, again, plain):
            dataset.set_epoch(epoch)
        for index in (7, 0, 3):
            first, second, off = pairs[index], again[index], plain[index]
            assert all(np.array_equal(first[name], second[name]) for name in first)
            assert all(np.array_equal(first[name], off[name]) for name in ("ecg_values", "noise", "text_seed"))
            assert off["ecg_statement_ids"].shape == (MOST_STATEMENTS,)
            assert all(text.startswith("The corpus says ") for text in off["texts"][0].split(". "))
            texts.append(first["texts"][0])
    assert len(set(texts)) > 3


def test_a_stream_makes_the_pairs_of_random_access(labeled_folder, pairs, train_split, processor):
    dataset = ShardedDataset(str(labeled_folder))
    make_pair = PairMaker(processor.feature_extractor, "statements", dataset.label_counts(), wordings=load_wordings())
    assert make_pair.counts == pairs.make_pair.counts
    stream = StreamedPairs(dataset, make_pair, PairCollator(processor.tokenizer), batch_size=4, seed=5)
    streamed = [pair for pair, _ in stream._pairs(0, WorkerPosition())]
    again = [pair for pair, _ in stream._pairs(0, WorkerPosition())]
    assert len(streamed) == len(train_split)
    assert [pair["texts"][0] for pair in streamed] == [pair["texts"][0] for pair in again]
    row = train_split[3]
    plain, there = (make(row, np.random.default_rng(8)) for make in (pairs.make_pair, make_pair))
    assert all(np.array_equal(plain[name], there[name]) for name in plain)


@pytest.mark.parametrize("streaming", [(), ("--streaming",)])
def test_training_with_wordings(labeled_folder, small_preset, tmp_path, streaming):
    run = (labeled_folder, small_preset, tmp_path, "--max_train_steps", "2", "--per_device_train_batch_size", "16")
    run += ("--text_source", "statements", "--checkpointing_steps", "1", "--report_to", "none", *streaming)
    pretrain(*run, "--wordings")
    assert all(np.isfinite(line["loss"]) for line in metrics(tmp_path) if "loss" in line)
    with pytest.raises(ModelFolderError, match="another wordings"):
        pretrain(*run, "--resume_from_checkpoint", str(tmp_path / "step_1"))


def test_without_findings_there_is_nothing_to_word(cohort_folder, labeled_folder, small_preset, tmp_path):
    for more in (["--wordings"], ["--texts_per_record", "2"]):
        with pytest.raises(ConfigurationError, match=f"^{more[0]} needs .* Pass --text_source statements"):
            pretrain(labeled_folder, small_preset, tmp_path, *more)
    own = load_dataset_folder(cohort_folder).map(lambda row: {"labels": [f"ours {label}" for label in row["labels"]]})
    own.save_to_disk(tmp_path / "own")
    with pytest.raises(CorpusError, match="no label with wordings"):
        pretrain(tmp_path / "own", small_preset, tmp_path, "--text_source", "statements", "--wordings")
