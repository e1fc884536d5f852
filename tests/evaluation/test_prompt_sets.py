# SPDX-License-Identifier: Apache-2.0
import json
from collections import Counter
from importlib import resources

import pytest

from cgdmer.evaluation.prompt_sets import PROMPT_SETS, load_prompts
from cgdmer.models.errors import ConfigurationError

# The classes in the order of the released test files, written out so that no class can vanish from both sides.
CLASSES = {
    "ptbxl-super": "HYP NORM MI CD STTC",
    "ptbxl-sub": "AMI LAFB/LPFB LVH STTC IMI SEHYP CRBBB WPW LAO/LAE NORM ISC AVB RAO/RAE LMI ISCI ISCA NST CLBBB "
    "ILBBB IRBBB PMI RVH IVCD",
    "ptbxl-form": "PAC DIG HVOLT STD LPR QWAVE VCLVH NDT TAB LOWT ABQRS LNGQT PRC(S) NT STE NST PVC INVT LVOLT",
    "ptbxl-rhythm": "SVARR BIGU STACH SARRH SBRAD TRIGU AFIB SR SVTAC PSVT AFLT PACE",
    "ptbxl-all": "NDT NST_ DIG LNGQT NORM IMI ASMI LVH LAFB ISC_ IRBBB 1AVB IVCD ISCAL CRBBB CLBBB ILMI LAO/LAE AMI "
    "ALMI ISCIN INJAS LMI ISCIL LPFB ISCAS INJAL ISCLA RVH ANEUR RAO/RAE EL WPW ILBBB IPLMI ISCAN IPMI SEHYP INJIN "
    "INJLA PMI 3AVB INJIL 2AVB ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S) SR AFIB "
    "STACH SARRH SBRAD PACE SVARR BIGU AFLT SVTAC PSVT TRIGU",
    "cpsc2018": "AFIB VPC NORM 1AVB CRBBB STE PAC CLBBB STD",
    "csn": "AQW UW SR WPW 2AVB AT VB ARS STTC SA STE VPB TWO STTU ALS APB 2AVB1 PRIE CCR CR AF AVB QTIE LBBB VEB SVT "
    "RBBB 1AVB STDD MI AFIB TWC PWC ERV RVH LVH ST JEB",
}
CLASSES_OF = {task: classes.split() for task, classes in CLASSES.items()}
SLOTS = [(task, label) for task, labels in CLASSES_OF.items() for label in labels]
# Codes that share their name with a subclass of several codes.
GROUPS = {"AMI", "IMI"}


def packaged(prompt_set):
    """By task and label, from the files."""
    files = (resources.files("cgdmer.evaluation") / "prompts").iterdir()
    classes_of = {file.name.removesuffix(".json"): json.loads(file.read_text("utf-8")) for file in files}
    return {
        task: {label: wordings[prompt_set] for label, wordings in classes.items()}
        for task, classes in classes_of.items()
    }


def write(folder, content):
    path = folder / "prompts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_there_are_106_slots_in_the_six_tasks_and_71_in_all_of_ptbxl():
    counts = Counter(task for task, _ in SLOTS)
    assert counts.pop("ptbxl-all") == 71
    assert sum(counts.values()) == 106
    assert len(set(SLOTS)) == 177


@pytest.mark.parametrize("prompt_set", PROMPT_SETS)
def test_no_class_lacks_a_prompt_and_the_files_hold_no_other(prompt_set):
    assert {task: list(prompts) for task, prompts in packaged(prompt_set).items()} == CLASSES_OF
    for task, labels in CLASSES_OF.items():
        loaded = load_prompts(prompt_set, task, labels)
        assert list(loaded) == labels
        assert all(wordings and all(wordings) for wordings in loaded.values())


@pytest.mark.parametrize("prompt_set", PROMPT_SETS)
@pytest.mark.parametrize("task", CLASSES_OF)
def test_no_wording_serves_two_classes_of_a_task(prompt_set, task):
    loaded = load_prompts(prompt_set, task, CLASSES_OF[task])
    uses = Counter(wording.lower() for wordings in loaded.values() for wording in wordings)
    assert [wording for wording, count in uses.items() if count > 1] == []


@pytest.mark.parametrize(("task", "label"), SLOTS)
def test_size_and_form_of_each_prompt(task, label):
    name, description, ensemble = (load_prompts(kind, task, [label])[label] for kind in PROMPT_SETS)
    assert len(name) == len(description) == 1
    assert 1 <= len(name[0].split()) <= 10
    assert 12 <= len(description[0].split()) <= 45
    assert 3 <= len(ensemble) <= 6
    assert all(text.isascii() for text in (*name, *description, *ensemble))


@pytest.mark.parametrize("prompt_set", PROMPT_SETS)
def test_a_code_of_ptbxl_means_the_same_in_every_task(prompt_set):
    prompts = packaged(prompt_set)
    everything = prompts["ptbxl-all"]
    for task in ("ptbxl-sub", "ptbxl-form", "ptbxl-rhythm"):
        for label, prompt in prompts[task].items():
            code = label if label in everything else f"{label}_"
            if code in everything and not (task == "ptbxl-sub" and label in GROUPS):
                assert prompt == everything[code], (task, label)


