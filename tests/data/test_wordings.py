# SPDX-License-Identifier: Apache-2.0
"""The files of wordings are complete, unambiguous, known to the smallest tokenizer, and true of their findings."""

import ast
import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import cgdmer.data.wordings as module
from cgdmer.corpora.ptbxl import statement_sentence
from cgdmer.corpora.snomed import snomed_statements
from cgdmer.data.wordings import load_wordings
from cgdmer.evaluation.tasks import get_task
from cgdmer.presets import preset_folder
from cgdmer.simulation.conditions import ALL_CONDITIONS
from cgdmer.training.pairs import MOST_HELD

SCP = get_task("ptbxl-all").class_names
FOLDER = Path(module.__file__).with_suffix("")
FILES = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in ("scp", "snomed", "simulated")}
LANGUAGES = json.loads((FOLDER / "languages.json").read_text("utf-8"))["findings"]
MYOCARDIAL_INFARCTION = {"IMI", "ASMI", "AMI", "ALMI", "LMI", "ILMI", "IPMI", "IPLMI", "PMI"}
INJURY = {"INJAS", "INJAL", "INJLA", "INJIN", "INJIL"}
AV_BLOCKS = {"1AVB", "2AVB", "3AVB"}
BUNDLE_BRANCH_BLOCKS = {"CLBBB", "CRBBB", "ILBBB", "IRBBB"}
# Which of PTB-XL's codes imply a term, written down independently of the file.
HOLDS_FOR = {
    "myocardial infarction": MYOCARDIAL_INFARCTION,
    "infarction or injury": MYOCARDIAL_INFARCTION | INJURY,
    "hypertrophy": {"LVH", "RVH", "SEHYP", "LAO/LAE", "RAO/RAE"},
    "conduction disturbance": {"WPW", "IVCD", "LAFB", "LPFB"} | AV_BLOCKS | BUNDLE_BRANCH_BLOCKS,
    "bundle branch block": BUNDLE_BRANCH_BLOCKS,
    "AV block": AV_BLOCKS,
    "ST depression": {"STD_", "DIG", *INJURY},
    "tachycardia": {"STACH", "SVTAC", "PSVT"},
    "bradycardia": {"SBRAD"},
    "PRC(S)": {"PVC", "PAC", "BIGU", "TRIGU"},
    "AMI": {"ASMI", "ALMI"},
    "IMI": {"ILMI", "IPMI", "IPLMI"},
    "LPR": {"1AVB"},
}


def all_wordings() -> list[tuple[str, str]]:
    """(finding, wording), as in the files."""
    pairs = []
    for content in FILES.values():
        lists = [*content["findings"].items()]
        lists += [(term, entry.get("wordings", [])) for term, entry in content["general"].items()]
        pairs += [(finding, wording) for finding, wordings in lists for wording in wordings]
    return pairs


def test_every_code_of_both_tables_has_wordings():
    assert set(FILES["scp"]["findings"]) == set(SCP) and len(SCP) == 71
    assert all(6 <= len(wordings) <= 12 for wordings in FILES["scp"]["findings"].values())
    snomed = FILES["snomed"]
    assert set(snomed["findings"]) | set(snomed["same_as"]) == set(snomed_statements())
    assert not set(snomed["findings"]) & set(snomed["same_as"])
    wordings = load_wordings()
    assert all(wordings.of_finding[wordings.finding(label)] for label in (*SCP, *snomed_statements()))


def test_other_languages_are_of_known_findings():
    of_finding = load_wordings().of_finding
    assert set(LANGUAGES) <= set(of_finding)
    for finding, texts in LANGUAGES.items():
        assert set(texts) == {"de", "fr", "es", "it", "pt"}, finding
        assert all(text and text == " ".join(text.split()) for words in texts.values() for text in words), finding


def test_every_name_that_a_file_uses_is_known():
    known = {finding for content in FILES.values() for finding in (*content["findings"], *content["general"])}
    for content in FILES.values():
        assert set(content.get("same_as", {}).values()) <= known
        for term, entry in content["general"].items():
            assert set(entry["codes"]) <= known and term not in entry["codes"]
    assert all(load_wordings().of_finding[name] for name in known)


def test_no_wording_has_two_meanings():
    owners: dict[str, set[str]] = {}
    for finding, wording in all_wordings():
        owners.setdefault(wording.lower(), set()).add(finding)
    assert {wording: found for wording, found in owners.items() if len(found) > 1} == {}
    counts = Counter((finding, wording.lower()) for finding, wording in all_wordings())
    assert max(counts.values()) == 1


def test_no_wording_is_the_corpus_s_statement_of_another_finding(real_data):
    with open(real_data / "ptb-xl-subset" / "scp_statements.csv", encoding="utf-8") as file:
        said = {row[""]: statement_sentence(row["description"]).rstrip(".").lower() for row in csv.DictReader(file)}
    said_in_ptbxl = {statement: code for code, statement in said.items()}
    finding_of = load_wordings().finding
    said_in_snomed = {text.rstrip(".").lower(): finding_of(code) for code, text in snomed_statements().items()}
    for finding, wording in all_wordings():
        assert wording.lower() not in said_in_ptbxl
        assert said_in_snomed.get(wording.lower(), finding) == finding


