# SPDX-License-Identifier: Apache-2.0
"""From a recording as a hospital stores it to the tensor that the model takes.

It travels with the weights, so that the preprocessing of a model is never a matter of guessing.
"""

import statistics
import warnings
from collections.abc import Sequence
from itertools import islice
from numbers import Integral, Real
from typing import Any

import numpy as np
from transformers import BatchFeature, FeatureExtractionMixin

from .ecg_record import ECGRecord, is_record
from .errors import ConfigurationError, ECGInputError, ECGInputWarning
from .leads import STANDARD_LEADS, contradiction, derive_limb_leads, recorded_span, standard_lead_names
from .resampling import resample
from .units import (
    HIGHEST_RATE,
    LONGEST_SECONDS,
    LONGEST_WINDOW,
    LOWEST_RATE,
    MILLIVOLTS_PER_UNIT,
    MOST_SAMPLES,
    UNITS_OF_ARRAYS,
)
from .windows import cut_windows

NORMALIZATIONS = ("fixed", "centered", "minmax_record", "zscore_lead", "zscore_record")
KEEP_AMPLITUDE = ("fixed", "centered")  # a difference of 1.0 is one of `fixed_millivolts`
FILTERS = ("none", "lowpass_40hz", "bandpass_0.67_40hz")

# What transformers itself writes into, or reads from, the file that an extractor is saved in.
_KEYS_OF_TRANSFORMERS = {
    "auto_map",
    "feature_extractor_type",
    "name_or_path",
    "processor_class",
    "transformers_version",
}

# Median over leads of the peak-to-peak amplitude: 0.17 to 11.3 mV in 4,700 real recordings of six corpora.
LOWEST_PEAK_TO_PEAK_MV, HIGHEST_PEAK_TO_PEAK_MV = 0.005, 50.0
LARGEST_CONTRADICTION = 0.2  # of `leads.contradiction`, beyond which a warning says so
# A single broken lead may be anything that 32 bits at a low gain hold; beyond, float32 would overflow on the way.
HIGHEST_VALUE_MV = 1e9