@pytest.mark.parametrize("prompt_set", PROMPT_SETS)
def test_the_odd_acronyms_of_csn_mean_what_its_table_says(prompt_set):
    csn, rhythm = packaged(prompt_set)["csn"], packaged(prompt_set)["ptbxl-rhythm"]
    assert csn["AF"] == rhythm["AFLT"] != rhythm["AFIB"] == csn["AFIB"]
    assert csn["ST"] == rhythm["STACH"]
    assert csn["ST"] not in (csn["STE"], csn["STTC"], csn["STTU"], csn["STDD"])
    names = packaged("name")["csn"]
    expected = {
        "AF": "atrial flutter",
        "ST": "sinus tachycardia",
        "SA": "sinus irregularity",
        "VB": "ventricular bigeminy",
        "VEB": "ventricular escape beat",
        "JEB": "junctional escape beat",
        "CR": "clockwise rotation",
        "ARS": "right axis deviation",
        "TWO": "inverted T wave",
        "STDD": "ST segment depression",
        "STTU": "ST segment elevation",
    }
    assert {label: names[label] for label in expected} == expected


def test_acronyms_that_two_corpora_share_differ_where_their_meanings_do():
    descriptions = packaged("description")
    assert len({descriptions[task]["STTC"] for task in ("csn", "ptbxl-super", "ptbxl-sub")}) == 3
    assert len({descriptions[task]["STE"] for task in ("csn", "cpsc2018", "ptbxl-form")}) == 3


def test_a_flat_file_with_more_labels_and_lists_works(tmp_path):
    path = write(tmp_path, {"MI": "infarct", "more": "x", "CD": ["block ", " bundle  branch block"]})
    expected = {"CD": ("block", "bundle branch block"), "MI": ("infarct",)}
    assert load_prompts(path, "ptbxl-super", ["CD", "MI"]) == expected
    assert list(load_prompts(str(path), "ptbxl-super", ["CD", "MI"])) == ["CD", "MI"]


def test_a_file_by_task_works(tmp_path):
    path = write(tmp_path, {"csn": {"AF": "flutter"}, "other": {"AF": "fibrillation"}})
    assert load_prompts(path, "csn", ["AF"]) == {"AF": ("flutter",)}
    assert load_prompts(path, "other", ["AF"]) == {"AF": ("fibrillation",)}


def test_a_file_with_a_byte_order_mark_works(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text('{"MI": "infarct"}', encoding="utf-8-sig")
    assert load_prompts(path, "ptbxl-super", ["MI"]) == {"MI": ("infarct",)}


@pytest.mark.parametrize("prompt_set", PROMPT_SETS)
@pytest.mark.parametrize("task", CLASSES_OF)
def test_a_planted_missing_class_is_caught(tmp_path, prompt_set, task):
    content = packaged(prompt_set)
    gone = CLASSES_OF[task][-1]
    del content[task][gone]
    path = write(tmp_path, content)
    with pytest.raises(ConfigurationError) as error:
        load_prompts(path, task, CLASSES_OF[task])
    assert str(path) in str(error.value) and f"{gone!r} of task {task!r} has no prompt" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[" * 200_000, "not a JSON file"),
        ('["MI"]', "holds a list"),
        ({"MI": "x" * 1_000_001}, "larger than 1,000,000 bytes"),
        ({"MI": "infarct"}, "'CD' of task 'ptbxl-super' has no prompt"),
        ({"csn": {"MI": "infarct", "CD": "block"}}, "'MI' of task 'ptbxl-super' has no prompt"),
        ({"MI": " ", "CD": "block"}, "'MI' of task 'ptbxl-super': the prompt is empty"),
        ({"MI": [], "CD": "block"}, "'MI' of task 'ptbxl-super': the prompt is empty"),
        ({"MI": ["infarct", ""], "CD": "block"}, "'MI' of task 'ptbxl-super': the prompt is empty"),
        ({"MI": 1, "CD": "block"}, "the prompt is of type int. Expected a string or a list of strings"),
        ({"MI": None, "CD": "block"}, "the prompt is of type NoneType"),
        ({"MI": {"a": "b"}, "CD": "block"}, "Expected a string or a list"),
        ({"MI": ["infarct", 2], "CD": "block"}, "Expected a string or a list"),
        ({"MI": "infarct", "CD": "Infarct "}, "'CD' of task 'ptbxl-super' has the same prompt as class 'MI'"),
        ({"MI": ["a", "b"], "CD": ["b", "a"]}, "has the same prompt as class 'MI'"),
    ],
)
def test_what_a_file_must_not_hold(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ConfigurationError) as error:
        load_prompts(path, "ptbxl-super", ["MI", "CD"])
    assert str(path) in str(error.value) and message in str(error.value)
    assert "Expected" in str(error.value)


def test_bytes_that_are_not_text(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_bytes(b'{"MI": "\xff\xfe"}')
    with pytest.raises(ConfigurationError, match="not a JSON file"):
        load_prompts(path, "ptbxl-super", ["MI"])


@pytest.mark.parametrize("source", ["names", "absent.json", "", "a\0b"])
def test_neither_a_set_nor_a_file(source):
    with pytest.raises(ConfigurationError, match="neither a set of prompts nor a file"):
        load_prompts(source, "ptbxl-super", ["MI"])


def test_a_folder_is_not_a_file_of_prompts(tmp_path):
    with pytest.raises(ConfigurationError, match="Choose one of name, description, ensemble"):
        load_prompts(tmp_path, "ptbxl-super", ["MI"])


def test_a_task_without_packaged_prompts():
    with pytest.raises(ConfigurationError, match="'sinus_rhythm' of task 'simulated' has no prompt"):
        load_prompts("description", "simulated", ["sinus_rhythm"])
