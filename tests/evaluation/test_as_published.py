# SPDX-License-Identifier: Apache-2.0
"""The published protocol has the defects it is known for, where it has them; the repaired one has none."""

import csv

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cgdmer import ECGFeatureExtractor
from cgdmer.evaluation import as_published
from cgdmer.evaluation.as_published import (
    first_five_seconds,
    missing_as_zero,
    published_probe,
    published_probes,
    published_splits,
    published_subset,
)
from cgdmer.evaluation.label_tables import CSN_ACRONYMS_OF
from cgdmer.evaluation.splits import repaired_splits
from cgdmer.evaluation.tasks import TASKS, get_task
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.leads import STANDARD_LEADS

CSN_CODE_OF = {acronyms[0]: code for code, acronyms in CSN_ACRONYMS_OF.items()}


def classes_at(part, task):
    """The classes of each record, by the position of its labels."""
    return [{name for name, positive in zip(task.class_names, row, strict=True) if positive} for row in part.labels]


def write_files(folder, stem, headers, rows):
    """Write split files; `headers` and `rows` are by the ending of the file name."""
    for ending, header in headers.items():
        with open(folder / f"{stem}_{ending}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows[ending]])


@pytest.mark.parametrize("task", ["ptbxl-super", "ptbxl-form", "ptbxl-rhythm"])
def test_three_tasks_of_ptbxl_have_the_same_labels_in_both_protocols(ptbxl_dataset, task):
    published, repaired = (rule(ptbxl_dataset, get_task(task)) for rule in (published_splits, repaired_splits))
    for split in repaired:
        np.testing.assert_array_equal(published[split].labels, repaired[split].labels)


def test_defect_a_three_training_columns_of_ptbxl_sub_change_places(ptbxl_dataset):
    task = get_task("ptbxl-sub")
    published, repaired = (rule(ptbxl_dataset, task) for rule in (published_splits, repaired_splits))
    at = {name: task.class_names.index(name) for name in ("ISC", "AVB", "RAO/RAE")}
    assert sorted(at.values()) == [10, 11, 12]
    wrong = (published["train"].labels != repaired["train"].labels).any(axis=0)
    assert np.flatnonzero(wrong).tolist() == [10, 11, 12]
    for trained_on, tested_as in (("AVB", "ISC"), ("RAO/RAE", "AVB"), ("ISC", "RAO/RAE")):
        column = published["train"].labels[:, at[tested_as]]
        np.testing.assert_array_equal(column, repaired["train"].labels[:, at[trained_on]])
    for split in ("validation", "test"):
        np.testing.assert_array_equal(published[split].labels, repaired[split].labels)


def test_defect_a_with_files_is_by_position(tmp_path, ptbxl_dataset):
    """The same rows and labels from files in both orders: by position, as without files; by name, repaired."""
    task = get_task("ptbxl-sub")
    training_order = [*task.class_names[:10], "AVB", "RAO/RAE", "ISC", *task.class_names[13:]]
    known = ["ecg_id", "patient_id", "strat_fold", "filename_lr", "filename_hr", "sub_class"]
    headers, rows = {}, {}
    for ending, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        order = training_order if split == "train" else task.class_names
        headers[ending] = [*known, *order]
        rows[ending] = [
            [row["record_id"], row["patient_id"], 1, "", "", "", *(int(name in classes) for name in order)]
            for row in ptbxl_dataset[split].select_columns(["record_id", "patient_id", "labels"])
            if (classes := set(task.classes_of(row["labels"])))
        ]
    write_files(tmp_path, "ptbxl_sub_class", headers, rows)
    from_files, without = published_splits(ptbxl_dataset, task, tmp_path), published_splits(ptbxl_dataset, task)
    repaired = repaired_splits(ptbxl_dataset, task, tmp_path)
    for split in without:
        np.testing.assert_array_equal(from_files[split].labels, without[split].labels)
        np.testing.assert_array_equal(repaired[split].labels, repaired_splits(ptbxl_dataset, task)[split].labels)

    headers["test"] = [*known, *training_order]
    write_files(tmp_path, "ptbxl_sub_class", headers, rows)
    with pytest.raises(CorpusError, match=r"ptbxl_sub_class_test\.csv: its classes are"):
        published_splits(ptbxl_dataset, task, tmp_path)
    headers["test"] = [*known, *task.class_names[1:]]
    write_files(tmp_path, "ptbxl_sub_class", headers, {**rows, "test": [row[:-1] for row in rows["test"]]})
    with pytest.raises(CorpusError, match="22 columns follow column 6; the task ptbxl-sub has 23"):
        published_splits(ptbxl_dataset, task, tmp_path)


# Lists in the released CSN files, and the classes that have a 1 for them.
RELEASED_CSN = {
    "SB,STE,ERV": {"STE", "ERV", "ST"},
    "AF,AVB": {"AF", "AVB", "VB"},
    "SB,1AVB,STTC": {"VB", "STTC", "AVB", "1AVB", "ST"},
    "SB,APB,LVQRSAL": {"SA", "APB"},
    "AFIB": {"AF", "AFIB"},
    "AT,1AVB,SR,APB": {"SR", "AT", "VB", "APB", "AVB", "1AVB"},
    "AFIB,IDC": {"AF", "AFIB"},
    "ST,1AVB,ALS,STDD,STTC,TWC,VPB": {"VB", "STTC", "VPB", "ALS", "AVB", "1AVB", "STDD", "TWC", "ST"},
    "SVT,LBBB": {"LBBB", "SVT"},
    "SR,SA": {"SR", "SA"},
}


def csn_rows(copies):
    return [
        (f"JS{number:05d}", None, [CSN_CODE_OF[acronym] for acronym in diagnose.split(",")], "train")
        for number, diagnose in enumerate(copies * list(RELEASED_CSN))
    ]


def test_defect_b_csn_labels_are_substrings(make_dataset):
    task = get_task("csn")
    rows = [*csn_rows(3), ("JS90000", None, [CSN_CODE_OF["SB"]], "test"), ("JS90001", None, ["55930002"], "test")]
    dataset = make_dataset(rows)
    parts = published_splits(dataset, task)
    expected = dict(zip((row[0] for row in rows), 3 * list(RELEASED_CSN.values()), strict=False))
    found = {
        name: classes
        for part in parts.values()
        for name, classes in zip(part.rows["record_id"], classes_at(part, task), strict=True)
    }
    assert found == expected
    assert sum(part.unlabeled for part in parts.values()) == 2
    exact = classes_at(repaired_splits(dataset, task)["train"], task)
    assert all(fewer <= more for fewer, more in zip(exact, expected.values(), strict=True))
    assert exact[:2] == [{"STE", "ERV"}, {"AF", "AVB"}]


def test_csn_files_are_used_as_they_are(tmp_path, make_dataset):
    task = get_task("csn")
    rows = csn_rows(1)
    dataset = make_dataset(rows)
    header = ["ecg_path", "age", "diagnose", *task.class_names]
    lines = [
        [f"/chapman/01/{row[0]}.mat", 12, diagnose, *(int(name in classes) for name in task.class_names)]
        for row, (diagnose, classes) in zip(rows, RELEASED_CSN.items(), strict=True)
    ]
    lines[0][3:] = [0] * 38  # like two released rows
    endings = {"train": lines[:6], "val": lines[6:8], "test": lines[8:]}
    write_files(tmp_path, "chapman", dict.fromkeys(endings, header), endings)
    parts = published_splits(dataset, task, tmp_path)
    assert [len(part) for part in parts.values()] == [6, 2, 2]
    assert classes_at(parts["train"], task) == [set(), *list(RELEASED_CSN.values())[1:6]]


def test_random_splits_are_by_record_and_have_the_published_sizes(make_dataset):
    """CPSC2018's 6,877 records give 4,950, 551, and 1,376."""
    rows = [(f"A{number:04d}", None, ["59118001"], "train") for number in range(1, 6878)]
    task = get_task("cpsc2018")
    parts = published_splits(make_dataset(rows), task)
    assert {split: len(part) for split, part in parts.items()} == {"train": 4950, "validation": 551, "test": 1376}
    records = {split: set(part.rows["record_id"]) for split, part in parts.items()}
    assert len(set.union(*records.values())) == 6877
    # The splits and the order that the dataset was prepared with do not matter.
    other = [(*row[:3], ("train", "validation", "test")[number % 3]) for number, row in enumerate(rows)]
    again = published_splits(make_dataset(other[::-1]), task)
    assert {split: set(part.rows["record_id"]) for split, part in again.items()} == records


def test_too_few_records_to_split(make_dataset):
    with pytest.raises(CorpusError, match="only 1 records"):
        published_splits(make_dataset([("A0001", None, ["59118001"], "train")]), get_task("cpsc2018"))


def test_defect_d_half_of_each_cpsc2018_record_is_zero(make_dataset):
    signal = np.random.default_rng(0).normal(size=(12, 7000)).astype(np.float32)
    cut = first_five_seconds(ECGRecord(signal, 500.0, tuple("abcdefghijkl"), record_id="A0001"))
    assert cut.signal.shape == (12, 5000) and cut.record_id == "A0001"
    np.testing.assert_array_equal(cut.signal[:, :2500], signal[:, :2500])
    assert not cut.signal[:, 2500:-1].any()
    assert first_five_seconds(ECGRecord(signal, 100.0, cut.lead_names)).signal.shape == (12, 1000)
    rows = [(f"A{number:04d}", None, ["59118001"], "train") for number in range(20)]
    task = get_task("cpsc2018")
    published = published_splits(make_dataset(rows), task)
    assert all(record.signal.shape == (1, 5000) for part in published.values() for record in part)
    repaired = repaired_splits(make_dataset(rows), task)
    assert all(record.signal.shape == (1, 4) for record in repaired["train"])


def test_a_model_is_given_the_constant_half():
    """The feature extractor cuts off filled ends; not this one, or the defect would not be repeated."""
    extractor = ECGFeatureExtractor(sampling_rate=100, num_samples=1000, patch_length=50, normalization="fixed")
    signal = np.random.default_rng(0).normal(size=(12, 7000)).astype(np.float32)
    extracted = extractor(first_five_seconds(ECGRecord(signal, 500.0, STANDARD_LEADS)))
    assert extracted["patch_mask"].all() and extracted["lead_mask"].all()
    assert extracted["ecg_values"][..., :480].std() > 1
    assert abs(extracted["ecg_values"][..., 521:]).max() < 0.001  # the resampler's filter reaches 20 samples far


def test_defect_e_missing_samples_are_zeros(make_dataset):
    signal = np.random.default_rng(0).normal(size=(12, 1000)).astype(np.float32)
    signal[3, 200:300] = np.nan
    record = missing_as_zero(ECGRecord(signal, 100.0, STANDARD_LEADS))
    assert not record.signal[3, 200:300].any() and np.array_equal(record.signal[0], signal[0])
    extractor = ECGFeatureExtractor(sampling_rate=100, num_samples=1000, patch_length=50, normalization="fixed")
    assert not extractor(record)["ecg_values"][0, 3, 200:300].any()
    rows = [(str(number), None, ["NORM"], ("train", "validation", "test")[number % 3]) for number in range(20)]
    published = published_splits(make_dataset(rows), get_task("ptbxl-super"))
    assert all(part.change is missing_as_zero for part in published.values())


@pytest.mark.parametrize(
    ("records", "one_percent"), [(17084, 170), (7197, 71), (16832, 168), (4950, 49), (16546, 165)]
)
def test_subsets_have_the_published_sizes(records, one_percent):
    chosen = published_subset(records, 1)
    assert len(chosen) == len(set(chosen)) == one_percent
    np.testing.assert_array_equal(chosen, published_subset(records, 1))
    assert len(published_subset(records, 10)) == records // 10
    assert published_subset(records, 100).tolist() == list(range(records))


def test_a_subset_of_less_than_one_record_is_refused():
    with pytest.raises(CorpusError, match="1 % of 99"):
        published_subset(99, 1)


def probe_data(records=64, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(records, 6)).astype(np.float32)
    return features, features[:, :3] + random.normal(size=(records, 3)) > 0


def test_defects_e_and_f_of_the_probe(monkeypatch):
    """Record the learning rate of every step and the test score of every epoch of a probe of six epochs."""
    rates, scores = [], []
    step = torch.optim.Adam.step

    def noted_step(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    auroc = as_published.auroc_by_column

    def noted_auroc(labels, values):
        scores.append(roc_auc_score(labels, values))
        return auroc(labels, values)

    monkeypatch.setattr(torch.optim.Adam, "step", noted_step)
    monkeypatch.setattr(as_published, "auroc_by_column", noted_auroc)
    features, labels = probe_data(170)
    test_features, test_labels = probe_data(80, seed=1)
    best = published_probe(features, labels, test_features, test_labels, epochs=6)
    # 11 iterations per epoch and 12 steps of the schedule: its fortieth step is the fourth iteration of epoch 4.
    assert len(rates) == 6 * 11
    changed = next(number for number, rate in enumerate(rates) if rate < 1e-3)
    assert changed == 37  # 3 x (11 + 1) + 4 = 40 steps, 3 of them without an iteration
    assert rates[:37] == [1e-3] * 37 and np.allclose(rates[37:], 1e-4)
    assert len(scores) == 6 and len(set(scores)) > 1
    assert best == pytest.approx(max(scores))


def test_the_probe_learns_and_is_repeatable_and_leaves_the_random_state_alone():
    features, labels = probe_data(400)
    test_features, test_labels = probe_data(200, seed=1)
    test_labels[:, 2] = False  # no positive: left out of the mean
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    values = [published_probe(features, labels, test_features, test_labels) for _ in range(2)]
    assert torch.equal(torch.rand(1), expected)
    assert values[0] == values[1] > 0.7


def test_a_probe_on_columns_in_another_order_is_worse():
    """What defect a costs: trained on one class and tested on the next."""
    features, labels = probe_data(400)
    test_features, test_labels = probe_data(200, seed=1)
    right = published_probe(features, labels, test_features, test_labels)
    wrong = published_probe(features, np.roll(labels, 1, axis=1), test_features, test_labels)
    assert wrong < right - 0.1


def test_probes_by_share_of_the_training_records():
    features, labels = probe_data(60)
    values = published_probes(features, labels, features, labels)
    assert list(values) == ["10", "100"]  # 1 % of 60 is less than a record
    assert values["100"] == published_probe(features, labels, features, labels) > values["10"]


def test_only_the_six_published_tasks(ptbxl_dataset):
    for task in ("ptbxl-all", "simulated"):
        with pytest.raises(ConfigurationError, match=f"{task} was not published"):
            published_splits(ptbxl_dataset, TASKS[task])
