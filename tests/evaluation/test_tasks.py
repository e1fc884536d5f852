# SPDX-License-Identifier: Apache-2.0
"""Classes, label rules, and counts, compared with the corpora's own tables and the counts of the released files."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.label_tables import CPSC2018_CLASS_OF, CSN_ACRONYMS_OF
from cgdmer.evaluation.prompt_sets import PROMPT_SETS, load_prompts
from cgdmer.evaluation.splits import repaired_splits
from cgdmer.evaluation.tasks import TASKS, get_task, task_of_labels
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.simulation.conditions import CONDITIONS

# Positives in train/validation/test of the released files, classes in the order of their test files.
RELEASED = {
    "ptbxl-super": "HYP 2119/268/262, NORM 7596/955/963, MI 4379/540/550, CD 3907/495/496, STTC 4186/528/521",
    "ptbxl-sub": "AMI 2466/306/306, LAFB/LPFB 1437/181/179, LVH 1708/210/214, STTC 1792/225/222, IMI 2618/326/327, "
    "SEHYP 24/3/2, CRBBB 432/55/54, WPW 64/7/8, LAO/LAE 341/43/42, NORM 7596/955/963, ISC 1019/125/128, "
    "AVB 658/83/82, RAO/RAE 79/10/10, LMI 161/20/20, ISCI 318/39/40, ISCA 756/92/93, NST 615/75/77, CLBBB 428/54/54, "
    "ILBBB 62/7/8, IRBBB 894/112/112, PMI 13/2/2, RVH 102/12/12, IVCD 630/78/79",
    "ptbxl-form": "PAC 318/40/40, DIG 145/18/18, HVOLT 49/7/6, STD 807/101/101, LPR 272/34/34, QWAVE 438/55/55, "
    "VCLVH 701/87/87, NDT 1461/182/182, TAB 28/4/3, LOWT 350/44/44, ABQRS 2683/322/322, LNGQT 94/12/11, PRC(S) 8/1/1, "
    "NT 340/41/42, STE 22/3/3, NST 615/75/77, PVC 915/114/114, INVT 235/30/29, LVOLT 145/19/18",
    "ptbxl-rhythm": "SVARR 128/15/14, BIGU 66/8/8, STACH 661/83/82, SARRH 618/77/77, SBRAD 509/64/64, TRIGU 16/2/2, "
    "AFIB 1211/151/152, SR 13404/1670/1674, SVTAC 21/3/3, PSVT 19/3/2, AFLT 59/7/7, PACE 237/29/28",
    "cpsc2018": "AFIB 873/98/250, VPC 501/56/143, NORM 649/85/184, 1AVB 504/63/155, CRBBB 1359/141/357, "
    "STE 170/12/38, PAC 442/54/120, CLBBB 172/15/49, STD 644/63/162",
    "csn": "AQW 433/46/112, UW 45/3/10, SR 5154/571/1404, WPW 34/5/14, 2AVB 31/3/4, AT 115/15/42, VB 665/82/169, "
    "ARS 365/53/114, STTC 610/81/186, SA 2075/217/536, STE 295/30/93, VPB 174/20/43, TWO 806/85/232, STTU 97/14/36, "
    "ALS 641/70/210, APB 497/52/136, 2AVB1 13/2/1, PRIE 20/1/8, CCR 87/16/38, CR 141/25/50, AF 3383/383/987, "
    "AVB 662/82/169, QTIE 137/16/32, LBBB 143/24/42, VEB 15/1/5, SVT 434/51/128, RBBB 394/46/93, 1AVB 510/66/126, "
    "STDD 307/29/91, MI 36/6/15, AFIB 992/124/297, TWC 3288/389/968, PWC 73/3/11, ERV 180/18/68, RVH 20/4/5, "
    "LVH 83/8/22, ST 4553/504/1281, JEB 17/3/5",
}
POSITIVES = {
    task: {name: tuple(map(int, counts.split("/"))) for name, counts in (entry.rsplit(" ", 1) for entry in row)}
    for task, row in ((task, text.split(", ")) for task, text in RELEASED.items())
}
# Tasks on PTB-XL, and the column of scp_statements.csv that makes their classes.
COLUMNS = {
    "ptbxl-super": "diagnostic_class",
    "ptbxl-sub": "diagnostic_subclass",
    "ptbxl-form": "form",
    "ptbxl-rhythm": "rhythm",
    "ptbxl-all": "description",
}


@pytest.fixture(scope="module")
def statements(real_data):
    return pd.read_csv(real_data / "ptb-xl-subset" / "scp_statements.csv", index_col=0)


@pytest.fixture(scope="module")
def challenge(real_data):
    """How often each SNOMED CT code occurs in each corpus, according to the PhysioNet/CinC Challenge 2021."""
    tables = [
        pd.read_csv(real_data / "codes" / f"cinc2021_dx_mapping_{part}.csv", dtype={"SNOMEDCTCode": str})
        for part in ("scored", "unscored")
    ]
    return pd.concat(tables).set_index("SNOMEDCTCode")


@pytest.fixture(scope="module")
def csn_names(real_data):
    return pd.read_csv(real_data / "codes" / "ConditionNames_SNOMED-CT.csv", dtype=str, encoding="utf-8-sig")


def classes_from_statements(statements, task):
    """code -> class, straight from the corpus's table."""
    column = statements[COLUMNS[task]].dropna()
    if task in ("ptbxl-super", "ptbxl-sub"):
        return {code: name.strip("_") for code, name in column.items()}
    return {code: code if task == "ptbxl-all" else code.strip("_") for code in column.index}