class ECGFeatureExtractor(FeatureExtractionMixin):
    r"""Orders leads, converts units, cuts off filled ends, repairs gaps, filters, resamples, cuts or pads, normalises.

    Deterministic. Nothing is guessed: rate, lead names and unit must be given, and values that cannot be
    physiological in the stated unit are refused.

    Args:
        sampling_rate (`int`): the model's rate in Hz; other rates are resampled with a polyphase filter.
        num_samples (`int`): samples a lead in the model's window.
        patch_length (`int`): samples a patch, for `patch_mask`.
        normalization (`str`): `"fixed"` (divided by `fixed_millivolts`, amplitude kept), `"centered"` (each lead's
            mean over the window taken off before that: offsets of electrodes and converters have no effect),
            `"minmax_record"` (all leads together to 0..1, as MERL does), `"zscore_lead"` or `"zscore_record"`.
        fixed_millivolts (`float`): what 1.0 stands for after `"fixed"` and `"centered"`. 0.2 mV, about the standard
            deviation of a recording, trains far faster than 1 mV (measured on simulated patients).
        filter (`str`): `"none"`, `"lowpass_40hz"` or `"bandpass_0.67_40hz"`: Butterworth filters of order 5, run
            forwards and backwards.
        derive_limb_leads (`bool`): compute absent limb leads from any two that are there (Einthoven, Goldberger).
        longest_gap_seconds (`float`): longer runs of missing samples make a lead absent; shorter ones are
            interpolated linearly.
        shortest_seconds (`float`): shorter recordings are refused.
    """

    model_input_names = ["ecg_values", "lead_mask", "patch_mask"]  # noqa: RUF012 (transformers' own spelling)

    def __init__(
        self,
        sampling_rate: int = 500,
        num_samples: int = 5000,
        patch_length: int = 50,
        normalization: str = "fixed",
        fixed_millivolts: float = 0.2,
        filter: str = "none",
        derive_limb_leads: bool = True,
        longest_gap_seconds: float = 1.0,
        shortest_seconds: float = 2.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        # transformers keeps any unknown key silently: a misspelt option would have no effect at all.
        unknown = [key for key in kwargs if key not in _KEYS_OF_TRANSFORMERS and not key.startswith("_")]
        if unknown:
            raise ConfigurationError(f"ECGFeatureExtractor has no option {unknown[0]!r}.")
        self.sampling_rate = sampling_rate
        self.num_samples = num_samples
        self.patch_length = patch_length
        self.normalization = normalization
        self.fixed_millivolts = fixed_millivolts
        self.filter = filter
        self.derive_limb_leads = derive_limb_leads
        self.longest_gap_seconds = longest_gap_seconds
        self.shortest_seconds = shortest_seconds
        self._check_options()

    def _check_options(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            choices = ", ".join(NORMALIZATIONS)
            raise ConfigurationError(f"normalization is {self.normalization!r}; expected one of {choices}")
        if self.filter not in FILTERS:
            raise ConfigurationError(f"filter is {self.filter!r}; expected one of {', '.join(FILTERS)}")
        # The numbers come from a file of the model's folder: without bounds it could ask for any amount of memory.
        for name, value, lowest, highest in (
            ("sampling_rate", self.sampling_rate, 1, HIGHEST_RATE),
            ("num_samples", self.num_samples, 1, LONGEST_WINDOW),
            ("fixed_millivolts", self.fixed_millivolts, 1e-6, 1e6),
            ("longest_gap_seconds", self.longest_gap_seconds, 0, LONGEST_SECONDS),
            ("shortest_seconds", self.shortest_seconds, 0, LONGEST_SECONDS),
        ):
            if not isinstance(value, Real) or not lowest <= value <= highest:
                raise ConfigurationError(
                    f"{name} is {_shown(value)}; expected a number from {lowest:g} to {highest:g}"
                )
        patch, window = self.patch_length, self.num_samples
        if not (isinstance(patch, Integral) and isinstance(window, Integral)) or patch < 1 or window % patch:
            raise ConfigurationError(f"patch_length ({_shown(patch)}) must divide num_samples ({window})")

    def __call__(
        self,
        ecg: "np.ndarray | ECGRecord | Sequence[np.ndarray | ECGRecord]",
        sampling_rate: float | Sequence[float] | None = None,
        lead_names: Sequence[str] | Sequence[Sequence[str]] | None = None,
        unit: str | Sequence[str] | None = None,
        gain: float | Sequence[float] | None = None,
        windows: bool = False,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        r"""Turn one recording, or several, into a batch.

        Args:
            ecg: a signal of shape (leads, time), a list of such, or of `ECGRecord`, which brings its own rate, leads
                and unit.
            sampling_rate (`float`): in Hz. One for all, or a list with one a recording.
            lead_names (`list[str]`): one name a row. One list for all, or a list of lists.
            unit (`str`): `"mV"`, `"uV"`, `"V"`, or `"adu"` for the converter's integers, which needs `gain`.
            gain (`float`): converter units a millivolt, for `unit="adu"`; one number, or one a lead.
            windows (`bool`): cut a recording longer than the model's window in several windows (the last one ends
                with the recording) instead of taking its beginning.
            return_tensors (`str`): `"pt"` or `"np"`.

        Returns:
            `ecg_values` (rows, 12, num_samples) float32; `lead_mask` (rows, 12) and `patch_mask` (rows, patches),
            int64, 1 where there is signal. With `windows`, `record_index` (rows,) int64 says whose each row is, and
            `window_weights` (rows,) float32 how much it counts in a mean over the recording: see `cut_windows`.

        Raises:
            ECGInputError: something is missing, contradictory or not physiological. The message says what to do.
        """
        recordings = self._as_list(ecg)
        count = len(recordings)
        rows: list[dict[str, Any]] = []
        for number, recording in enumerate(recordings):
            try:
                signal_LT, present_L = self._model_signal(
                    recording,
                    _for_record(sampling_rate, number, count, "sampling_rate"),
                    _names_for_record(lead_names, number, count),
                    _for_record(unit, number, count, "unit"),
                    gain,
                )
            except ECGInputError as error:
                if count == 1:
                    raise
                raise ECGInputError(f"recording {number} of {count}: {error}") from error
            if not windows and signal_LT.shape[1] >= self.num_samples + self.patch_length:
                warnings.warn(
                    f"the recording lasts {signal_LT.shape[1] / self.sampling_rate:.1f} s: its first "
                    f"{self.num_samples / self.sampling_rate:g} s are taken. Pass windows=True for all of it.",
                    ECGInputWarning,
                    stacklevel=2,
                )
            cut = zip(*cut_windows(signal_LT.shape[1], self.num_samples), strict=True)
            for start, weight in cut if windows else islice(cut, 1):
                row = self._window(signal_LT[:, start : start + self.num_samples], present_L)
                rows.append({**row, "record_index": number, "window_weights": weight})
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        if not windows:
            del batch["record_index"], batch["window_weights"]
        return BatchFeature(batch, tensor_type=return_tensors)

    def twelve_leads(self, record: "ECGRecord") -> tuple[np.ndarray, np.ndarray]:
        """A recording as the model is given it, but not filtered, resampled or normalised yet.

        Filled ends are cut off, short gaps interpolated, leads that cannot be used left out, limb leads derived.

        Returns:
            (12, time) float64 millivolts, 0 where a lead is absent; and (12,) bool, which leads are there.

        Raises:
            ECGInputError: nothing is left, or the recording is not physiological.
        """
        return self._twelve_leads(*self._in_millivolts(record, None, None, None, None))

    # The steps, in the order in which they run.

    def _model_signal(self, recording, rate, names, unit, gain) -> tuple[np.ndarray, np.ndarray]:
        """(12, time) millivolts at the model's rate, and which leads are there."""
        signal_mv, rate, names = self._in_millivolts(recording, rate, names, unit, gain)
        signal_LT, present_L = self._twelve_leads(signal_mv, rate, names)
        signal_LT = resample(self._filtered(signal_LT, rate), rate, self.sampling_rate)
        if signal_LT.shape[1] < self.patch_length:
            raise ECGInputError(
                f"the recording lasts {signal_LT.shape[1] / self.sampling_rate:.2f} s, less than one patch of the "
                f"model ({self.patch_length / self.sampling_rate:g} s)."
            )
        return signal_LT, present_L

    @staticmethod
    def _as_list(ecg) -> list:
        if is_record(ecg):
            return [ecg]
        if isinstance(ecg, (list, tuple)) and ecg and is_record(ecg[0]):
            return list(ecg)
        try:
            if isinstance(ecg, (list, tuple)) and len(ecg) and np.ndim(ecg[0]) >= 2:
                return list(ecg)
            array = np.asarray(ecg)
        except (ValueError, RuntimeError) as error:  # RuntimeError: a tensor that has a gradient
            raise ECGInputError(f"the rows of ecg differ in length, or are no numbers: {error}") from error
        if array.ndim == 3 and len(array):
            return list(array)
        if array.ndim == 2:
            return [array]
        raise ECGInputError(
            f"ecg has {array.ndim} dimension(s) and shape {array.shape}; expected (leads, time) or a list of such "
            "arrays. A single lead is (1, time)."
        )

    def _in_millivolts(self, recording, rate, names, unit, gain) -> tuple[np.ndarray, float, list[str]]:
        """(leads, time) float64 in millivolts, its rate, and its standard lead names; checked, not yet changed."""
        if is_record(recording):
            if not (rate is None and names is None and unit is None and gain is None):
                raise ECGInputError(
                    "an ECGRecord brings its own sampling rate, lead names and unit: leave those arguments out."
                )
            array, rate, names, unit = recording.signal, recording.sampling_rate, recording.lead_names, "mV"
        else:
            array = recording
        array = _numbers(array)
        if rate is None:
            raise ECGInputError("sampling_rate is missing. Pass the recording's rate in Hz, e.g. sampling_rate=500.")
        try:
            rate = float(rate)
        except (TypeError, ValueError, OverflowError) as error:
            raise ECGInputError(f"sampling_rate is {_shown(rate)}; expected a number of Hz.") from error
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:  # catches NaN as well
            raise ECGInputError(
                f"sampling_rate is {rate} Hz; expected {LOWEST_RATE:.0f} to {HIGHEST_RATE:.0f}. "
                "It is the number of samples a second of one lead."
            )
        if names is None:
            raise ECGInputError(
                'lead_names is missing. Name every row of the signal, e.g. lead_names=["I", "II", "V1"].'
            )
        if unit is None:
            raise ECGInputError('unit is missing. Pass "mV", "uV", "V", or "adu" together with gain.')
        if not isinstance(unit, str) or unit not in ("adu", *UNITS_OF_ARRAYS):
            raise ECGInputError(f'unit is {_shown(unit)}; expected "mV", "uV", "V" or "adu".')
        try:
            names = standard_lead_names(list(names))
        except TypeError as error:
            raise ECGInputError(f"lead_names is {_shown(names)}; expected a list with one name a row.") from error
        if array.ndim != 2:
            raise ECGInputError(f"ecg has shape {array.shape}; expected (leads, time).")
        if array.shape[0] != len(names):
            turned = " It looks like (time, leads): pass ecg.T." if array.shape[1] == len(names) else ""
            raise ECGInputError(f"ecg has {array.shape[0]} rows but {len(names)} lead names were given.{turned}")
        if array.shape[1] < max(self.shortest_seconds * rate, 1):
            raise ECGInputError(
                f"the recording lasts {array.shape[1] / rate:.2f} s ({array.shape[1]} samples at {rate:g} Hz); "
                f"at least {self.shortest_seconds:g} s are needed."
            )
        if array.shape[1] > min(LONGEST_SECONDS * rate, MOST_SAMPLES):
            raise ECGInputError(
                f"the recording lasts {array.shape[1] / rate / 3600:.4g} h ({array.shape[1]} samples a lead); at most "
                f"{LONGEST_SECONDS / 3600:g} h and {MOST_SAMPLES} samples are taken at once. Pass it in parts, such "
                "as an hour each: read_wfdb(path, seconds=(0, 3600))."
            )
        signal_mv = self._converted(array, unit, gain)
        self._check_amplitude(signal_mv, unit)
        return signal_mv, rate, names

    @staticmethod
    def _converted(array: np.ndarray, unit: str, gain) -> np.ndarray:
        """The same in float64 millivolts."""
        if unit == "adu":
            if gain is None:
                raise ECGInputError('unit="adu" needs gain, the converter units a millivolt (often 200 or 1000).')
            try:
                gains = np.asarray(gain, dtype=np.float64).reshape(-1)
            except (TypeError, ValueError, OverflowError) as error:
                raise ECGInputError(f"gain is {_shown(gain)}; expected positive numbers.") from error
            if len(gains) not in (1, len(array)):
                raise ECGInputError(
                    f"gain has {len(gains)} entries; expected one, or one for each of {len(array)} leads."
                )
            if not (np.isfinite(gains) & (gains > 0)).all():
                raise ECGInputError(f"gain is {_shown(gain)}; expected positive numbers.")
            per_millivolt = gains[:, None]
        elif gain is not None:
            raise ECGInputError(f'gain is only for unit="adu", not for unit={unit!r}.')
        else:
            per_millivolt = None
        if np.isinf(array).any():
            raise ECGInputError("ecg contains infinite values. Mark missing samples with NaN.")
        with np.errstate(over="ignore"):  # found right below
            signal_mv = array.astype(np.float64)
            if per_millivolt is not None:
                signal_mv = signal_mv / per_millivolt
            elif unit != "mV":
                signal_mv = signal_mv * MILLIVOLTS_PER_UNIT[unit]
        highest = float(np.fmax.reduce(np.abs(signal_mv), axis=None, initial=0.0))
        if highest > HIGHEST_VALUE_MV:
            raise ECGInputError(
                f"ecg contains values of {highest:.4g} mV, beyond {HIGHEST_VALUE_MV:g}, which no recorder writes. "
                "Mark missing samples with NaN."
            )
        return signal_mv

    @staticmethod
    def _check_amplitude(signal_mv: np.ndarray, unit: str) -> None:
        # fmax and fmin skip NaN; a lead of nothing else swings by NaN, which is not above 0.
        heights = np.fmax.reduce(signal_mv, axis=1, initial=np.nan) - np.fmin.reduce(signal_mv, axis=1, initial=np.nan)
        moving = heights[heights > 0].tolist()
        if not moving:
            raise ECGInputError("every lead is flat or missing: nothing is left of the recording.")
        median = statistics.median(moving)
        if median > HIGHEST_PEAK_TO_PEAK_MV:
            raise ECGInputError(
                f"half of the leads swing by more than {median:.4g} mV, which no heart does. Are the values said to "
                f'be in "{unit}" in a smaller unit (microvolts, or converter units: unit="adu" with a gain)?'
            )
        if median < LOWEST_PEAK_TO_PEAK_MV:
            raise ECGInputError(
                f"half of the leads swing by less than {median:.4g} mV, which is noise, not a heart. Are the values "
                f'said to be in "{unit}" in a larger unit (volts or millivolts)?'
            )

    def _twelve_leads(self, signal_mv: np.ndarray, rate: float, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(12, time) in standard order without NaN, and which leads are there; absent ones are zero."""
        signal_mv = self._without_filled_ends(signal_mv, rate)
        usable, missing = np.ones(len(names), dtype=bool), np.isnan(signal_mv)
        if missing.any():
            signal_mv, usable = self._without_missing_samples(signal_mv, rate)
        usable &= np.ptp(signal_mv, axis=1) >= LOWEST_PEAK_TO_PEAK_MV
        rows = np.array([STANDARD_LEADS.index(name) for name in names])[usable]
        signal_LT = np.zeros((len(STANDARD_LEADS), signal_mv.shape[1]))
        signal_LT[rows] = signal_mv[usable]
        present_L = np.zeros(len(STANDARD_LEADS), dtype=bool)
        present_L[rows] = True
        if not present_L.any():
            raise ECGInputError("every lead is flat or has long gaps: nothing is left of the recording.")
        interpolated = missing[usable].any(axis=0)
        share = contradiction(signal_LT[:, ~interpolated] if interpolated.any() else signal_LT, present_L)
        if share > LARGEST_CONTRADICTION:
            warnings.warn(
                "the limb leads contradict each other: one differs from what I and II say of it (III = II - I, and "
                f"so on) by {share:.0%} of their size. Are leads named wrongly, turned over, or recorded one after "
                "the other?",
                ECGInputWarning,
                stacklevel=4,
            )
        if self.derive_limb_leads:
            signal_LT, present_L = derive_limb_leads(signal_LT, present_L)
        return signal_LT, present_L

    def _without_filled_ends(self, signal_mv: np.ndarray, rate: float) -> np.ndarray:
        first, last = recorded_span(signal_mv, rate)
        if last - first < self.shortest_seconds * rate:
            raise ECGInputError(
                f"only {(last - first) / rate:.2f} s of the recording are not missing; at least "
                f"{self.shortest_seconds:g} s are needed. Ends at which every lead is NaN or stands still are missing."
            )
        return signal_mv[:, first:last]

    def _without_missing_samples(self, signal_mv: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
        """Gaps interpolated, and which leads that was possible for; the other leads are zero."""
        longest_gap = round(self.longest_gap_seconds * rate)
        repaired = [_without_gaps(lead, longest_gap) for lead in signal_mv]
        whole = np.stack([np.zeros(signal_mv.shape[1]) if lead is None else lead for lead in repaired])
        return whole, np.array([lead is not None for lead in repaired])

    def _filtered(self, signal_LT: np.ndarray, rate: float) -> np.ndarray:
        if self.filter == "none":
            return signal_LT
        # A recording at 80 Hz or less holds nothing above 40 Hz.
        upper = 40.0 if rate > 80 else None
        lower = 0.67 if self.filter == "bandpass_0.67_40hz" else None
        if upper is None and lower is None:
            return signal_LT
        kind, edges = (
            ("bandpass", [lower, upper]) if lower and upper else (("highpass", lower) if lower else ("lowpass", upper))
        )
        from scipy.signal import butter, sosfiltfilt  # takes half a second to import

        sections = butter(5, edges, btype=kind, fs=rate, output="sos")
        return sosfiltfilt(sections, signal_LT, axis=-1)

    def _window(self, signal_LT: np.ndarray, present_L: np.ndarray) -> dict[str, np.ndarray]:
        """Normalise and pad one window; a patch counts as present when the recording fills all of it."""
        length = signal_LT.shape[1]
        window_LT = np.zeros((len(STANDARD_LEADS), self.num_samples), dtype=np.float32)
        window_LT[:, :length] = self._normalized(signal_LT, present_L)
        window_LT[~present_L] = 0.0
        patches = np.arange(self.num_samples // self.patch_length)
        return {
            "ecg_values": window_LT,
            "lead_mask": present_L.astype(np.int64),
            "patch_mask": (patches < length // self.patch_length).astype(np.int64),
        }

    def _normalized(self, signal_LT: np.ndarray, present_L: np.ndarray) -> np.ndarray:
        if self.normalization == "fixed":
            return signal_LT / self.fixed_millivolts
        if self.normalization == "centered":
            return (signal_LT - signal_LT.mean(axis=-1, keepdims=True)) / self.fixed_millivolts
        recorded = signal_LT[present_L]
        if self.normalization == "minmax_record":
            lowest, highest = recorded.min(), recorded.max()
            return (signal_LT - lowest) / max(highest - lowest, 1e-6)
        if self.normalization == "zscore_record":
            return (signal_LT - recorded.mean()) / max(recorded.std(), 1e-6)
        deviation = np.maximum(signal_LT.std(axis=-1, keepdims=True), 1e-6)
        return (signal_LT - signal_LT.mean(axis=-1, keepdims=True)) / deviation


def _without_gaps(lead_T: np.ndarray, longest_gap: int) -> np.ndarray | None:
    """The lead with gaps interpolated; None when a gap is too long or most of the lead is missing."""
    missing = np.isnan(lead_T)
    if not missing.any():
        return lead_T
    if missing.mean() > 0.5:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(np.int8), [0]])))
    if (edges[1::2] - edges[::2]).max() > longest_gap:
        return None
    times = np.arange(len(lead_T))
    return np.interp(times, times[~missing], lead_T[~missing])


def _numbers(values) -> np.ndarray:
    """An array of integers or floats; nothing is copied that is one."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: a tensor with a gradient
        raise ECGInputError(f"ecg is not numeric: {error}") from error
    if array.dtype.kind not in "iuf":
        raise ECGInputError(f"ecg is not numeric: it holds {array.dtype}; expected integers or floats.")
    return array


def _shown(value) -> str:
    """A value for a message, which may be of any kind and size."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a number of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}..."


def _for_record(value, number: int, count: int, name: str):
    """One value for all recordings, or the one of this recording from a list."""
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        if len(value) != count:
            raise ECGInputError(f"{name} has {len(value)} entries for {count} recordings.")
        return value[number]
    return value


def _names_for_record(lead_names, number: int, count: int):
    if isinstance(lead_names, str):
        raise ECGInputError(f"lead_names is the string {lead_names!r}; expected a list with one name a row.")
    several = isinstance(lead_names, (list, tuple)) or (isinstance(lead_names, np.ndarray) and lead_names.ndim)
    if several and len(lead_names) and not isinstance(lead_names[0], str):
        return _for_record(lead_names, number, count, "lead_names")
    return lead_names


# Saved with it: where remote code finds the class.
ECGFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
