# SPDX-License-Identifier: Apache-2.0
"""From a recording as a hospital stores it to the tensors that the model takes.

It travels with the weights, so nobody has to guess a model's preprocessing.
"""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from numbers import Integral, Real
from typing import Any

import numpy as np
from transformers import FeatureExtractionMixin

from .ecg_record import ECGRecord, is_record
from .errors import ConfigurationError, ECGInputError, ECGInputWarning, shown
from .filters import FILTERS
from .foreign_keys import refuse_unknown_options
from .leads import STANDARD_LEADS, derive_limb_leads, standard_lead_names
from .millivolts import in_millivolts
from .missing_samples import numbers_of
from .normalization import NORMALIZATIONS
from .record_use import BEYOND_WINDOW, NOT_GIVEN, PART_OF_PATCH, ECGBatch, RecordUse, by_reason
from .resampling import RESAMPLING_METHODS, resample, resampled_length
from .signal_checks import (
    LONGEST_GAP_SECONDS,
    SHORTEST_SECONDS,
    check_amplitude,
    check_duration,
    check_shape,
    checked_rate,
    usable_leads,
)
from .signal_quality import doubt_about_limb_leads, doubts_about
from .units import (
    EXPECTED_UNITS,
    HIGHEST_RATE,
    LONGEST_SECONDS,
    LONGEST_WINDOW,
    millivolts_per,
)
from .windows import cut_windows

FILTER_STAGES = ("recorded_rate", "model_rate", "window")
NORMALIZED_PARTS = ("window", "recording")
_MOST_WINDOWS = 1000  # of one recording that may be asked for


