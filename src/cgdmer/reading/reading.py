# SPDX-License-Identifier: Apache-2.0
"""The reading of one recording: measurements, findings with decisions, and what the recording did not allow.

Its JSON form is described by `schema.json` in this folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np

from cgdmer.about import RESEARCH_USE_ONLY, __version__
from cgdmer.data.general_terms import GeneralTerms
from cgdmer.explanation.explaining import explain_record
from cgdmer.inference import familiarity
from cgdmer.inference.scorers import Scorer, abstains, check_abstention
from cgdmer.measurement.remarks import Measured, remarks_on
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, ECGInputError
from cgdmer.models.record_use import RecordUse

SCHEMA_VERSION = 1
_HALF = 0.5  # the threshold of a score for which none was chosen
_MOST_EXPLAINED = 2  # findings with relevance: each takes half a second
_CALIBRATED, _NONE_CHOSEN = "calibration", "none was chosen, so half"


@dataclass(frozen=True)
class Relevance:
    """Where a score comes from, see `cgdmer.explanation`.

    Attributes:
        share_by_lead: of what raises the score, largest first.
        start_seconds, patch_seconds: of the window that is explained, and of each of its patches.
        share_by_patch: of what raises the score, over all leads, one number per patch.
    """

    share_by_lead: Mapping[str, float]
    start_seconds: float
    patch_seconds: float
    share_by_patch: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "share_by_lead": {lead: round(share, 4) for lead, share in self.share_by_lead.items()},
            "start_seconds": self.start_seconds,
            "patch_seconds": self.patch_seconds,
            "share_by_patch": [round(share, 4) for share in self.share_by_patch],
        }


@dataclass(frozen=True)
class FindingRead:
    """A finding and the decision about it.

    Attributes:
        finding: its name.
        score: 0 to 1.
        is_probability: whether the model was calibrated for the finding (`cgdmer calibrate`).
        threshold: from which score on it is called present.
        threshold_from: where the threshold comes from: "calibration", or "none was chosen, so half".
        present: the decision.
        implied_by: a more specific finding that is present too and of which this is a general term.
        relevance: of the highest findings that are present and not implied by another.
    """

    finding: str
    score: float
    is_probability: bool
    threshold: float
    threshold_from: str
    present: bool
    implied_by: str | None = None
    relevance: Relevance | None = None

    def as_json(self) -> dict[str, Any]:
        decided = {name: value for name, value in vars(self).items() if name != "relevance"}
        return {**decided, "relevance": None if self.relevance is None else self.relevance.as_json()}


@dataclass(frozen=True)
class Reading:
    """What a recording shows.

    Attributes:
        record_id: of the recording.
        model, model_digest: the model's name, and what identifies its weights and settings.
        findings: all that were scored, highest first; empty if the recording cannot be judged.
        measured: on the signal; None if it could not be, or the extra `measure` is not installed.
        not_judged: why there are no findings, in sentences; empty if there are.
        remarks: what the measurements say, or why there are none, and scores that they do not fit.
        record_use: what was used of the recording; None if it cannot be used.
        familiarity: see `cgdmer.inference.familiarity`.
        notes: further sentences: that the recording is unfamiliar, and which labels the model does not know.
    """

    record_id: str
    model: str
    model_digest: str
    findings: tuple[FindingRead, ...] = ()
    measured: Measured | None = None
    not_judged: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    record_use: RecordUse | None = None
    familiarity: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_judged(self) -> bool:
        return not self.not_judged

    @property
    def present(self) -> list[FindingRead]:
        """The findings that are present, without general terms of others that are."""
        return [one for one in self.findings if one.present and one.implied_by is None]

    def statement(self) -> str:
        """The findings that are present, as a report would state them; the template for comparisons of texts."""
        if not self.is_judged:
            return " ".join(("No findings are given.", *self.not_judged))
        if not self.present:
            return "No finding is above its threshold."
        return " ".join(f"{one.finding[:1].upper()}{one.finding[1:]}." for one in self.present)

    def lines(self) -> list[str]:
        """The reading in sentences, with the research-use note last."""
        lines = [self.statement(), *self.remarks]
        if self.is_judged and self.record_use is not None and not self.record_use.is_beyond_doubt:
            lines.append(str(self.record_use))
        if unchosen := sum(not one.is_probability for one in self.findings):
            whole = unchosen == len(self.findings)
            which = "the model's findings" if whole else f"{unchosen} of {len(self.findings)} findings"
            lines.append(f"No thresholds were chosen for {which}; one is called present from a score of 50%.")
        return [*lines, *self.notes, RESEARCH_USE_ONLY]

    def as_json(self) -> dict[str, Any]:
        """In the form that `schema.json` describes."""
        return {
            "schema_version": SCHEMA_VERSION,
            "record": self.record_id,
            "model": {"name": self.model, "digest": self.model_digest, "cgdmer": __version__},
            "judged": self.is_judged,
            "not_judged": list(self.not_judged),
            "statement": self.statement(),
            "findings": [one.as_json() for one in self.findings],
            "measured": None if self.measured is None else self.measured.as_json(),
            "remarks": list(self.remarks),
            "record_use": None if self.record_use is None else self.record_use.as_json(),
            "familiarity": self.familiarity,
            "text": "\n".join(self.lines()),
            "research_use_only": True,
            "note": RESEARCH_USE_ONLY,
        }


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `Reading.as_json`."""
    content: dict[str, Any] = json.loads((resources.files("cgdmer.reading") / "schema.json").read_text("utf-8"))
    return content


