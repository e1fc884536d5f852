# SPDX-License-Identifier: Apache-2.0
"""A reading as a bundle of FHIR R5: a diagnostic report, and observations of what was measured and found.

It names no patient: whoever files it knows whose recording it was. Every resource carries the tag "research-use-only",
and nothing has a status that says a person has seen it ("final"). https://hl7.org/fhir/R5/diagnosticreport.html
"""

import uuid
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY, __version__
from cgdmer.reading.reading import FindingRead, Reading

_LOINC, _UNITS = "http://loinc.org", "http://unitsofmeasure.org"
_TAG = {"system": "urn:cgdmer:use", "code": "research-use-only", "display": RESEARCH_USE_ONLY}
_CATEGORY = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "procedure"}]}
# What is measured: LOINC code and name, unit (UCUM), and by what seconds are multiplied.
_MEASURED = {
    "heart_rate": ("8867-4", "Heart rate", "/min", 1),
    "pr_interval": ("8625-6", "P-R Interval", "ms", 1000),
    "qrs_duration": ("8633-0", "QRS duration", "ms", 1000),
    "qt_interval": ("8634-8", "Q-T interval", "ms", 1000),
    "qtc_interval": ("8636-3", "Q-T interval corrected", "ms", 1000),
    "axis": ("8632-2", "QRS axis", "deg", 1),
}


def bundle_of(reading: Reading) -> dict[str, Any]:
    """The bundle as JSON. The same reading has the same identifiers."""
    answer = reading.as_json()
    observations = []
    if answer["measured"] is not None:
        values = {"heart_rate": answer["measured"]["heart_rate"], **(answer["measured"]["intervals"] or {})}
        observations += [
            _measurement(name, value) for name, value in values.items() if name in _MEASURED and value is not None
        ]
    observations += [_finding(one) for one in reading.present]
    entries = [(_identifier(reading, f"observation {number}"), one) for number, one in enumerate(observations)]
    report = {
        "resourceType": "DiagnosticReport",
        "meta": {"tag": [_TAG]},
        "status": "preliminary" if reading.is_judged else "cancelled",
        "code": {"coding": [{"system": _LOINC, "code": "11524-6", "display": "EKG study"}]},
        "conclusion": answer["text"],
        "identifier": [{"value": reading.record_id}] if reading.record_id else [],
        "result": [{"reference": identifier} for identifier, _ in entries],
    }
    report = {name: value for name, value in report.items() if value != []}
    entries = [(_identifier(reading, "report"), report), *entries]
    return {
        "resourceType": "Bundle",
        "meta": {"tag": [_TAG]},
        "type": "collection",
        "entry": [
            {
                "fullUrl": identifier,
                "resource": one if one is report else {**one, "device": {"display": _device(reading)}},
            }
            for identifier, one in entries
        ],
    }


def _device(reading: Reading) -> str:
    return f"cgdmer {__version__}, model {reading.model} ({reading.model_digest[:12]}). {RESEARCH_USE_ONLY}"


def _identifier(reading: Reading, part: str) -> str:
    name = "\n".join((reading.record_id, reading.model_digest, reading.statement(), part))
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


def _observation(code: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "meta": {"tag": [_TAG]},
        "status": "preliminary",
        "category": [_CATEGORY],
        "code": code,
    }


def _measurement(name: str, value: float) -> dict[str, Any]:
    code, display, unit, factor = _MEASURED[name]
    coded = {"coding": [{"system": _LOINC, "code": code, "display": display}]}
    quantity = {"value": round(value * factor, 1), "unit": unit, "system": _UNITS, "code": unit}
    return {**_observation(coded), "valueQuantity": quantity}


def _finding(finding: FindingRead) -> dict[str, Any]:
    what = "probability" if finding.is_probability else "score"
    components = [
        {"code": {"text": name}, "valueQuantity": {"value": round(value, 4)}}
        for name, value in ((what, finding.score), (f"threshold ({finding.threshold_from})", finding.threshold))
    ]
    return {
        **_observation({"text": finding.finding}),
        "valueCodeableConcept": {"text": "present"},
        "component": components,
    }
