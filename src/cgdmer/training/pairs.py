# SPDX-License-Identifier: Apache-2.0
"""Pairs of ECG and text for pretraining, or ECGs alone: from rows of a prepared dataset to batches.

All randomness of a sample (where its trace begins, which findings its text states, which patches and tokens are
masked) comes from (seed, epoch, index of the record), so it does not depend on the number of processes, workers, or
restarts. A stream (`cgdmer.training.streaming`) uses a hash of the record's id instead of the index.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedConfig

from cgdmer.data.fingerprints import Fingerprints, fingerprint_of_split
from cgdmer.data.storage import row_to_record
from cgdmer.data.trained_findings import trained_findings
from cgdmer.data.wordings import Wordings, load_wordings
from cgdmer.families import ecg_config_of
from cgdmer.files.hashing import number_of
from cgdmer.models.ecg_record import ECGRecord, without_filled_ends
from cgdmer.models.errors import CorpusError, ECGInputError, ECGInputWarning
from cgdmer.models.prompt_findings import Findings
from cgdmer.training import left_out
from cgdmer.training.augmentation import Augmentation
from cgdmer.training.objectives.views import View, Views

MOST_STATEMENTS = 16  # fixed, so that all processes hold tensors of the same shape
_OF_TEXTS = ("texts", "text_seed", "text_statement_ids")  # parts of a sample that a batch holds in another form
# How a text is drawn from a record's findings (ours). Zero-shot prompts name one finding, so most texts do. Without a
# preference for rare findings, nearly every text would state the rhythm, which is learned first anyway.
SINGLE_FINDINGS = 0.7  # share of texts that state one finding; the others state any number
RARITY = 1.0  # findings are weighted by their frequency to the power of minus this
# With wordings (ours):
OWN_STATEMENTS = 0.4  # share of findings that are worded as in the corpus
GENERAL_TERMS = 0.2  # share of texts that state a general term in place of one of the findings
MOST_HELD = 64  # findings and general terms that hold for a record; the most among 4,072 of PTB-XL is 34


# What to do if a dataset lacks a kind of text.
_NEEDED = {
    "statements": "They are the findings of a record in sentences, as PTB-XL, CPSC 2018, CSN, and simulated patients "
    "have them. A folder of your own has reports, if its table has a column of texts: use --text_source report.",
    "text": "Name the column of reports when you prepare the dataset, or use --text_source statements if its records "
    "have findings in sentences.",
}


def statement_id(statement: str) -> int:
    """A number for a text, the same on every machine; never 0, which is padding."""
    return number_of(statement.strip().lower().encode())


def _padded_ids(findings: list[str], most: int = MOST_STATEMENTS) -> np.ndarray:
    ids = np.zeros(most, dtype=np.int64)
    ids[: len(findings)] = [statement_id(finding) for finding in findings[:most]]
    return ids


def text_column(text_source: str | None) -> str | None:
    """The column that holds texts of that kind; None if no text is wanted."""
    return {"report": "text", "statements": "statements", None: None}[text_source]


def noise_shapes_of(config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the uniform numbers that a model needs per record. By default those of its mask."""
    ecg = ecg_config_of(config)
    return getattr(config, "noise_shapes", {"noise": (ecg.num_leads, ecg.num_patches)})


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer of a processor; None for a feature extractor."""
    return getattr(processor, "tokenizer", None)


def findings_of(row: Mapping[str, Any]) -> list[str]:
    """The finding of each statement of a row, whatever its wording: its label, or the statement if there are none."""
    return list(row["labels"] or row["statements"])


@dataclass
class PairMaker:
    """Turns a row into a sample, for random access and streaming alike.

    Attributes:
        feature_extractor: the model's own.
        text_source: see `PairDataset`.
        counts: how many training records have each finding; findings without a count are treated as the rarest.
        texts_per_record: texts that are drawn, independently, from a record's findings.
        shifts_traces: begin each trace at a random point.
        augmentation: further random changes.
        wordings: also state findings in these words, and general terms that hold. However it is worded, a text keeps
            the identity of its finding.
        noise_shapes: see `noise_shapes_of`; None: as for the default mask of the extracted features.
        views: makes further parts of a sample, see `cgdmer.training.objectives`; the sample then also says whose it
            is (`patient_ids`, a number).

    Raises:
        CorpusError: there are no wordings for any label in `counts`.
    """

    feature_extractor: Any
    text_source: str | None
    counts: Mapping[str, int]
    texts_per_record: int = 1
    shifts_traces: bool = True
    augmentation: Augmentation | None = None
    wordings: Wordings | None = None
    noise_shapes: Mapping[str, tuple[int, ...]] | None = None
    views: Views | None = None

    def __post_init__(self) -> None:
        wordings = self.wordings
        if wordings is None:
            return
        if not any(wordings.finding(label) in wordings.of_finding for label in self.counts):
            raise CorpusError(
                "the dataset has no label with wordings. There are wordings for SCP codes (PTB-XL), SNOMED CT codes "
                "(CPSC 2018, CSN), and simulated conditions. Leave out --wordings."
            )
        self.counts = wordings.counts(self.counts)

    def __call__(self, row: Mapping[str, Any], random: np.random.Generator) -> dict[str, Any]:
        """The sample of a row that has a text of this kind: arrays without a batch axis, and the texts.

        Raises:
            ECGInputError: the feature extractor refuses the record.
        """
        # First, since after a shift or with noise the filled ends could not be recognized.
        record = without_filled_ends(row_to_record(row))
        sample = self._model_inputs(record, random)
        mask_shape = {"noise": (len(sample["lead_mask"]), len(sample["patch_mask"]))}
        for name, shape in (self.noise_shapes or mask_shape).items():
            sample[name] = random.random(shape, dtype=np.float32)
        if self.views is not None:
            generator = torch.Generator().manual_seed(int(random.integers(2**62)))
            sample |= self.views(View.of(sample), generator)
            patient = row["patient_id"] or row["record_id"]
            sample["patient_ids"] = np.asarray(number_of(str(patient).encode()), dtype=np.int64)
        if self.text_source is None:
            return sample
        sample["text_seed"] = int(random.integers(2**62))
        if self.text_source == "report":
            held = [record.text or ""]
            stated, sample["texts"] = [held], held
        else:
            held = findings_of(row)[:MOST_STATEMENTS]
            if self.wordings is not None:
                held = [self.wordings.finding(label) for label in held]
            general = [] if self.wordings is None else self.wordings.general_terms(held)
            drawn = [self._draw_text(held, record.statements, general, random) for _ in range(self.texts_per_record)]
            stated, sample["texts"] = [findings for findings, _ in drawn], [text for _, text in drawn]
            held = held + general
        sample["ecg_statement_ids"] = _padded_ids(held, MOST_STATEMENTS if self.wordings is None else MOST_HELD)
        sample["text_statement_ids"] = np.stack([_padded_ids(findings) for findings in stated])
        return sample

    def _model_inputs(self, record: ECGRecord, random: np.random.Generator) -> dict[str, Any]:
        changed = record
        if self.shifts_traces:
            # The trace is rotated: what is cut off at the end comes in at the start (ours).
            shift = int(random.integers(max(1, record.signal.shape[1])))
            changed = replace(record, signal=np.roll(record.signal, shift, axis=1))
        if self.augmentation is not None:
            changed = self.augmentation(changed, random)
        with warnings.catch_warnings():
            # Independent noise makes leads contradict each other, and a long recording is cut to a window on purpose.
            warnings.simplefilter("ignore", ECGInputWarning)
            try:
                if changed is not record and np.isnan(record.signal).any():
                    self.feature_extractor(record)  # a long gap that is rotated to the ends would be cut off there
                extracted = self.feature_extractor(changed)
            except ECGInputError:  # the change may be at fault: the only lead that it left may be flat
                extracted = self.feature_extractor(record)
        return {name: value[0] for name, value in extracted.items()}

    def _draw_text(
        self, held: list[str], statements: Sequence[str], general: list[str], random: np.random.Generator
    ) -> tuple[list[str], str]:
        """The findings that a text states, and the text."""
        chosen = self._choose_findings(held, random)
        stated, texts = [held[position] for position in chosen], [statements[position] for position in chosen]
        if self.wordings is not None:
            stated, texts = self._reword(stated, texts, general, self.wordings, random)
        return stated, ". ".join(text.rstrip(".") for text in texts)

    def _choose_findings(self, held: list[str], random: np.random.Generator) -> np.ndarray:
        number = 1 if random.random() < SINGLE_FINDINGS else random.integers(1, len(held) + 1)
        return random.choice(len(held), number, replace=False, p=self._weights(held))

    def _weights(self, findings: list[str]) -> np.ndarray:
        weights = np.array([max(1, self.counts.get(finding, 0)) for finding in findings]) ** -RARITY
        return weights / weights.sum()

    def _reword(
        self,
        stated: list[str],
        statements: list[str],
        general: list[str],
        wordings: Wordings,
        random: np.random.Generator,
    ) -> tuple[list[str], list[str]]:
        """The findings of a text, the first perhaps replaced by a general term, and the words of each.

        Args:
            stated: the findings that were chosen.
            statements: how the corpus words each of them.
            general: the general terms that also hold.
        """
        if general and random.random() < GENERAL_TERMS:
            term = general[random.choice(len(general), p=self._weights(general))]
            stated, statements = [term, *stated[1:]], ["", *statements[1:]]  # the corpus has no words for it
        texts = []
        for finding, statement in zip(stated, statements, strict=True):
            known = wordings.of_finding.get(finding, ())
            as_in_corpus = not known or (statement and random.random() < OWN_STATEMENTS)
            texts.append(statement if as_in_corpus else known[random.integers(len(known))])
        return stated, texts


class PairDataset(Dataset):
    """Records of one split as model inputs.

    Args:
        split: rows as `cgdmer.data.storage` writes them.
        text_source: `"report"`: the unchanged report. `"statements"`: one or more of the record's findings, preferably
            rare ones, redrawn every epoch; an ECG then satisfies every text whose findings it has. None: no texts;
            every record is used.
        seed: of all draws.
        fixed_epoch: always use the draws of this epoch, and do not change the signals (for validation).
        feature_extractor, texts_per_record, augmentation, wordings, noise_shapes, views: see `PairMaker`.

    Raises:
        CorpusError: no row has a text of that kind, or there are no wordings for its labels.
    """

    def __init__(
        self,
        split: datasets.Dataset,
        feature_extractor,
        text_source: str | None = "report",
        texts_per_record: int = 1,
        seed: int = 0,
        fixed_epoch: int | None = None,
        augmentation: Augmentation | None = None,
        wordings: Wordings | None = None,
        noise_shapes: Mapping[str, tuple[int, ...]] | None = None,
        views: Views | None = None,
    ):
        column = text_column(text_source)
        if column is None:
            usable = list(range(len(split)))
        else:
            usable = [index for index, value in enumerate(split.select_columns([column])) if value[column]]
        if not len(split):
            raise CorpusError("the split holds no records. Prepare a corpus with records in every split.")
        if not usable:
            raise CorpusError(
                f"no record of the split has a {column!r}, which text_source={text_source!r} needs. "
                + _NEEDED[str(column)]
            )
        self.num_without_text = len(split) - len(usable)
        self.split = split if not self.num_without_text else split.select(usable)
        self.is_fixed = fixed_epoch is not None
        counts = Counter(
            finding for row in self.split.select_columns(["labels", "statements"]) for finding in findings_of(row)
        )
        self.make_pair = PairMaker(
            *(feature_extractor, text_source, counts, texts_per_record),
            shifts_traces=not self.is_fixed,
            augmentation=None if self.is_fixed else augmentation,
            wordings=wordings,
            noise_shapes=noise_shapes,
            views=views,
        )
        self.seed = seed
        self.epoch = 0 if fixed_epoch is None else fixed_epoch

    def __len__(self) -> int:
        return len(self.split)

    def set_epoch(self, epoch: int) -> None:
        if not self.is_fixed:
            self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """The samples of a batch; reading its rows together is faster for short records.

        A record that cannot be used is left out for another one, and named in its sample (`cgdmer.training.left_out`).
        """
        rows = dict(zip(indices, self.split.__getitems__([int(index) for index in indices]), strict=True))

        def row_of(index: int) -> dict[str, Any]:
            if index not in rows:
                rows[index] = self.split[index]
            return rows[index]

        def make(index: int, random: np.random.Generator) -> dict[str, Any]:
            return self.make_pair(row_of(index), random)

        def name(index: int) -> str:
            return row_of(index)["record_id"]

        seed = self.seed, self.epoch
        return [left_out.with_substitutes(make, name, int(index), len(self), seed) for index in indices]

    def first(self, count: int) -> list[dict[str, Any]]:
        return [self[index] for index in range(min(count, len(self)))]

    @property
    def num_records(self) -> int:
        """Records that have a text."""
        return len(self)

    def describe(self) -> str:
        if self.make_pair.text_source is None:
            return f"{len(self)} for training (no texts)"
        return f"{len(self)} for training ({self.num_without_text} without text left out)"

    def identity(self) -> dict[str, Any]:
        """What a resumed run recognizes its data by: the records in their order."""
        return fingerprint_of_split(self.split)

    def findings(self) -> Findings:
        """What the texts name, with the number of records."""
        rows = self.split.select_columns(["fingerprint", "labels", "statements"])
        return trained_findings(rows, load_wordings(), worded=self.make_pair.wordings is not None)

    def fingerprints(self, earlier: Fingerprints | None = None) -> Fingerprints:
        return Fingerprints.of(self.split, earlier)


class PairCollator:
    """Stack samples, tokenize their texts, and draw the noise that decides which tokens are masked.

    There is a row per text, in the order of the records; a record may have several. `lead_mask` and `patch_mask` are
    left out if every record of the batch is complete. `distinct_texts` and `text_index` say which texts are the same,
    see `ECGTextModel.pooled_texts`.

    Args:
        tokenizer: None for samples without texts.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch: dict[str, Any] = {} if self.tokenizer is None else self._texts(samples)
        masks = ["lead_mask", "patch_mask"]
        complete = all(sample[name].all() for name in masks for sample in samples)
        not_stacked = (*_OF_TEXTS, left_out.KEY, *(masks if complete else ()))
        for name in samples[0]:
            if name not in not_stacked:
                batch[name] = torch.from_numpy(np.stack([sample[name] for sample in samples]))
        if named := [one for sample in samples for one in sample.get(left_out.KEY, ())]:
            batch[left_out.KEY] = named
        return batch

    def _texts(self, samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        texts = [text for sample in samples for text in sample["texts"]]
        batch = dict(
            self.tokenizer(texts, padding=True, truncation=True, return_special_tokens_mask=True, return_tensors="pt")
        )
        first_rows: dict[str, int] = {}
        for row, text in enumerate(texts):
            first_rows.setdefault(text, row)
        places = {text: place for place, text in enumerate(first_rows)}
        batch["distinct_texts"] = torch.tensor(list(first_rows.values()))
        batch["text_index"] = torch.tensor([places[text] for text in texts])
        length = batch["input_ids"].shape[1]
        # Each text has its own stream, so that its noise does not depend on the length of the others.
        text_noise = np.stack(
            [
                np.random.default_rng((sample["text_seed"], number)).random(length, dtype=np.float32)
                for sample in samples
                for number in range(len(sample["texts"]))
            ]
        )
        batch["text_noise"] = torch.from_numpy(text_noise)
        batch["text_statement_ids"] = torch.from_numpy(
            np.concatenate([sample["text_statement_ids"] for sample in samples])
        )
        return batch


class EpochSampler(Sampler[int]):
    """The first `kept` of `count` records in an order that depends on (seed, epoch) alone."""

    def __init__(self, count: int, seed: int, kept: int | None = None):
        self.count, self.seed, self.epoch = count, seed, 0
        self.kept = count if kept is None else kept

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.kept

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng((self.seed, self.epoch)).permutation(self.count)[: self.kept].tolist())
