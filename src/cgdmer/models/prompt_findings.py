# SPDX-License-Identifier: Apache-2.0
"""Which finding a prompt means, and whether the model was trained to tell it from others.

An encoder of texts returns a vector for anything, so a score alone does not show that "broken leg" means nothing to
the model. `findings.json`, in the model's folder, holds the findings of its training texts with their wordings, what
else they are called, and how many training records have each. A prompt is taken for a finding

1. if it is one of its wordings, in any order of words, whatever the case, accents, and filling words;
2. if it becomes one when words that are in no English wording are replaced by similar ones (misspellings);
3. or if all of its words are words of trained findings, and its vector is close to that of a wording.

A finding with too few training records is not known, nor is a prompt with a number or a comparison.
"""

import difflib
import itertools
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .errors import ModelFolderError
from .negation import asks_to_compare, still_denies, without_denial
from .optional_files import optional_file

FILE_NAME = "findings.json"
FEWEST_RECORDS = 10  # of a finding that counts as known
NEAREST = 0.95  # the cosine of a prompt with a wording, from which on it is taken for the finding
_SIMILAR = 0.8  # of two spellings, as `difflib` has it
_SIMILAR_WHOLE, _LONG = 0.95, 10  # of two texts of at least so many letters
_LESS = 0.95  # the similarity of a text that says more than a wording does
_SHORTEST_MISSPELT = 5  # letters; shorter words are too close to others
_MOST_CORRECTED = 200  # combinations of similar words that are tried
_LARGEST = 20_000_000  # bytes of the file; that of 190 findings has 100,000
_LONGEST = 200  # letters of a prompt that may be a wording

_NUMBER = re.compile(r"(?<![\w.])\d{2,}(?!-lead)|\d\s*(?:ms|m?sec|s|mv|mm|bpm|%|/)(?!\w)", re.IGNORECASE)
# Words that do not change which finding is meant: English, German, French, Spanish, Italian, and Portuguese.
_FILLING_WORDS = """
    a an the of in on is are there this patient has have with ecg ekg ecgs electrocardiogram elettrocardiogramma
    electrocardiograma eletrocardiograma electrocardiogramme tracing trace recording shows show showing sign signs
    evidence pattern finding findings consistent suggestive suggesting suggests seen present presence lead leads
    detected diagnosis to for condition interval and de du des le la les l d un une el los las una del della dello
    dell delle dei di il lo gli da do dos das wall region der die den dem ein eine einer eines mit von vom im am bei
    avec con com par por fur per zeichen befund signes signos segni sinais hallazgos na nas em en et e y und
"""
_FILLING = frozenset(_FILLING_WORDS.split())
# Words that say how much, how sure, or since when, and leave the finding what it is.
_QUALIFYING_WORDS = """
    mild moderate severe marked slight probable possible likely suspected borderline new known typical definite
    frequent occasional isolated multiple rare persistent permanent uncontrolled clear obvious significant some
    leicht leichte leichter schwere ausgepragte mogliche moglich leve moderada moderado severa severo lieve grave
    posible possivel possibile sospetto frequenti frequentes frecuentes rares raras isolees
"""
_QUALIFYING = frozenset(_QUALIFYING_WORDS.split())
# Words that a wording may have or lack.
_GENERIC = frozenset(("complex", "beat", "rhythm", "time", "criterion", "criteria", "form", "morphology"))


@dataclass(frozen=True)
class Meaning:
    """What a prompt is taken for.

    Attributes:
        prompt: as it was given.
        text: what the text tower reads in its place: the name of the finding, so that all its wordings have one score.
        known: whether the model was trained on the finding; None: the model's folder does not say what it was trained
            on.
        finding: the name of the trained finding, None if the prompt is not known.
        similarity: 1 for a wording; of a misspelling, the share of letters that agree; of other texts, the cosine of
            their vectors. None if nothing was compared.
        negated: whether the prompt denies the finding.
        reason: why the prompt is not known, "" if it is.
    """

    prompt: str
    text: str
    known: bool | None = None
    finding: str | None = None
    similarity: float | None = None
    negated: bool = False
    reason: str = ""

    def fields(self) -> dict[str, Any]:
        """What a row of scores says of its prompt."""
        similarity = None if self.similarity is None else round(self.similarity, 3)
        return {"known": self.known, "finding": self.finding, "similarity": similarity, "negated": self.negated}