def read_ecg(
    record: ECGRecord,
    scorer: Scorer,
    labels: Sequence[str] | None = None,
    abstain: float = 0.0,
    relevance: bool = True,
) -> Reading:
    """Read a recording.

    Args:
        record: signal in millivolts with its rate and leads.
        scorer: see `cgdmer.inference.scorers.load_scorer`; not a regression.
        labels: the findings to judge; None: all that the model was trained on.
        abstain: a recording with doubts, or less familiar than this share of those like in training, gets no findings.
        relevance: find out where the scores of the highest findings that are present come from.

    Raises:
        ConfigurationError: the model gives values and not scores, or does not say which findings it knows; see also
            `check_abstention`.
        ECGInputError: a label is empty, or the classifier does not have it.

    Example:
        >>> reading = read_ecg(cgdmer.simulate_record(["atrial_fibrillation"]), load_scorer())
        >>> "Atrial fibrillation." in reading.statement()
        True
    """
    if scorer.is_regression:
        raise ConfigurationError(f"{_name(scorer)} gives values. A reading needs a model that scores findings.")
    check_abstention(abstain, scorer)
    labels = scorer.check_labels(_known_findings(scorer) if labels is None else labels)
    empty = Reading(record.record_id, _name(scorer), scorer.digest())
    try:
        use = scorer.feature_extractor.use_of(record)
        rows = scorer(record, labels)
        familiar = scorer.familiarity_of(record)
    except ECGInputError as error:
        return replace(empty, not_judged=(str(error),))
    notes = tuple(familiarity.in_words(familiar, abstain or None))
    if abstains(abstain, use, familiar):
        reasons = tuple(use.doubts) or notes
        _, remarks = remarks_on(record)
        return replace(empty, not_judged=reasons, remarks=tuple(remarks), record_use=use, familiarity=familiar)
    unknown = [row["label"] for row in rows if row.get("known") is False]
    if unknown:
        notes = (*notes, f"Not known to the model, so not judged: {', '.join(unknown)}.")
    rows = [row for row in rows if row["label"] not in unknown]
    if not rows:
        return replace(empty, not_judged=notes, record_use=use, familiarity=familiar)
    findings = _decided(rows, scorer)
    if relevance:
        findings = _explained(findings, scorer, record)
    measured, remarks = remarks_on(record, rows)
    return replace(
        empty,
        findings=tuple(findings),
        measured=measured,
        remarks=tuple(remarks),
        record_use=use,
        familiarity=familiar,
        notes=notes,
    )


def unreadable(record: str, error: Exception, scorer: Scorer) -> Reading:
    """The reading of a file that holds no recording."""
    return Reading(record, _name(scorer), scorer.digest(), not_judged=(str(error),))


def _name(scorer: Scorer) -> str:
    return str(scorer.model.name_or_path or type(scorer.model).__name__).replace("\\", "/").rstrip("/").split("/")[-1]


def _known_findings(scorer: Scorer) -> list[str]:
    if scorer.own_labels is not None:
        return list(scorer.own_labels)
    findings = scorer.pipeline.processor.findings
    known = [] if findings is None else [finding.name for finding in findings.findings if finding.known]
    if not known:
        raise ConfigurationError(
            f"{_name(scorer)} does not say which findings it was trained on (there is no findings.json). Name those "
            "to judge (--labels)."
        )
    return known


def _decided(rows: Sequence[Mapping[str, Any]], scorer: Scorer) -> list[FindingRead]:
    found = []
    for row in rows:
        calibrated = row.get("positive") is not None
        threshold = float(row["threshold"]) if calibrated else _HALF
        present = bool(row["positive"]) if calibrated else row["score"] >= _HALF
        source = _CALIBRATED if calibrated else _NONE_CHOSEN
        found.append(FindingRead(row["label"], float(row["score"]), calibrated, threshold, source, present))
    known = None if scorer.own_labels is not None else scorer.pipeline.processor.findings
    if known is None:
        return found
    general, above = GeneralTerms(known), dict[str, str]()
    # A label may be another name of a finding, or deny one, which implies nothing.
    names = {row["label"]: row["finding"] for row in rows if row["finding"] and not row["negated"]}
    for one in reversed(found):
        if one.present and one.finding in names:
            above |= dict.fromkeys(general.of(names[one.finding]), one.finding)
    implied = {label: above[name] for label, name in names.items() if name in above}
    return [replace(one, implied_by=implied.get(one.finding)) if one.present else one for one in found]


def _explained(findings: Sequence[FindingRead], scorer: Scorer, record: ECGRecord) -> list[FindingRead]:
    chosen = [one.finding for one in findings if one.present and one.implied_by is None][:_MOST_EXPLAINED]
    explained = []
    for one in findings:
        if one.finding in chosen:
            explanation = explain_record(scorer, record, one.finding, occluded=False)
            raising = np.maximum(explanation.relevance, 0.0).sum(axis=0)
            patches = raising / max(float(raising.sum()), 1e-12)
            where = explanation.share_by_lead(), explanation.start_seconds, explanation.patch_seconds
            one = replace(one, relevance=Relevance(*where, tuple(float(share) for share in patches)))
        explained.append(one)
    return explained