def codes_of_header(path):
    """The SNOMED CT codes in the line `#Dx: ...` of a header."""
    [line] = [line for line in path.read_text().splitlines() if line.lstrip("# ").startswith("Dx:")]
    return [code.strip() for code in line.partition(":")[2].split(",")]


def by_folds(ptbxl_table, statements, task):
    """Positives of each class in train, validation, and test, with pandas only."""
    class_of = classes_from_statements(statements, task)
    pairs = ptbxl_table.explode("codes").assign(name=lambda table: table["codes"].map(class_of)).dropna()
    pairs = pairs.drop_duplicates(["ecg_id", "name"])
    split = np.select([pairs["strat_fold"] <= 8, pairs["strat_fold"] == 9], ["train", "validation"], "test")
    return pairs.groupby(["name", split]).size().to_dict(), pairs.groupby(split)["ecg_id"].nunique().to_dict()


def test_the_tasks():
    assert list(TASKS) == [*COLUMNS, "cpsc2018", "csn", "simulated"]
    assert [len(task.class_names) for task in TASKS.values()] == [5, 23, 19, 12, 71, 9, 38, len(CONDITIONS)]
    assert all(len(set(task.class_names)) == len(task.class_names) for task in TASKS.values())
    with pytest.raises(ConfigurationError, match="ptbxl-super"):
        get_task("ptbxl-everything")


@pytest.mark.parametrize("task", RELEASED)
def test_classes_are_in_the_order_of_the_released_test_files(task):
    assert get_task(task).class_names == tuple(POSITIVES[task])


@pytest.mark.parametrize("task", COLUMNS)
def test_every_code_of_ptbxl_is_in_the_class_that_the_corpus_gives_it(statements, task):
    expected = classes_from_statements(statements, task)
    assert set(get_task(task).class_names) == set(expected.values())
    for code in statements.index:
        assert set(get_task(task).classes_of([code])) == ({expected[code]} if code in expected else set()), code
    if task == "ptbxl-all":
        assert get_task(task).class_names == tuple(statements.index)


@pytest.mark.parametrize("task", COLUMNS)
def test_counts_on_the_real_rows(ptbxl_table, ptbxl_dataset, statements, task):
    positives, labeled = by_folds(ptbxl_table, statements, task)
    parts = repaired_splits(ptbxl_dataset, get_task(task))
    for number, (split, part) in enumerate(parts.items()):
        counts = dict(zip(get_task(task).class_names, part.labels.sum(axis=0), strict=True))
        assert counts == {name: positives.get((name, split), 0) for name in counts}
        assert len(part) == labeled[split] and part.labels.any(axis=1).all()
        assert len(part) + part.unlabeled == len(ptbxl_dataset[split])
        if task in RELEASED:  # a part of the corpus has no more than the whole
            assert all(counts[name] <= POSITIVES[task][name][number] for name in counts)
    assert (parts["train"].unlabeled > 1000) == (task == "ptbxl-form")


def test_each_patient_is_in_one_fold(ptbxl_table):
    assert ptbxl_table.groupby("patient_id")["strat_fold"].nunique().max() == 1
    assert set(ptbxl_table["strat_fold"]) == set(range(1, 11))


def test_a_planted_shift_of_the_label_columns_changes_the_counts(ptbxl_table, ptbxl_dataset, statements):
    positives, _ = by_folds(ptbxl_table, statements, "ptbxl-sub")
    task = get_task("ptbxl-sub")
    shifted = np.roll(repaired_splits(ptbxl_dataset, task)["train"].labels, 1, axis=1).sum(axis=0)
    assert dict(zip(task.class_names, shifted, strict=True)) != {
        name: positives.get((name, "train"), 0) for name in task.class_names
    }