@dataclass(frozen=True)
class Finding:
    """A finding: its name, the number of training records that have it, the texts that the model was trained on, and
    what else it is called. The name is the first wording."""

    name: str
    count: int
    wordings: tuple[str, ...]
    synonyms: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return self.count >= FEWEST_RECORDS


class Findings:
    """The findings of a model's training texts.

    Args:
        findings: those with a count of 0 are findings that the model was not trained on. A prompt for one is not
            taken for a similar one.
    """

    def __init__(self, findings: Iterable[Finding]):
        self.findings = tuple(findings)
        # A finding's name is its own. The more common finding has any other ambiguous text, and a wording that was
        # trained comes before a synonym.
        ordered = sorted(self.findings, key=lambda finding: -finding.count)
        texts = [(finding, finding.name) for finding in ordered if finding.known]
        texts += [(finding, text) for finding in ordered for text in finding.wordings]
        texts += [(finding, text) for finding in ordered for text in finding.synonyms]
        self._by_letters: dict[str, Finding] = {}
        self._by_words: dict[frozenset[str], Finding] = {}
        for finding, text in texts:
            self._by_letters.setdefault(_letters(text), finding)
        for finding, text in texts:
            if words := _words(text):
                self._by_words.setdefault(words, finding)
        self._trained = {
            word for finding in self.findings if finding.known for text in finding.wordings for word in _words(text)
        }
        self._vocabulary = sorted({word for _, text in texts for word in _split(text)} | _FILLING)
        english = (word for finding in self.findings for text in finding.wordings for word in _split(text))
        self._never_misspelt = {*english, *_FILLING, *_QUALIFYING, *_GENERIC}
        self._long_letters = [letters for letters in self._by_letters if len(letters) >= _LONG]

    def __len__(self) -> int:
        return len(self.findings)

    @cached_property
    def known_wordings(self) -> list[tuple[Finding, str]]:
        """Each wording of each known finding."""
        return [(finding, text) for finding in self.findings if finding.known for text in finding.wordings]

    def meaning(self, prompt: str) -> Meaning:
        """What a prompt means by its words alone. `known` is None if only the text tower can tell."""
        if (found := self._by_letters.get(_letters(prompt))) is not None and not _NUMBER.search(prompt):
            return self._taken_for(found, prompt, prompt, False, 1.0)
        text, negated = without_denial(prompt)
        text = text.rstrip(" .;:") or text
        if asks_to_compare(text) or _NUMBER.search(text):
            return Meaning(prompt, text, False, negated=negated, reason="it has a number or a comparison")
        finding, similarity = self._finding_of(text)
        if still_denies(text) and similarity < 1:
            reason = "it denies something in a way that is not understood"
            return Meaning(prompt, text, False, negated=negated, reason=reason)
        if finding is not None:
            return self._taken_for(finding, prompt, text, negated, similarity)
        if _words(text) and _words(text) <= self._trained:
            return Meaning(prompt, text, negated=negated)
        reason = "it is not among the findings that the model was trained on"
        return Meaning(prompt, text, False, negated=negated, reason=reason)

    def by_vector(self, meaning: Meaning, cosines: torch.Tensor) -> Meaning:
        """What a prompt means that only the text tower can tell.

        Args:
            cosines: of its vector with those of `known_wordings`.
        """
        nearest = int(cosines.argmax())
        similarity = float(cosines[nearest])
        if similarity < NEAREST:
            reason = "its words are those of trained findings, but together they are none of them"
            return Meaning(meaning.prompt, meaning.text, False, None, similarity, meaning.negated, reason)
        finding = self.known_wordings[nearest][0]
        return Meaning(meaning.prompt, finding.name, True, finding.name, similarity, meaning.negated)

    def _taken_for(self, finding: Finding, prompt: str, text: str, negated: bool, similarity: float) -> Meaning:
        if not finding.known:
            times = "no record" if finding.count == 0 else f"{finding.count} records only"
            reason = f"the model was trained on {times} with {finding.name}"
            return Meaning(prompt, text, False, None, similarity, negated, reason)
        return Meaning(prompt, finding.name, True, finding.name, similarity, negated)

    def _finding_of(self, text: str) -> tuple[Finding | None, float]:
        """The finding that a text names, and how similar it is to a wording; None if it names none."""
        if len(text) > _LONGEST:
            return None, 0.0
        if (found := self._by_letters.get(_letters(text))) is not None:
            return found, 1.0
        words = _words(text)
        if (found := self._by_words.get(words)) is not None:
            return found, 1.0
        if (found := self._without_qualifiers(words)) is not None:
            return found, _LESS
        best: tuple[Finding | None, float] = None, 0.0
        for corrected, similarity in self._corrections(text):
            found = self._by_words.get(corrected) or self._without_qualifiers(corrected)
            if found is not None and similarity > best[1]:
                best = found, similarity
        if best[0] is None and any(word not in self._never_misspelt for word in _split(text)):
            letters = _letters(text)  # words may run together: "bundlebranch"
            for near in difflib.get_close_matches(letters, self._long_letters, n=1, cutoff=_SIMILAR_WHOLE):
                if near[0] == letters[0]:
                    ratio = difflib.SequenceMatcher(None, letters, near).ratio()
                    best = self._by_letters[near], ratio
        return best

    def _without_qualifiers(self, words: frozenset[str]) -> Finding | None:
        for left_out in (_QUALIFYING, _GENERIC, _QUALIFYING | _GENERIC):
            if (found := self._by_words.get(words - left_out)) is not None:
                return found
        return None

    def _corrections(self, text: str) -> list[tuple[frozenset[str], float]]:
        """The words with those that no English wording has replaced by similar ones, and how similar the whole is."""
        choices: list[list[tuple[str, float]]] = []
        words = sorted(set(_split(text)))
        for word in words:
            choices.append([(word, 1.0)])
            if word not in self._never_misspelt and len(word) >= _SHORTEST_MISSPELT:
                choices[-1] += self._similar_words(word)
        found = []
        letters = sum(map(len, words)) or 1
        for combination in itertools.islice(itertools.product(*choices), 1, _MOST_CORRECTED):
            similarity = sum(len(word) * ratio for word, (_, ratio) in zip(words, combination, strict=True))
            found.append((_in_one_form(word for word, _ in combination), similarity / letters))
        return found

    def _similar_words(self, word: str) -> list[tuple[str, float]]:
        near = difflib.get_close_matches(word, self._vocabulary, n=4, cutoff=_SIMILAR)
        kept = [other for other in near if other[0] == word[0] and _same_direction(word, other)]
        return [(other, difflib.SequenceMatcher(None, word, other).ratio()) for other in kept if other != word]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `findings.json` to a folder."""
        entries = [
            {"name": one.name, "count": one.count, "wordings": list(one.wordings), "synonyms": list(one.synonyms)}
            for one in self.findings
        ]
        with open(os.path.join(folder, FILE_NAME), "w", encoding="utf-8") as file:
            json.dump({"findings": entries}, file, ensure_ascii=False, indent=1)
            file.write("\n")

    @classmethod
    def of_model(cls, model: str | os.PathLike[str], **download: Any) -> "Findings | None":
        """The findings in a model's folder or on the Hub; None if it does not say what it was trained on.

        Args:
            download: `revision`, `token`, and the like, as in `from_pretrained`.

        Raises:
            ModelFolderError: the file is damaged.
        """
        path = optional_file(model, FILE_NAME, **download)
        return None if path is None else cls.load(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Findings":
        """Read the file that `save` wrote.

        Raises:
            ModelFolderError: it is damaged or not such a file.
        """
        try:
            if os.path.getsize(path) > _LARGEST:
                raise ValueError(f"it has more than {_LARGEST} bytes")
            with open(path, encoding="utf-8") as file:
                entries = json.load(file)["findings"]
            return cls(_finding_from(entry) for entry in entries)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFolderError(
                f"{path} does not list findings with name, count, wordings, and synonyms: {error!r}. Get the model's "
                "folder again, or delete the file: then nobody can tell which prompts the model knows."
            ) from error


def _finding_from(entry: Mapping[str, Any]) -> Finding:
    name, count = entry["name"], entry["count"]
    texts = [entry["wordings"], entry["synonyms"]]
    if not isinstance(name, str) or type(count) is not int or not all(isinstance(each, list) for each in texts):
        raise ValueError(f"an entry is {str(entry)[:100]}")
    if not all(isinstance(text, str) for each in texts for text in each):
        raise ValueError(f"a wording of {name[:100]!r} is not a text")
    return Finding(name, count, tuple(texts[0]), tuple(texts[1]))


def _same_direction(word: str, other: str) -> bool:
    """Not "hypokalemia" and "hyperkalemia", or "sus-" and "sous-", which mean the opposite."""
    pairs = (("hyper", "hypo"), ("sotto", "sopra"), ("inter", "intra"), ("supra", "sub"))
    return not any(
        {one, two} == {next((p for p in (one, two) if w.startswith(p)), None) for w in (word, other)}
        for one, two in pairs
    )


def _plain(text: str) -> str:
    """Lower case without accents, in one spelling: "Ischämie", "ischaemia" and "ischemia" begin alike."""
    text = text.casefold()
    for umlaut, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), ("º", " "), ("°", " ")):
        text = text.replace(umlaut, letters)
    text = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return text.replace("ae", "e").replace("oe", "e").replace("yse", "yze").replace("isat", "izat")


def _letters(text: str) -> str:
    """A text without spaces and punctuation: "T-wave", "T wave", and "twave" are one."""
    return re.sub(r"[\W_]+", "", _plain(text))


_ORDINALS = {
    **dict.fromkeys(("first", "1st", "erster", "ersten", "erstgradiger"), "1"),
    **dict.fromkeys(("second", "2nd", "zweiten", "zweitgradiger"), "2"),
    **dict.fromkeys(("third", "3rd", "dritten", "drittgradiger"), "3"),
}
_SAME_WORDS = {
    "infarct": "infarction",
    "infarcts": "infarction",
    "infarctions": "infarction",
    "inferiorly": "inferior",
    "anteriorly": "anterior",
    "laterally": "lateral",
    "elevated": "elevation",
    "raised": "elevation",
    "depressed": "depression",
    "inverted": "inversion",
    "prolonged": "prolongation",
    "lengthened": "prolongation",
    "atrioventricular": "av",
    "segments": "segment",
    "qtc": "qt",
    "pq": "pr",
    "tachy": "tachycardia",
    "tach": "tachycardia",
    "brady": "bradycardia",
    "fib": "fibrillation",
    "nonspecific": "unspecific",
    "irregularly": "irregular",
    **_ORDINALS,
}


def _words(text: str) -> frozenset[str]:
    """The words of a text that count, each in one form."""
    return _in_one_form(_split(text))


def _split(text: str) -> list[str]:
    plain = re.sub(r"\b(non|infero|antero|postero)[- ]+(?=[a-z])", r"\1", _plain(text))
    plain = re.sub(r"\blv\b", "left ventricular", re.sub(r"\brv\b", "right ventricular", plain))
    return [word for word in re.split(r"[\W_]+", plain) if word]


def _in_one_form(words: Iterable[str]) -> frozenset[str]:
    return frozenset(_SAME_WORDS.get(word, _singular(word)) for word in words if word not in _FILLING)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def meaning_of(prompt: str, findings: Findings | None) -> Meaning:
    """What a prompt means by its words alone.

    Args:
        findings: of the model; None: not known, so every finding is scored as it is worded.
    """
    if findings is not None:
        return findings.meaning(prompt)
    text, negated = without_denial(prompt)
    reason = "it has a number or a comparison" if asks_to_compare(text) else ""
    return Meaning(prompt, text.rstrip(" .;:") or text, negated=negated, reason=reason)