def test_wordings_are_short_texts_that_the_smallest_tokenizer_knows():
    tokenizer = AutoTokenizer.from_pretrained(preset_folder("cgdmer-tiny"))
    for _, wording in all_wordings():
        assert wording == " ".join(wording.split()) and wording and not wording.endswith(".")
        assert len(wording.split()) <= 15
        assert tokenizer.unk_token_id not in tokenizer(wording)["input_ids"], wording


def test_terms_hold_for_the_right_codes():
    general_of = load_wordings().general_of
    for term, expected in HOLDS_FOR.items():
        assert {code for code in SCP if term in general_of[code]} == expected, term


def test_superclasses_are_those_of_the_corpus():
    """Except ST-T changes, which codes of form and of subendocardial injury imply too."""
    general_of = load_wordings().general_of
    classes = {code: set(get_task("ptbxl-super").classes_of([code])) for code in SCP}
    for name, term in (("MI", "infarction or injury"), ("HYP", "hypertrophy"), ("CD", "conduction disturbance")):
        assert {code for code in SCP if term in general_of[code]} == {code for code in SCP if name in classes[code]}
    sttc = {code for code in SCP if "repolarization abnormality" in general_of[code]}
    of_form = {"NT_", "STD_", "STE_", "LOWT", "INVT", "TAB_"}
    assert sttc == {code for code in SCP if "STTC" in classes[code]} | of_form | INJURY


def test_what_is_normal_is_not_called_abnormal():
    general_of = load_wordings().general_of
    for code in ("NORM", "SR", "SARRH", "STACH", "SBRAD", "PVC", "PAC", "LVOLT", "IRBBB", "VCLVH"):
        assert "abnormal ECG" not in general_of[code]
    assert general_of["NORM"] == ()


def test_terms_are_the_same_for_codes_of_other_corpora():
    wordings = load_wordings()
    assert wordings.finding("164889003") == "AFIB" and wordings.finding("left_axis") == "left_axis"
    assert wordings.finding("164865005") == "myocardial infarction"
    assert "myocardial infarction" in wordings.general_terms(["164867002"])
    assert {"abnormal ECG", "coronary disease"} <= set(wordings.general_terms(["myocardial infarction"]))
    assert "myocardial infarction" not in wordings.general_terms(["myocardial infarction", "IMI"])
    assert wordings.general_terms(["left_axis"]) == []


def test_simulated_conditions_are_findings_of_the_corpora():
    wordings = load_wordings()
    assert all(wordings.of_finding[wordings.finding(name)] for name in ALL_CONDITIONS)
    assert wordings.finding("first_degree_av_block") == "1AVB" and wordings.finding("t_wave_inversion") == "INVT"
    assert wordings.finding("premature_atrial_beats") == "PAC" and wordings.finding("lateral_infarction") == "LMI"
    new = {name for name in ALL_CONDITIONS if wordings.finding(name) == name}
    elevations = {"anterior_st_elevation", "inferior_st_elevation", "acute_lateral_infarction"}
    others = {"acute_posterior_infarction", "hyperacute_t_waves", "pericarditis", "hyperkalemia"}
    assert new == elevations | others
    terms = {"ST elevation", "myocardial infarction", "abnormal ECG"}
    assert all(terms <= set(wordings.general_of[name]) for name in elevations)
    assert all("abnormal ECG" in wordings.general_of[name] for name in others)
    assert wordings.finding("rapid_sinus_tachycardia") == "STACH" and wordings.finding("long_qt") == "LNGQT"
    assert "AMI" not in wordings.general_of["anterior_st_elevation"]  # which is an old one, with Q waves


def test_counts_are_sums_over_the_labels_of_a_term():
    counts = load_wordings().counts({"CLBBB": 3, "733534002": 4, "ILBBB": 5, "1AVB": 7, "LPR": 2, "unheard": 9})
    assert (counts["CLBBB"], counts["733534002"]) == (7, 0)
    assert counts["bundle branch block"] == 12 and counts["complete bundle branch block"] == 7
    assert (counts["LPR"], counts["1AVB"], counts["unheard"]) == (9, 7, 9)
    assert counts["conduction disturbance"] == 19


def test_real_records_do_not_have_too_many_findings(real_data):
    wordings, most, normal, abnormal = load_wordings(), 0, 0, 0
    with open(real_data / "ptb-xl-subset" / "ptbxl_database.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            labels = list(ast.literal_eval(row["scp_codes"]))
            terms = wordings.general_terms(labels)
            most = max(most, len(labels) + len(terms))
            if "NORM" in labels:
                normal += 1
                abnormal += "abnormal ECG" in terms
    assert most < MOST_HELD
    assert abnormal / normal < 0.02


@pytest.mark.parametrize("name", sorted(FILES))
def test_terms_have_at_least_one_code(name):
    assert all(entry["codes"] for entry in FILES[name]["general"].values())