def test_cpsc2018_has_the_challenge_s_counts(challenge):
    """All 6,877 records: the released splits' positives add up to the number of records with the class's code."""
    for code, name in CPSC2018_CLASS_OF.items():
        assert challenge.loc[code, "CPSC"] == sum(POSITIVES["cpsc2018"][name]), name
    assert set(CPSC2018_CLASS_OF.values()) == set(get_task("cpsc2018").class_names)
    assert set(challenge.index[challenge["CPSC"] > 0]) == set(CPSC2018_CLASS_OF)


def test_ptbxl_has_the_challenge_s_counts_where_the_codes_are_one_to_one(challenge):
    codes = {
        "ptbxl-sub": "IRBBB 713426002 CLBBB 164909002 ILBBB 251120003 RVH 89792004 CRBBB 713427006 IVCD 698252002 "
        "WPW 74390002 LAO/LAE 67741000119109 SEHYP 266249003",
        "ptbxl-form": "PAC 284470004 LPR 164947007 QWAVE 164917005 INVT 59931005 LVOLT 251146004 STD 429622005 "
        "STE 164931005 LNGQT 111975006",
        "ptbxl-rhythm": "SARRH 427393009 SBRAD 426177001 STACH 427084000 AFIB 164889003 AFLT 164890007 PSVT 67198005 "
        "SVTAC 426761007 BIGU 11157007 TRIGU 251180001 PACE 10370003",
    }
    differences = Counter()
    for task, text in codes.items():
        words = text.split()
        for name, code in zip(words[::2], words[1::2], strict=True):
            differences[abs(challenge.loc[code, "PTB_XL"] - sum(POSITIVES[task][name]))] += 1
    # The challenge used version 1.0.1, with 38 more records than version 1.0.3 of the released splits.
    assert differences == {0: 20, 1: 5, 2: 2}


def test_csn_s_table_is_the_corpus_s(csn_names):
    expected = csn_names.groupby("Snomed_CT", sort=False)["AcronymName"].apply(tuple).to_dict()
    assert dict(CSN_ACRONYMS_OF) == expected
    assert [names for names in expected.values() if len(names) > 1] == [
        ("IDC", "IVB"),
        ("LBBB", "LBBBB", "LFBBB"),
        ("MI", "MIBW", "MIFW", "MILW", "MISW"),
        ("WAVN", "SAAWR"),
    ]


def test_each_class_of_csn_is_one_code(csn_names):
    task = get_task("csn")
    codes = [code for code in csn_names["Snomed_CT"].unique() if set(task.classes_of([code]))]
    assert len(codes) == 38
    for name, code in zip(csn_names["AcronymName"], csn_names["Snomed_CT"], strict=True):
        if name in task.class_names:
            assert set(task.classes_of([code])) == {name}


def test_csn_labels_are_exact_and_not_substrings(challenge, csn_names):
    code_of = dict(zip(csn_names["AcronymName"], csn_names["Snomed_CT"], strict=True))
    classes_of = get_task("csn").classes_of
    assert set(classes_of([code_of["AFIB"]])) == {"AFIB"}
    assert set(classes_of([code_of["AVB"], code_of["SB"]])) == {"AVB"}
    assert set(classes_of([code_of["LVQRSAL"]])) == set()
    # The exact counts of the released rows are possible in the corpus; those of the released columns are too high.
    corpus = challenge["Chapman_Shaoxing"] + challenge["Ningbo"]
    exact = {"AF": 3340, "ST": 5154, "AVB": 176, "VB": 3, "SA": 2107, "CR": 75, "2AVB": 22}
    assert all(corpus[code_of[name]] >= count for name, count in exact.items())
    assert all(sum(POSITIVES["csn"][name]) > count for name, count in exact.items())
    assert sum(POSITIVES["csn"]["VB"]) > corpus[code_of["VB"]] == 3


def test_real_csn_records_map(real_data):
    """These codes of the samples have no class: four that the corpus's table names, and those that it lacks."""
    records = [codes_of_header(path) for path in sorted((real_data / "csn-sample").glob("*.hea"))]
    assert len(records) == 44
    codes = Counter(code for record in records for code in record)
    task = get_task("csn")
    unmapped = {code: count for code, count in codes.items() if not set(task.classes_of([code]))}
    named = {CSN_ACRONYMS_OF[code][0]: count for code, count in unmapped.items() if code in CSN_ACRONYMS_OF}
    assert named == {"SB": 13, "IDC": 5, "AVRT": 2, "VFW": 1}
    assert {code: count for code, count in unmapped.items() if code not in CSN_ACRONYMS_OF} == {
        **{"55930002": 5, "55827005": 4, "425856008": 4, "365413008": 2, "61721007": 1, "427172004": 1},
        **{"251187003": 1, "251170000": 1, "106068003": 1},
    }
    labels = task.label_matrix(records)
    counts = dict(zip(task.class_names, labels.sum(axis=0), strict=True))
    assert (counts["ST"], counts["SR"], counts["APB"], counts["TWC"], counts["AF"]) == (9, 9, 9, 7, 5)


