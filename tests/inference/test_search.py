# SPDX-License-Identifier: Apache-2.0
"""Search in a dataset: the same answers, in the same order, as a naive comparison of everything with everything."""

import json
import shutil

import datasets
import numpy as np
import pytest
import torch

from cgdmer.commands import main
from cgdmer.data.storage import DatasetRecords, load_dataset_folder, row_to_record
from cgdmer.inference import embedding_cache
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import embed_records, embed_texts
from cgdmer.inference.search import nearest, search_dataset, search_records, search_reports
from cgdmer.models.errors import ConfigurationError, CorpusError, ECGInputError, RecordFileError
from recordings import write_wfdb

QUERY = "atrial fibrillation with fast ventricular response"


@pytest.fixture(scope="module")
def records(dataset_folder) -> DatasetRecords:
    return DatasetRecords(datasets.concatenate_datasets(list(load_dataset_folder(dataset_folder).values())))


@pytest.fixture(scope="module")
def cosines(records, classify):
    """A function that returns (records, texts) cosines, computed for one record and one text at a time."""

    @torch.no_grad()
    def compare(texts):
        model, processor = classify.model, classify.processor
        table = []
        for row in records.rows:
            ecg = model.get_ecg_features(**processor(ecg=row_to_record(row), return_tensors="pt")).pooler_output[0]
            line = []
            for text in texts:
                embed = model.get_text_features(**processor(text=[text], return_tensors="pt")).pooler_output[0]
                line.append(float(ecg @ embed))
            table.append(line)
        return np.array(table)

    return compare


def test_nearest_orders_by_cosine_and_ties_by_position():
    candidates = np.array([[0, 1], [1, 0], [0.6, 0.8], [1, 0], [-1, 0], [1, 0]], dtype=np.float32)
    query = np.array([1, 0], dtype=np.float32)
    rows, found = nearest(candidates, query, top=5)
    assert rows.tolist() == [1, 3, 5, 2, 0]
    np.testing.assert_allclose(found, [1, 1, 1, 0.6, 0], atol=1e-7)
    assert len(nearest(candidates, query, top=100)[0]) == 6


def test_equal_candidates_are_tied_at_any_position():
    """A product of whole matrices rounds rows differently, depending on their place in a block."""
    generator = np.random.default_rng(0)
    one, query = generator.normal(size=(2, 257)).astype(np.float32)
    for count in (3, 17, 64, 1001):
        rows, _ = nearest(np.tile(one, (count, 1)), query, top=count)
        assert rows.tolist() == list(range(count))


def test_a_record_is_nearest_to_itself(records, classify):
    embeds = embed_records(classify.model, classify.processor.feature_extractor, records).embeds
    for number in range(len(records)):
        rows, found = nearest(embeds, embeds[number], top=2)
        assert rows[0] == number and found[0] == pytest.approx(1, abs=1e-5)
        assert found[1] < found[0]


def test_records_for_a_text_match_a_naive_comparison(records, classify, cosines):
    expected = cosines([QUERY])[:, 0]
    found = search_records(QUERY, records, classify.model, classify.processor, top=7)
    order = np.argsort(-expected)[:7]
    assert [row["record_id"] for row in found] == [records.rows[int(number)]["record_id"] for number in order]
    assert [row["text"] for row in found] == [records.rows[int(number)]["text"] for number in order]
    np.testing.assert_allclose([row["cosine"] for row in found], expected[order], atol=1e-5)
    assert len(search_records(QUERY, records, classify.model, classify.processor, top=1000)) == len(records)


