# SPDX-License-Identifier: Apache-2.0
"""How much zero-shot depends on the words: AUROC by wording, synonym, language, misspelling, denial, and nonsense.

Each text is measured twice: as the text tower reads it by itself, and as the pipelines answer it, which take a known
finding for its name, turn a denied one around, and do not answer an unknown one.

Shapes: R test records, P texts.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgdmer.data.wordings import load_wordings
from cgdmer.evaluation.model_on_task import ModelOnTask
from cgdmer.evaluation.prompt_sets import PROMPT_SETS
from cgdmer.evaluation.statistics import FEWEST_POSITIVES, auroc_by_column
from cgdmer.models.pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline, signs_of

KINDS = {
    "prompt": "the package's prompts, or those of the task",
    "synonym": "other English names",
    "language": "German, French, Spanish, Italian, and Portuguese names",
    "misspelt": "a letter left out, two exchanged, one doubled",
    "denied": "the finding denied: an AUROC near 1 minus the finding's is right",
    "unrelated": "no finding at all",
}
UNRELATED = ("broken leg", "metoprolol 50 mg", "blue sky", "the patient was discharged", "chess")
_DENIALS = ("no {}", "without {}", "absence of {}", "{} is absent")
_COLUMNS = ("class", "kind", "text", "known", "finding", "negated", "auroc", "auroc_answered")


def prompt_study(run: ModelOnTask) -> list[dict[str, Any]]:
    """A row per class with ten positive and ten negative records, and text.

    Returns:
        Rows with `class`, `kind` (see `KINDS`), `text`, `known`, `finding`, and `negated` (see `Meaning`), `auroc`
        (as the text tower reads it), and `auroc_answered` (as the pipelines answer it; None if the finding is not
        known to the model).
    """
    test, task = run.parts.test, run.task
    assert run.test.embeds is not None  # the model takes texts
    pipeline = ZeroShotECGClassificationPipeline(model=run.model, processor=run.processor)
    rows = []
    for column, name in enumerate(task.class_names):
        held_R = test.labels[:, column]
        if min(held_R.sum(), (~held_R).sum()) < FEWEST_POSITIVES:
            continue
        texts = {text: kind for kind, text in reversed(list(_texts_of(run, name)))}  # the first kind counts
        meanings = pipeline.meanings(list(texts))
        as_read = _aurocs(run.test.embeds, pipeline.embed_texts(list(texts)), held_R)
        answered = _aurocs(run.test.embeds, pipeline.embed_texts([one.text for one in meanings]), held_R)
        signs = signs_of(meanings).tolist()
        for meaning, sign, read, taken in zip(meanings, signs, as_read, answered, strict=True):
            rows.append(
                {
                    **{"class": name, "kind": texts[meaning.prompt], "text": meaning.prompt},
                    **{"known": meaning.known, "finding": meaning.finding, "negated": meaning.negated},
                    "auroc": float(read),
                    "auroc_answered": None if meaning.known is False else float(taken if sign > 0 else 1 - taken),
                }
            )
    return sorted(rows, key=lambda row: (task.class_names.index(row["class"]), list(KINDS).index(row["kind"])))


def _aurocs(embeds_RE: np.ndarray, texts_PE: Any, held_R: np.ndarray) -> np.ndarray:
    """(P,)"""
    cosines_RP = embeds_RE @ texts_PE.cpu().numpy().T
    return auroc_by_column(np.repeat(held_R[:, None], cosines_RP.shape[1], axis=1), cosines_RP)


def _texts_of(run: ModelOnTask, name: str) -> Iterator[tuple[str, str]]:
    """Kinds and texts for one class."""
    task, column = run.task, run.task.class_names.index(name)
    sets = [task.prompts(one) for one in PROMPT_SETS]
    prompts = list(dict.fromkeys(text for wordings in sets for text in wordings[column]))
    yield from (("prompt", text) for text in prompts)
    words = load_wordings()
    finding = words.finding(name)
    if finding not in words.of_finding:  # a class of the task, such as "MI", that is a finding by another name
        known = {text.casefold(): one for one, texts in words.of_finding.items() for text in (one, *texts)}
        finding = next((known[text.casefold()] for text in prompts if text.casefold() in known), "")
    yield from (("synonym", text) for text in words.of_finding.get(finding, ()) if text not in prompts)
    yield from (("language", text) for text in words.other_languages.get(finding, ()))
    yield from (("misspelt", text) for text in misspelt(prompts[0]))
    yield from (("denied", denial.format(prompts[0])) for denial in _DENIALS)
    yield from (("unrelated", text) for text in UNRELATED)


def misspelt(text: str) -> list[str]:
    """The longest word with a letter left out, with two exchanged, and with one doubled."""
    word = max(text.split(), key=len)
    middle = len(word) // 2
    if len(word) < 5:
        return []
    changed = (
        word[:middle] + word[middle + 1 :],
        word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :],
        word[:middle] + word[middle] + word[middle:],
    )
    return [text.replace(word, one, 1) for one in dict.fromkeys(changed) if one != word]


def study_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines, one per kind: means over classes, so that one with many names does not count more."""
    heads = ["texts", "number", "known", "AUROC", "lowest", "spread", "AUROC answered", "spread answered"]
    lines = []
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind]
        if not of_kind:
            continue
        classes = [[row for row in of_kind if row["class"] == name] for name in {row["class"]: 0 for row in of_kind}]
        read = [np.array([row["auroc"] for row in one]) for one in classes]
        answered = [
            np.array([row["auroc_answered"] for row in one if row["auroc_answered"] is not None]) for one in classes
        ]
        answered = [one for one in answered if len(one)]
        decided = [row["known"] for row in of_kind if row["known"] is not None]
        lines.append(
            [
                kind,
                f"{len(of_kind):,}",
                f"{np.mean(decided):.0%}" if decided else "-",
                f"{np.mean([one.mean() for one in read]):.3f}",
                f"{min(one.min() for one in read):.3f}",
                f"{np.mean([np.ptp(one) for one in read]):.3f}",
                f"{np.mean([one.mean() for one in answered]):.3f}" if answered else "-",
                f"{np.mean([np.ptp(one) for one in answered]):.3f}" if answered else "-",
            ]
        )
    return heads, lines


def write_study(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a line per class and text."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