class ECGFeatureExtractor(FeatureExtractionMixin):
    r"""Orders leads, converts units, cuts filled ends, repairs gaps, filters, resamples, cuts or pads, and normalizes.

    It is deterministic and guesses nothing: rate, lead names, and unit must be given, and values that cannot be
    physiological in the stated unit are refused.

    Args:
        sampling_rate (`int`): the model's rate in Hz. Other rates are resampled.
        num_samples (`int`): samples per lead in the model's window.
        patch_length (`int`): samples per patch, for `patch_mask`.
        normalization (`str`): `"fixed"` (divided by `fixed_millivolts`, which keeps amplitudes), `"centered"`
            (the same after subtracting each lead's mean, so that offsets of electrodes and converters have no
            effect), `"minmax_record"` (all leads together to 0..1, as in MERL), `"minmax_lead"` (each lead to -1..1),
            `"zscore_lead"`, or `"zscore_record"`.
        fixed_millivolts (`float`): what 1.0 stands for after `"fixed"` and `"centered"`. 0.2 mV, about the standard
            deviation of a recording, trains much faster than 1 mV (measured on simulated patients).
        filter (`str` or `list[str]`): `"none"`, or names of `filters.FILTERS`, in the order in which they run:
            `"lowpass_40hz"`, `"highpass_0.67hz"`, `"bandpass_0.67_40hz"` (Butterworth of order 5),
            `"bandpass_0.67_40hz_order4"`, `"fir_0.05_47hz"`, `"notch_50hz"`, `"median_baseline"`. None shifts in time.
        derive_limb_leads (`bool`): compute absent limb leads from any two that are present (Einthoven, Goldberger).
        longest_gap_seconds (`float`): longer runs of missing samples make a lead absent; shorter ones are
            interpolated linearly.
        shortest_seconds (`float`): shorter recordings are refused.
        resampling (`str`): `"polyphase"`, `"fourier"`, or `"linear"` (see `resample`).
        filter_stage (`str`): the filter runs over the whole recording at its own rate (`"recorded_rate"`) or at the
            model's (`"model_rate"`), or over each window (`"window"`).
        normalized_part (`str`): whether a `"window"` is scaled by itself, or the whole `"recording"` before it is cut.
        evenly_spaced_windows (`int`, *optional*): cut a recording that is longer than a window into at least this many
            windows, spaced evenly and counted alike. None: one after the other, see `cut_windows`.
    """

    model_input_names = ["ecg_values", "lead_mask", "patch_mask"]  # noqa: RUF012 (transformers' own spelling)

    def __init__(
        self,
        sampling_rate: int = 500,
        num_samples: int = 5000,
        patch_length: int = 50,
        normalization: str = "fixed",
        fixed_millivolts: float = 0.2,
        filter: str | Sequence[str] = "none",
        derive_limb_leads: bool = True,
        longest_gap_seconds: float = LONGEST_GAP_SECONDS,
        shortest_seconds: float = SHORTEST_SECONDS,
        resampling: str = "polyphase",
        filter_stage: str = "recorded_rate",
        normalized_part: str = "window",
        evenly_spaced_windows: int | None = None,
        **kwargs: Any,
    ):
        # transformers silently keeps any unknown key, so a misspelled option would have no effect.
        refuse_unknown_options(ECGFeatureExtractor, kwargs, inspect.signature(ECGFeatureExtractor).parameters)
        super().__init__(**kwargs)
        self.sampling_rate = sampling_rate
        self.num_samples = num_samples
        self.patch_length = patch_length
        self.normalization = normalization
        self.fixed_millivolts = fixed_millivolts
        self.filter = filter
        self.derive_limb_leads = derive_limb_leads
        self.longest_gap_seconds = longest_gap_seconds
        self.shortest_seconds = shortest_seconds
        self.resampling = resampling
        self.filter_stage = filter_stage
        self.normalized_part = normalized_part
        self.evenly_spaced_windows = evenly_spaced_windows
        self._check_options()

    def _check_options(self) -> None:
        for name, value, choices in (
            ("normalization", self.normalization, NORMALIZATIONS),
            ("resampling", self.resampling, RESAMPLING_METHODS),
            ("filter_stage", self.filter_stage, FILTER_STAGES),
            ("normalized_part", self.normalized_part, NORMALIZED_PARTS),
            *(("filter", one, ("none", *FILTERS)) for one in self.filter_names[: len(FILTERS)]),
        ):
            if not isinstance(value, str) or value not in choices:
                raise ConfigurationError(f"{name} is {shown(value)}; expected one of {', '.join(choices)}")
        if len(self.filter_names) > len(FILTERS):
            raise ConfigurationError(f"filter lists {len(self.filter_names)} steps; expected {len(FILTERS)} at most")
        count = self.evenly_spaced_windows
        if count is not None and (not isinstance(count, Integral) or not 1 <= count <= _MOST_WINDOWS):
            raise ConfigurationError(
                f"evenly_spaced_windows is {shown(count)}; expected None or a number from 1 to {_MOST_WINDOWS}"
            )
        # The numbers come from a file in the model's folder, which could otherwise ask for any amount of memory.
        for name, value, lowest, highest in (
            ("sampling_rate", self.sampling_rate, 1, HIGHEST_RATE),
            ("num_samples", self.num_samples, 1, LONGEST_WINDOW),
            ("fixed_millivolts", self.fixed_millivolts, 1e-6, 1e6),
            ("longest_gap_seconds", self.longest_gap_seconds, 0, LONGEST_SECONDS),
            ("shortest_seconds", self.shortest_seconds, 0, LONGEST_SECONDS),
        ):
            if not isinstance(value, Real) or not lowest <= value <= highest:
                raise ConfigurationError(f"{name} is {shown(value)}; expected a number from {lowest:g} to {highest:g}")
        patch, window = self.patch_length, self.num_samples
        if not (isinstance(patch, Integral) and isinstance(window, Integral)) or patch < 1 or window % patch:
            raise ConfigurationError(f"patch_length ({shown(patch)}) must divide num_samples ({window})")

    @property
    def filter_names(self) -> list[Any]:
        """The names of the filters, in the order in which they run."""
        names = self.filter if isinstance(self.filter, (list, tuple)) else [self.filter]
        return [name for name in names if name != "none"]

    def __call__(
        self,
        ecg: Any,
        sampling_rate: float | Sequence[float] | None = None,
        lead_names: Sequence[str] | Sequence[Sequence[str]] | None = None,
        unit: str | Sequence[str] | None = None,
        gain: float | Sequence[float] | None = None,
        windows: bool = False,
        return_tensors: str | None = None,
        judge: bool | None = None,
    ) -> ECGBatch:
        r"""Turn one recording, or several, into a batch.

        Args:
            ecg: a signal, (leads, time), or (time,) of a single lead; an `ECGRecord`, which has its own rate, leads,
                and unit; or a list of either. Missing samples are NaN, None, masked, or the integer that a converter
                marks them with. See `numbers_of` for the types of arrays.
            sampling_rate (`float`): in Hz. One for all, or a list with one per recording.
            lead_names (`list[str]`): one name per row. One list for all, or a list of lists.
            unit (`str`): `"mV"`, `"uV"`, `"V"`, or `"adu"` for the converter's integers, which needs `gain`.
            gain (`float`): converter units per millivolt, for `unit="adu"`; one number, or one per lead.
            windows (`bool`): cut a recording that is longer than the model's window into several windows (the last one
                ends where the recording ends), instead of taking only its start.
            return_tensors (`str`): `"pt"` or `"np"`.
            judge (`bool`): look for what casts doubt on a recording, which takes about 1.3 ms; by default with
                `windows` only.

        Returns:
            `ecg_values` (rows, 12, num_samples) float32; `lead_mask` (rows, 12) and `patch_mask` (rows, patches),
            int64, 1 where there is signal. With `windows`, also `record_index` (rows,) int64, the recording of each
            row, and `window_weights` (rows,) float32, how much it counts in the recording's mean: see `cut_windows`.
            The attribute `record_use` of the batch has a `RecordUse` per recording: which leads and how much of them
            was used, why the rest was not, and (see `judge`) what casts doubt on the recording.

        Warns:
            ECGInputWarning: recorded leads are not used, limb leads contradict each other, or the recording is longer
                than the window.

        Raises:
            ECGInputError: something is missing, contradictory, or not physiological. The message says what to do.
        """
        recordings = self._as_list(ecg)
        count = len(recordings)
        rows: list[dict[str, Any]] = []
        uses: list[RecordUse] = []
        for number, recording in enumerate(recordings):
            try:
                signal_LT, present_L, use = self._model_signal(
                    recording,
                    _for_record(sampling_rate, number, count, "sampling_rate"),
                    _names_for_record(lead_names, number, count),
                    _for_record(unit, number, count, "unit"),
                    gain,
                    judged=windows if judge is None else judge,
                )
            except ECGInputError as error:
                if count == 1:
                    raise
                raise ECGInputError(f"recording {number} of {count}: {error}") from error
            uses.append(self._with_seconds(_with_derived(use, recording), signal_LT.shape[1], windows))
            self._warn(uses[-1], "the recording" if count == 1 else f"recording {number} of {count}")
            if self.normalized_part == "recording":
                signal_LT = self._normalized(signal_LT, present_L)
            cut = zip(*self.windows_of(signal_LT.shape[1]), strict=True)
            for start, weight in cut if windows else islice(cut, 1):
                row = self._window(signal_LT[:, start : start + self.num_samples], present_L)
                rows.append({**row, "record_index": number, "window_weights": weight})
        outputs = rows[0] if windows else self.model_input_names
        batch = {name: np.stack([row[name] for row in rows]) for name in outputs}
        return ECGBatch(batch, return_tensors, uses)

    def use_of(self, record: "ECGRecord") -> RecordUse:
        """What `self(record, windows=True)` uses of a recording, without computing the model's inputs or warning.

        Raises:
            ECGInputError: as in a call.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ECGInputWarning)
            signal, _, use = self._twelve_leads(*self._in_millivolts(record, None, None, None, None), judged=True)
        length = resampled_length(signal.shape[1], record.sampling_rate, self.sampling_rate)
        return self._with_seconds(_with_derived(use, record), length, windows=True)

    def twelve_leads(self, record: "ECGRecord") -> tuple[np.ndarray, np.ndarray]:
        """A recording as the model sees it, before filtering, resampling, and normalization.

        Filled ends are cut off, short gaps interpolated, unusable leads left out, and limb leads derived.

        Returns:
            (12, time) float64 millivolts, 0 where a lead is absent; and (12,) bool, which leads are present.

        Raises:
            ECGInputError: nothing is left, or the recording is not physiological.
        """
        return self._twelve_leads(*self._in_millivolts(record, None, None, None, None))[:2]

    def windows_of(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the windows of a recording of this many samples (at the model's rate) start: see `cut_windows`."""
        return cut_windows(length, self.num_samples, self.evenly_spaced_windows)

    # The steps, in order.

    def _model_signal(self, recording, rate, names, unit, gain, judged) -> tuple[np.ndarray, np.ndarray, RecordUse]:
        """(12, time) millivolts at the model's rate, which leads are present, and what was used."""
        signal_mv, rate, names = self._in_millivolts(recording, rate, names, unit, gain)
        signal_LT, present_L, use = self._twelve_leads(signal_mv, rate, names, judged)
        if self.filter_stage == "recorded_rate":
            signal_LT = self._filtered(signal_LT, rate)
        signal_LT = resample(signal_LT, rate, self.sampling_rate, method=self.resampling)
        if self.filter_stage == "model_rate":
            signal_LT = self._filtered(signal_LT, self.sampling_rate)
        if signal_LT.shape[1] < self.patch_length:
            raise ECGInputError(
                f"the recording lasts {signal_LT.shape[1] / self.sampling_rate:.2f} s, less than one patch of the "
                f"model ({self.patch_length / self.sampling_rate:g} s)."
            )
        return signal_LT, present_L, use

    @staticmethod
    def _as_list(ecg) -> list:
        if is_record(ecg):
            return [ecg]
        if isinstance(ecg, (list, tuple)) and ecg and (is_record(ecg[0]) or _dimensions(ecg[0]) >= 2):
            return list(ecg)
        array = numbers_of(ecg)
        if array.ndim == 3 and len(array):
            return list(array)
        if array.ndim == 2 or (array.ndim == 1 and array.size):
            return [array]
        raise ECGInputError(
            f"ecg has {array.ndim} dimension(s) and shape {array.shape}; expected (leads, time) or a list of such "
            "arrays."
        )

    def _in_millivolts(self, recording, rate, names, unit, gain) -> tuple[np.ndarray, float, list[str]]:
        """(leads, time) float64 millivolts, the rate, and the standard lead names, after all checks."""
        if is_record(recording):
            if not (rate is None and names is None and unit is None and gain is None):
                raise ECGInputError(
                    "an ECGRecord has its own sampling rate, lead names, and unit: leave those arguments out."
                )
            recording, rate, names, unit = recording.signal, recording.sampling_rate, recording.lead_names, "mV"
        array = numbers_of(recording)
        if rate is None:
            raise ECGInputError("sampling_rate is missing. Pass the recording's rate in Hz, e.g. sampling_rate=500.")
        rate = checked_rate(rate)
        if names is None:
            raise ECGInputError(
                'lead_names is missing. Name every row of the signal, e.g. lead_names=["I", "II", "V1"].'
            )
        if unit is None:
            raise ECGInputError('unit is missing. Pass "mV", "uV", "V", or "adu" together with gain.')
        if not isinstance(unit, str) or (unit != "adu" and millivolts_per(unit) is None):
            raise ECGInputError(f'unit is {shown(unit)}; expected {EXPECTED_UNITS}, or "adu".')
        try:
            names = standard_lead_names(list(names))
        except TypeError as error:
            raise ECGInputError(f"lead_names is {shown(names)}; expected a list with one name per row.") from error
        if array.ndim == 1 and len(names) == 1:
            array = array[None]
        check_shape(array, names)
        check_duration(array.shape[1], rate, self.shortest_seconds)
        signal_mv = in_millivolts(array, unit, gain)
        check_amplitude(signal_mv, unit)
        return signal_mv, rate, names

    def _twelve_leads(
        self, signal_mv: np.ndarray, rate: float, names: list[str], judged: bool = False
    ) -> tuple[np.ndarray, np.ndarray, RecordUse]:
        """(12, time) in standard order without NaN, zero where a lead is absent; which leads are present; and why.

        Args:
            judged: whether to look for what casts doubt on the recording.
        """
        usable = usable_leads(signal_mv, rate, names, self.longest_gap_seconds, self.shortest_seconds)
        signal_LT, present_L = usable.signal, usable.present
        recorded_LT = signal_LT[:, ~usable.interpolated] if usable.interpolated.any() else signal_LT
        about_limbs = doubt_about_limb_leads(recorded_LT, present_L)
        if about_limbs:
            warnings.warn(about_limbs, ECGInputWarning, stacklevel=4)
        doubts = doubts_about(signal_LT, present_L, rate) if judged else []
        if self.derive_limb_leads:
            signal_LT, present_L = derive_limb_leads(signal_LT, present_L)
        reasons = {lead: usable.faults.get(lead, NOT_GIVEN) for lead in STANDARD_LEADS}
        use = RecordUse(
            leads_used=_chosen(usable.present),
            leads_derived={lead: reasons[lead] for lead in _chosen(present_L & ~usable.present)},
            leads_not_used={lead: reasons[lead] for lead in _chosen(~present_L)},
            seconds_filled=usable.seconds_filled,
            seconds_cut=usable.seconds_cut,
            doubts=tuple([about_limbs] if about_limbs else []) + tuple(doubts),
        )
        return signal_LT, present_L, use

    def _with_seconds(self, use: RecordUse, length: int, windows: bool) -> RecordUse:
        """The same, knowing that the recording has this many samples at the model's rate."""
        window = self.num_samples
        whole_patches = length - length % self.patch_length  # a patch that the recording does not fill is not seen
        seen = whole_patches if length < window else length if windows else window
        rest = BEYOND_WINDOW if length > window else PART_OF_PATCH
        cut = {**use.seconds_cut, rest: (length - seen) / self.sampling_rate}
        return replace(
            use,
            seconds_used=seen / self.sampling_rate,
            seconds_cut={reason: seconds for reason, seconds in cut.items() if seconds > 0},
        )

    def _warn(self, use: RecordUse, who: str) -> None:
        """Warn of what most people would want to know before they look at the answer."""
        if use.refused_leads:
            derived = [lead for lead in use.refused_leads if lead in use.leads_derived]
            warnings.warn(
                f"{who} has leads that are not used: {by_reason(use.refused_leads)}."
                + (f" Computed from two others instead: {', '.join(derived)}." if derived else ""),
                ECGInputWarning,
                stacklevel=3,
            )
        beyond = use.seconds_cut.get(BEYOND_WINDOW, 0.0)
        if beyond >= self.patch_length / self.sampling_rate:
            warnings.warn(
                f"{who} lasts {use.seconds_used + beyond:.1f} s: only the first "
                f"{self.num_samples / self.sampling_rate:g} s are used. Pass windows=True to use all of it.",
                ECGInputWarning,
                stacklevel=3,
            )

    def _filtered(self, signal_LT: np.ndarray, rate: float) -> np.ndarray:
        for name in self.filter_names:
            signal_LT = FILTERS[name].apply(signal_LT, rate)
        return signal_LT

    def _window(self, signal_LT: np.ndarray, present_L: np.ndarray) -> dict[str, np.ndarray]:
        """Filter, normalize, and pad one window. A patch is present if the recording fills all of it."""
        length = signal_LT.shape[1]
        if self.filter_stage == "window":
            signal_LT = self._filtered(signal_LT, self.sampling_rate)
        if self.normalized_part == "window":
            signal_LT = self._normalized(signal_LT, present_L)
        window_LT = np.zeros((len(STANDARD_LEADS), self.num_samples), dtype=np.float32)
        window_LT[:, :length] = signal_LT
        window_LT[~present_L] = 0.0
        patches = np.arange(self.num_samples // self.patch_length)
        return {
            "ecg_values": window_LT,
            "lead_mask": present_L.astype(np.int64),
            "patch_mask": (patches < length // self.patch_length).astype(np.int64),
        }

    def _normalized(self, signal_LT: np.ndarray, present_L: np.ndarray) -> np.ndarray:
        return NORMALIZATIONS[self.normalization].apply(signal_LT, present_L, self.fixed_millivolts)


def _with_derived(use: RecordUse, recording: Any) -> RecordUse:
    """The same, knowing which leads of a record had been derived before."""
    derived = [lead for lead in use.leads_used if lead in getattr(recording, "derived_leads", ())]
    reasons = {**dict.fromkeys(derived, NOT_GIVEN), **use.leads_derived}
    return replace(
        use,
        leads_used=tuple(lead for lead in use.leads_used if lead not in derived),
        leads_derived={lead: reasons[lead] for lead in STANDARD_LEADS if lead in reasons},
    )


def _chosen(leads: np.ndarray) -> tuple[str, ...]:
    return tuple(lead for lead, chosen in zip(STANDARD_LEADS, leads, strict=True) if chosen)


def _dimensions(value) -> int:
    try:
        return np.ndim(value)
    except ValueError:  # its rows differ in length
        return 0


def _is_list(value) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _for_record(value, number: int, count: int, name: str):
    """The one value for all recordings, or this recording's entry of a list."""
    if not _is_list(value):
        return value
    if len(value) != count:
        raise ECGInputError(f"{name} has {len(value)} entries for {count} recordings.")
    return value[number]


def _names_for_record(lead_names, number: int, count: int):
    if isinstance(lead_names, str):
        raise ECGInputError(f"lead_names is the string {lead_names!r}; expected a list with one name per row.")
    if _is_list(lead_names) and len(lead_names) and not isinstance(lead_names[0], str):
        return _for_record(lead_names, number, count, "lead_names")
    return lead_names


# Saved with the model, so that remote code finds the class.
ECGFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