def test_reports_for_a_record_match_a_naive_comparison(records, classify, cosines):
    own = list(records.rows["text"])
    reports = [own[number // 2] for number in range(len(own))]  # every report belongs to two records or more
    shared = DatasetRecords(records.rows.map(lambda _, number: {"text": reports[number]}, with_indices=True))
    texts = list(dict.fromkeys(reports))
    expected = cosines(texts)
    for number in (0, 11):
        found = search_reports(records[number], shared, classify.model, classify.processor, top=len(records))
        order = np.argsort(-expected[number])
        assert [row["text"] for row in found] == [texts[place] for place in order]
        np.testing.assert_allclose([row["cosine"] for row in found], expected[number][order], atol=1e-5)
        assert [row["records"] for row in found] == [reports.count(texts[place]) for place in order]


def test_records_without_a_report_are_found_by_text_and_have_none(records, classify):
    rows = records.rows.map(lambda row, number: {"text": row["text"] if number % 2 else None}, with_indices=True)
    half = DatasetRecords(rows)
    found = search_records(QUERY, half, classify.model, classify.processor, top=30)
    assert sum(row["text"] is None for row in found) == 15
    reports = search_reports(records[0], half, classify.model, classify.processor, top=30)
    assert sum(row["records"] for row in reports) == 15
    silent = DatasetRecords(rows.map(lambda row: {"text": None}))
    with pytest.raises(CorpusError, match="no record of the dataset has a report"):
        search_reports(records[0], silent, classify.model, classify.processor)


def test_texts_are_embedded_in_their_order_in_batches_of_any_size(records, classify):
    texts = [QUERY, "normal ECG", "left bundle branch block and a first degree atrioventricular block", "pacing", "AF"]
    whole = embed_texts(classify.model, classify.processor, texts)
    np.testing.assert_allclose(embed_texts(classify.model, classify.processor, texts, batch_size=2), whole, atol=1e-6)
    for text, row in zip(texts, whole, strict=True):
        np.testing.assert_allclose(classify.embed_texts([text])[0], row, atol=1e-6)


def test_embeddings_of_texts_are_computed_once_for_the_same_texts_and_weights(classify, tmp_path, monkeypatch):
    original, calls = embedding_cache.embed_texts, []
    monkeypatch.setattr(embedding_cache, "embed_texts", lambda *a: calls.append(1) or original(*a))
    model, processor, texts = classify.model, classify.processor, [QUERY, "normal ECG"]
    first = EmbeddingCache(tmp_path).texts(model, processor, texts)
    np.testing.assert_array_equal(EmbeddingCache(tmp_path).texts(model, processor, texts), first)
    assert len(calls) == 1
    EmbeddingCache(tmp_path).texts(model, processor, texts[::-1])
    with torch.no_grad():
        model.text_shared_head.fc2.bias += 0.1
        EmbeddingCache(tmp_path).texts(model, processor, texts)
        model.text_shared_head.fc2.bias -= 0.1
    assert len(calls) == 3


def test_the_command_gives_the_same_answers_as_the_functions(
    dataset_folder, records, classify, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "dataset"
    shutil.copytree(dataset_folder, folder)
    expected = search_records(QUERY, records, classify.model, classify.processor, top=3)
    assert main(["search", str(folder), QUERY, "--top", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "Not a medical device" in answer["note"]
    assert [row["record_id"] for row in answer["found"]] == [row["record_id"] for row in expected]
    assert len(list((tmp_path / "dataset.embeddings").iterdir())) == 1

    def refuse(*_, **__):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(embedding_cache, "embed_records", refuse)
        assert main(["search", str(folder), QUERY, "--top", "3"]) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[1] for line in printed[:3]] == [row["record_id"] for row in expected]
    assert printed[0].endswith(expected[0]["text"]) and printed[-1] == "Research use only. Not a medical device."

    reports = search_reports(records[4], records, classify.model, classify.processor, top=3)
    by_id = search_dataset(folder, record=records[4].record_id, top=3)
    write_wfdb(records[4], tmp_path / "outside")
    by_path = search_dataset(folder, record=tmp_path / "outside", top=3)
    for found in (by_id, by_path):
        assert [row["text"] for row in found] == [row["text"] for row in reports]
    assert main(["search", str(folder), "--record", records[4].record_id, "--top", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(reports[0]["text"])


def test_a_split_is_searched_by_itself(dataset_folder, tmp_path):
    found = search_dataset(dataset_folder, QUERY, splits=["test"], top=100, cache_dir=tmp_path)
    own = load_dataset_folder(dataset_folder)["test"]["record_id"]
    assert sorted(row["record_id"] for row in found) == sorted(own)


def test_invalid_searches_are_refused(dataset_folder, records, tmp_path, monkeypatch):
    with pytest.raises(ECGInputError, match="Pass either a text or a record"):
        search_dataset(dataset_folder)
    with pytest.raises(ECGInputError, match="Pass either a text or a record"):
        search_dataset(dataset_folder, QUERY, record="1")
    with pytest.raises(ECGInputError, match="empty"):
        search_dataset(dataset_folder, "  ", cache_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="top is 0"):
        search_dataset(dataset_folder, QUERY, top=0, cache_dir=tmp_path)
    with pytest.raises(CorpusError, match="no split 'holdout'"):
        search_dataset(dataset_folder, QUERY, splits=["holdout"])
    assert not list(tmp_path.iterdir())  # nothing was embedded for it
    with pytest.raises(RecordFileError, match="does not exist"):
        search_dataset(dataset_folder, record="nobody")
    name = records[0].record_id
    write_wfdb(records[1], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match="and also a file"):
        search_dataset(dataset_folder, record=name)


def test_a_finding_in_other_words_is_searched_by_its_name(records, classify):
    def found(text):
        rows = search_records(text, records, classify.model, classify.processor, top=len(records))
        return [row["record_id"] for row in rows], [row["cosine"] for row in rows]

    expected = found("atrial fibrillation")
    assert found("Vorhofflimmern") == expected == found("artial fibrillation")
    ids, cosines = found("kein Vorhofflimmern")
    # Ties keep their order, so the denied finding's order is not exactly the reverse.
    assert cosines == [-cosine for cosine in expected[1][::-1]] and set(ids) == set(expected[0])
    assert expected[0][0] in ids[-2:]