def test_real_cpsc2018_records_map(real_data):
    task = get_task("cpsc2018")
    found = {
        path.stem: sorted(task.classes_of(codes_of_header(path)))
        for path in sorted((real_data / "cpsc2018-sample").glob("A*.hea"))
    }
    assert found == {
        "A0001": ["CRBBB"],
        "A0005": ["VPC"],
        "A0006": ["CRBBB"],
        "A0009": ["AFIB"],
        "A5215": ["CRBBB", "PAC"],
    }


def test_labels_become_columns_by_name():
    matrix = get_task("ptbxl-super").label_matrix([["NORM", "SR"], ["LVH", "IMI", "AFIB"], ["SR"], []])
    assert matrix.tolist() == [[0, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert get_task("ptbxl-super").label_matrix([]).shape == (0, 5)


@pytest.mark.parametrize("prompt_set", PROMPT_SETS)
@pytest.mark.parametrize("task", TASKS)
def test_prompts_are_in_the_order_of_the_classes(prompt_set, task):
    task = get_task(task)
    prompts = task.prompts(prompt_set)
    if task.name == "simulated":
        assert prompts == [condition.prompts for condition in CONDITIONS.values()]
    else:
        assert prompts == [load_prompts(prompt_set, task.name, [name])[name] for name in task.class_names]
        # The same prompts in another order would be found: no two classes share theirs.
        assert len(set(prompts)) == len(prompts)


def test_the_comparison_has_one_phrase_for_each_diagnostic_statement_of_a_superclass(statements):
    task = get_task("ptbxl-super")
    sizes = statements["diagnostic_class"].value_counts().to_dict()
    prompts = task.prompts(Path(__file__).parents[2] / "examples" / "comparison" / "superclass_prompts.json")
    assert dict(zip(task.class_names, map(len, prompts), strict=True)) == sizes
    assert sum(sizes.values()) == 44


def test_a_file_of_prompts_serves_a_task_with_its_own(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text('{"sinus_rhythm": "x"}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"prompts\.json.*has no prompt"):
        get_task("simulated").prompts(path)


@pytest.fixture
def hospital(make_dataset):
    """Two labels of a hospital, one of them rare; every third record has neither."""
    rows = [
        (f"r{number}", f"p{number}", [["AF"], ["Ärger_x", "AF"] if number < 12 else ["rare"], []][number % 3], split)
        for number, split in enumerate(["train"] * 30 + ["validation"] * 6 + ["test"] * 9)
    ]
    return make_dataset(rows)


def test_a_task_of_the_datasets_own_labels(hospital):
    """Records without a label are negative, so a single label of 0 and 1 can be measured."""
    task = task_of_labels(hospital, ["AF"])
    assert (task.name, task.class_names, task.prompts()) == ("labels", ("AF",), [("AF",)])
    parts = repaired_splits(hospital, task)
    assert {name: (part.labels.sum(), len(part), part.unlabeled) for name, part in parts.items()} == {
        "train": (14, 30, 0),
        "validation": (2, 6, 0),
        "test": (3, 9, 0),
    }
    np.testing.assert_array_equal(parts["test"].labels[:, 0], [True, False, False] * 3)
    assert task_of_labels(hospital).class_names == ("AF", "rare")
    assert task_of_labels(hospital, ["Ärger_x", "AF"]).prompts() == [("Ärger x",), ("AF",)]
    with pytest.raises(CorpusError, match=r"no record has the label 'af'\. The most frequent labels are: AF, rare"):
        task_of_labels(hospital, ["af"])


def test_without_frequent_labels(make_dataset):
    with pytest.raises(CorpusError, match=r"no label has 10 records; the most frequent is 'AF', with 1. Choose"):
        task_of_labels(make_dataset([("r", "p", ["AF"], "test")]))
    with pytest.raises(CorpusError, match="There are no labels at all"):
        task_of_labels(make_dataset([("r", "p", [], "test")]), ["AF"])
    with pytest.raises(CorpusError, match=r"no label has 10 records. Choose"):
        task_of_labels(make_dataset([("r", "p", [], "test")]))


def test_labels_choose_the_task():
    assert EvaluationArguments("m", "d").tasks is None  # the model decides
    assert EvaluationArguments("m", "d", labels=["AF"]).tasks == ["labels"]
    assert EvaluationArguments("m", "d", ["csn"], labels=["AF"]).tasks == ["csn", "labels"]
