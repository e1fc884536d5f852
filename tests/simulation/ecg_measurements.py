# SPDX-License-Identifier: Apache-2.0
"""Measures intervals, amplitudes, and spectra on a noise-free twelve-lead trace and applies textbook criteria.

It sees only the samples: no parameters, times, or shapes of the simulator. The criteria are from the AHA/ACCF/HRS
recommendations of 2009 and the fourth universal definition of myocardial infarction of 2018.
"""

from dataclasses import dataclass, replace

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB = LEADS[:6]
INDEPENDENT = [0, 1, 6, 7, 8, 9, 10, 11]
CONTIGUOUS_Q = (("I", "aVL"), ("V4", "V5"), ("V5", "V6"), ("II", "aVF"), ("III", "aVF"))
CONTIGUOUS_T = (("I", "aVL"), ("V3", "V4"), ("V4", "V5"), ("V5", "V6"), ("II", "aVF"))


@dataclass
class Deflection:
    """A wave of the QRS complex: signed peak (mV), duration (s), time of the peak after the QRS onset (s)."""

    peak: float
    duration: float
    time: float


@dataclass
class Measurements:
    """What a reader with calipers would write down, in seconds and millivolts."""

    rr: np.ndarray  # all intervals between QRS complexes
    rate: float
    qrs_duration: float
    deflections: dict[str, list[Deflection]]
    axis: float  # degrees
    j_point: dict[str, float]
    j_plus_40: dict[str, float]
    t_wave: dict[str, float]
    peak_to_peak: dict[str, float]
    p_share: float  # the share of what precedes the QRS complex that is the same in each beat
    p_peak: float  # lead II
    pr_interval: float | None
    isoelectric: float  # longest flat stretch in leads II and V1 outside the QRS complexes
    early_wide: int  # beats that are early, wide, and of another shape, without a P wave, and followed by a pause
    fibrillatory_frequency: float  # the strongest one in V1 without QRS-T
    fibrillatory_share: float  # the share of the power of V1 without QRS-T (1-25 Hz) within 4-9 Hz
    flutter_frequency: float | None  # of a strictly periodic atrial wave in lead II
    flutter_size: float  # mV peak to peak


def _velocity(signal: np.ndarray, rate: float) -> np.ndarray:
    """(time,) mV/s: length of the difference vector of all rows over 8 ms."""
    half = max(1, round(0.004 * rate))
    padded = np.pad(signal, ((0, 0), (half, half)), mode="edge")
    return np.linalg.norm(padded[:, 2 * half :] - padded[:, : -2 * half], axis=0) * rate / (2 * half)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


def _sharpness(eight: np.ndarray, rate: float, seconds: float) -> np.ndarray:
    """(time,) mV. The distance of each sample from the mean of those `seconds` before and after it."""
    reach = round(seconds * rate)
    padded = np.pad(eight, ((0, 0), (reach, reach)), mode="edge")
    return np.linalg.norm(eight - 0.5 * (padded[:, 2 * reach :] + padded[:, : -2 * reach]), axis=0)


def find_beats(eight: np.ndarray, rate: float) -> np.ndarray:
    """(beats,) The sample at the center of each QRS complex.

    A QRS complex bends more sharply than a P or T wave, so much of its change over 60 ms happens within 20 ms.
    """
    sharp, broad = _sharpness(eight, rate, 0.02), _sharpness(eight, rate, 0.06)
    level = np.median([piece.max() for piece in np.array_split(sharp, max(1, round(len(sharp) / rate / 2)))])
    # Half of the samples are between complexes, so the median is due to atrial waves.
    atrial = min(float(np.median(sharp)), 0.12 * level)
    mask = sharp > max(0.1 * level, 2.2 * atrial)
    for begin, end in _runs(~mask):  # join the parts of one complex
        if end - begin < 0.08 * rate and begin > 0 and end < len(mask):
            mask[begin:end] = True
    found = []
    for begin, end in _runs(mask):
        peak, weight = sharp[begin:end].max(), sharp[begin:end] ** 2
        center = float((np.arange(begin, end) * weight).sum() / weight.sum())
        if peak > max(0.15 * level, 3 * atrial):
            found.append((center / rate, peak, peak / broad[begin:end].max()))
    centers = []
    for index, (time, peak, ratio) in enumerate(found):
        is_p = any(0 < later - time < 0.4 and other > 3 * peak for later, other, _ in found[index + 1 : index + 2])
        is_t = ratio < 0.26 and any(
            time - sooner < 0.45 and other > 2 * peak for sooner, other, _ in found[:index][-1:]
        )
        if not is_p and not is_t and (ratio > 0.22 or peak > 0.5 * level):
            centers.append(round(time * rate))
    return np.array(centers)


def steepest(speed: np.ndarray, share: float, apart: float) -> list[int]:
    """The samples at which a trace changes fastest, at least `apart` samples from each other and faster than this
    share of the fastest one; in order of time."""
    found: list[int] = []
    for place in np.argsort(-speed):
        if speed[place] < share * speed.max():
            break
        if all(abs(place - other) > apart for other in found):
            found.append(int(place))
    return sorted(found)


def _quiet_edge(velocity: np.ndarray, start: int, step: int, level: float, hold: int) -> int:
    """The last sample above `level`, walking from `start` until the velocity is below it for `hold` samples."""
    position, quiet = start, 0
    while 0 < position + step < len(velocity) and quiet < hold:
        position += step
        quiet = quiet + 1 if velocity[position] < level else 0
    return position - step * quiet


def _deflections(complex_: np.ndarray, rate: float) -> dict[str, list[Deflection]]:
    """The waves of the QRS complex, (12, time) mV, in each lead."""
    deflections = {}
    for row, lead in enumerate(LEADS):
        found = []
        for sign in (1, -1):
            for begin, end in _runs(sign * complex_[row] > 0.004):
                peak = begin + int(np.argmax(sign * complex_[row, begin:end]))
                if abs(complex_[row, peak]) >= 0.03:
                    found.append(Deflection(float(complex_[row, peak]), (end - begin) / rate, peak / rate))
        found.sort(key=lambda wave: wave.time)
        # A deflection that has not returned at the J point is the level of the ST segment, not a wave.
        if found and found[-1].duration < 0.03 and complex_[row, -1] / found[-1].peak >= 0.8:
            found.pop()
        deflections[lead] = found
    return deflections


def _p_wave(beat: np.ndarray, onset: int, rate: float) -> tuple[float | None, float]:
    """PR interval (s; None without a P wave) and peak in lead II (mV), from the average beat."""
    velocity = _velocity(beat[INDEPENDENT, :onset], rate)
    end = onset - round(0.01 * rate)
    begin = max(0, onset - round(0.36 * rate))
    # Walk back over the flat PR segment to the end of the P wave, then to its start.
    while end > begin and velocity[end] < 0.3:
        end -= 1
    level = 0.1 * velocity[max(0, end - round(0.11 * rate)) : end + 1].max()
    start = _quiet_edge(velocity, end - round(0.03 * rate), -1, level, round(0.008 * rate))
    if end > start > begin:
        return (onset - start) / rate, float(beat[1, start:end].max())
    return None, 0.0


def measure(signal: np.ndarray, rate: float, cleaned: bool = False) -> Measurements:
    """All measurements of a record, (12, time) mV without noise. `cleaned`: flutter waves are already removed."""
    signal = signal.astype(np.float64)
    eight = signal[INDEPENDENT]
    length = signal.shape[1]
    centers = find_beats(eight, rate)
    rr = np.diff(centers) / rate
    typical = float(np.median(rr))

    # Average beat: align on the velocity and leave out beats of another shape.
    before, after = round(0.42 * rate), round(0.6 * rate)
    near = slice(before - round(0.06 * rate), before + round(0.09 * rate))
    inside = [index for index, center in enumerate(centers) if center >= before + 8 and center + after + 8 <= length]
    windows = np.stack([eight[:, centers[index] - before : centers[index] + after] for index in inside])
    reference = np.median(windows, axis=0)
    likeness = []
    aligned: list[np.ndarray] = []
    origins: list[int] = []
    for index in inside:
        scores = []
        for shift in range(-7, 8):
            begin = centers[index] - before + shift
            piece = eight[:, begin : begin + before + after][:, near]
            target = reference[:, near]
            piece, target = piece - piece[:, :1], target - target[:, :1]
            scores.append(1 - ((piece - target) ** 2).sum() / (target**2).sum())
        best = int(np.argmax(scores)) - 7
        likeness.append(max(scores))
        if likeness[-1] > 0.8:
            begin = centers[index] - before + best
            aligned.append(signal[:, begin : begin + before + after])
            origins.append(begin + before)
    beats = np.stack(aligned)
    beat = np.median(beats, axis=0)

    # QRS complex.
    velocity = _velocity(beat[INDEPENDENT], rate)
    center = before
    top = velocity[near].max()
    level = min(max(0.06 * top, 2 * float(np.median(velocity))), 0.12 * top)  # above what remains of atrial waves
    onset = _quiet_edge(velocity, center, -1, level, round(0.016 * rate))
    offset = _quiet_edge(velocity, center, 1, level, round(0.02 * rate))
    baseline = beat[:, onset - round(0.012 * rate) : onset - round(0.002 * rate)].mean(axis=1)
    beat = beat - baseline[:, None]
    complex_ = beat[:, onset : offset + 1]
    duration = (offset - onset) / rate
    # Only the first part of a wide complex is the left ventricle's own conduction.
    early = complex_ if duration < 0.12 else complex_[:, : round(0.07 * rate)]
    net = early.max(axis=1) + early.min(axis=1)
    axis = float(np.degrees(np.arctan2(net[5] * 2 / np.sqrt(3), net[0])))

    # ST segment and T wave, assuming a usual QT interval for the rate.
    j_point = dict(zip(LEADS, beat[:, offset], strict=True))
    j_plus_40 = dict(zip(LEADS, beat[:, offset + round(0.04 * rate)], strict=True))
    usual_qt = min(0.40 - 0.0014 * (60 / typical - 60), 0.66 * typical) + max(0.0, duration - 0.1)
    search = slice(onset + round(0.62 * usual_qt * rate), min(onset + round(1.0 * usual_qt * rate), beat.shape[1]))
    t_peak = search.start + int(np.argmax(np.linalg.norm(beat[INDEPENDENT, search], axis=0)))
    t_wave = dict(zip(LEADS, beat[:, t_peak], strict=True))

    # P wave, in up to a third of a second before the QRS complex.
    reach = round(min(0.32, 0.45 * typical) * rate)
    prior = beats[:, 1, onset - reach : onset - round(0.03 * rate)]
    prior = prior - prior[:, -1:]
    shared = np.median(prior, axis=0)
    p_share = float(1 - ((prior - shared) ** 2).mean() / (prior**2).mean())
    pr_interval, p_peak = _p_wave(beat, onset, rate)

    # Flat stretches in both leads II and V1.
    mask = np.ones(length, dtype=bool)
    left, right = center - onset + round(0.01 * rate), offset - center + round(0.01 * rate)
    for position in centers:
        mask[max(0, position - left) : position + right] = False
    slope = _velocity(signal[[1, 6]], rate)
    flat = [(b - a) / rate for a, b in _runs(mask & (slope < 0.12))]
    isoelectric = max(flat, default=0.0)

    # Early wide beats.
    early_wide = 0
    for index, score in zip(inside, likeness, strict=True):
        if score > 0.8 or not 0 < index < len(centers) - 1:
            continue
        piece = eight[:, centers[index] - before : centers[index] + after]
        speed = _velocity(piece, rate)
        level = 0.08 * speed[center - 30 : center + 30].max()
        first = _quiet_edge(speed, center, -1, level, round(0.016 * rate))
        last = _quiet_edge(speed, center, 1, level, round(0.016 * rate))
        # A P wave before it would look like those before other beats.
        reach = min(round((pr_interval or 0.16) * rate), first, onset)
        own, usual = piece[:, first - reach : first], beat[INDEPENDENT, onset - reach : onset]
        own, usual = own - own.mean(axis=1, keepdims=True), usual - usual.mean(axis=1, keepdims=True)
        has_p = ((own - usual) ** 2).sum() < 0.4 * (usual**2).sum()
        is_early = rr[index - 1] < 0.88 * typical and rr[index] > 1.1 * typical
        if is_early and (last - first) / rate >= 0.12 and not has_p:
            early_wide += 1

    # V1 without QRS-T.
    rest = signal[6].copy()
    for origin in origins:
        begin = origin - center
        a, b = onset - 4, min(beat.shape[1], onset + round(1.15 * usual_qt * rate))
        rest[begin + a : begin + b] -= beat[6, a:b]
        rest[begin + a : begin + offset + 4] = np.linspace(
            rest[begin + a - 1], rest[begin + offset + 4], offset + 4 - a
        )
    if origins:
        rest = rest[origins[0] : origins[-1]]
    spectrum = np.abs(np.fft.rfft((rest - rest.mean()) * np.hanning(len(rest)), 4 * len(rest))) ** 2
    frequencies = np.fft.rfftfreq(4 * len(rest), 1 / rate)
    wide_band, band = (frequencies >= 1) & (frequencies < 25), (frequencies >= 4) & (frequencies <= 9)
    fibrillatory_share = float(spectrum[band].sum() / spectrum[wide_band].sum())
    strongest = float(frequencies[wide_band][np.argmax(spectrum[wide_band])])

    flutter_frequency, flutter_size, without = None, 0.0, None
    if isoelectric <= 0.02:
        flutter_frequency, wave = _periodic_atrial_wave(
            signal, mask, centers + (offset - center), usual_qt - duration, rate
        )
        flutter_size = float(np.ptp(wave[1]))
        if flutter_frequency and not cleaned and typical > 0.5:
            # Now that the flutter waves are known, read the QRS complex without them.
            without = measure(signal - wave, rate, cleaned=True)
    atrial = {
        "p_share": p_share,
        "p_peak": p_peak,
        "pr_interval": pr_interval,
        "isoelectric": isoelectric,
        "early_wide": early_wide,
        "fibrillatory_frequency": strongest,
        "fibrillatory_share": fibrillatory_share,
        "flutter_frequency": flutter_frequency,
        "flutter_size": flutter_size,
    }
    if without is not None:
        return replace(without, **atrial)
    return Measurements(
        rr=rr,
        rate=60 / float(rr.mean()),
        qrs_duration=duration,
        deflections=_deflections(complex_, rate),
        axis=axis,
        j_point=j_point,
        j_plus_40=j_plus_40,
        t_wave=t_wave,
        peak_to_peak={lead: float(np.ptp(complex_[row])) for row, lead in enumerate(LEADS)},
        **atrial,
    )


def _periodic_atrial_wave(
    signal: np.ndarray, mask: np.ndarray, j_points: np.ndarray, t_length: float, rate: float
) -> tuple[float | None, np.ndarray]:
    """Frequency (Hz) and (12, time) mV of an atrial wave of fixed period that explains lead II between QRS complexes.

    The T wave may be anything: whatever follows each J point in the same shape is fitted along with the periodic wave.
    """
    lead_ii = signal[1]
    step = max(1, round(rate / 100))
    rows = np.flatnonzero(mask)[::step]
    target = lead_ii[rows]
    columns = [np.ones(len(rows))]
    width = step
    delay = np.full(len(lead_ii), -1)
    for j_point in j_points:
        span = np.arange(j_point, min(len(lead_ii), j_point + round(1.3 * t_length * rate)))
        delay[span] = span - j_point
    for begin in range(0, round(1.3 * t_length * rate), width):
        chosen = (delay[rows] >= begin) & (delay[rows] < begin + width)
        if chosen.any():
            columns.append(chosen.astype(float))
    basis, _ = np.linalg.qr(np.stack(columns, axis=1))
    rest = target - basis @ (basis.T @ target)

    def harmonics(frequency: float, highest: int, samples: np.ndarray) -> np.ndarray:
        turn = 2 * np.pi * frequency * samples / rate
        return np.stack([wave(n * turn) for n in range(1, highest + 1) for wave in (np.sin, np.cos)], axis=1)

    def error(frequency: float, highest: int) -> float:
        waves = harmonics(frequency, highest, rows)
        free = waves - basis @ (basis.T @ waves)
        weights, *_ = np.linalg.lstsq(free, rest, rcond=1e-6)
        return float(np.sqrt(((rest - free @ weights) ** 2).mean()))

    coarse = np.arange(3.9, 5.6, 0.02)
    start = coarse[np.argmin([error(frequency, 2) for frequency in coarse])]
    fine = np.arange(start - 0.03, start + 0.03, 0.003)
    best = fine[np.argmin([error(frequency, 4) for frequency in fine])]
    waves = harmonics(best, 4, rows)
    free = waves - basis @ (basis.T @ waves)
    every_lead = signal[:, rows].T
    weights, *_ = np.linalg.lstsq(free, every_lead - basis @ (basis.T @ every_lead), rcond=1e-6)
    wave = (harmonics(best, 4, np.arange(signal.shape[1])) @ weights).T
    if error(best, 4) > 0.19 * np.ptp(wave[1]):
        return None, np.zeros_like(signal)
    return float(best), wave


def _signs(waves: list[Deflection]) -> list[int]:
    return [1 if wave.peak > 0 else -1 for wave in waves]


def _largest(waves: list[Deflection], sign: int) -> float:
    return max((sign * wave.peak for wave in waves if sign * wave.peak > 0), default=0.0)


def _is_q(waves: list[Deflection]) -> bool:
    """A first negative deflection of at least 30 ms and 0.1 mV, or QS."""
    return bool(waves) and waves[0].peak <= -0.1 and waves[0].duration >= 0.03


def left_bundle_branch_block(m: Measurements) -> bool:
    lateral = [m.deflections["I"], m.deflections["V6"]]
    broad_r = all(_signs(waves) == [1] and waves[0].duration >= 0.1 for waves in lateral)
    v1 = m.deflections["V1"]
    from_v1 = _signs(v1) in ([-1], [1, -1]) and _largest(v1, -1) > 2 * _largest(v1, 1)
    discordant = m.t_wave["V6"] < 0 < m.t_wave["V1"] and m.j_point["V6"] < 0 < m.j_point["V1"]
    return m.qrs_duration >= 0.12 and broad_r and from_v1 and discordant


def right_bundle_branch_block(m: Measurements) -> bool:
    v1 = m.deflections["V1"]
    terminal = _signs(v1) == [1, -1, 1] and v1[2].peak > v1[0].peak
    wide_s = all(
        waves and waves[-1].peak < 0 and waves[-1].duration >= 0.04
        for waves in (m.deflections["I"], m.deflections["V6"])
    )
    return m.qrs_duration >= 0.12 and terminal and wide_s


def left_anterior_fascicular_block(m: Measurements) -> bool:
    begins_qr = all(_signs(m.deflections[lead])[:2] == [-1, 1] for lead in ("I", "aVL"))
    begins_rs = all(_signs(m.deflections[lead])[:2] == [1, -1] for lead in ("II", "III", "aVF"))
    narrow = m.qrs_duration < 0.12 or right_bundle_branch_block(m)
    return narrow and -90 <= m.axis <= -45 and begins_qr and begins_rs


def sokolow_lyon(m: Measurements) -> float:
    return _largest(m.deflections["V1"], -1) + max(_largest(m.deflections[lead], 1) for lead in ("V5", "V6"))


def old_infarction(m: Measurements) -> bool:
    first = {lead: waves[0] for lead, waves in m.deflections.items() if waves}
    anterior = all(lead in first and first[lead].peak < 0 and first[lead].duration >= 0.02 for lead in ("V2", "V3"))
    return anterior or any(_is_q(m.deflections[a]) and _is_q(m.deflections[b]) for a, b in CONTIGUOUS_Q)


def irregularity(m: Measurements) -> float:
    return float(m.rr.std() / m.rr.mean())


def measured_conditions(m: Measurements) -> set[str]:
    """The conditions whose textbook criteria the measurements meet."""
    found = set()
    lbbb, rbbb = left_bundle_branch_block(m), right_bundle_branch_block(m)
    flutter = m.isoelectric <= 0.02 and m.flutter_frequency is not None and m.flutter_size >= 0.1
    if flutter:
        found.add("atrial_flutter")
    elif m.p_share < 0.55:
        in_band = 4 <= m.fibrillatory_frequency <= 9 and m.fibrillatory_share > 0.5
        if in_band and irregularity(m) > 0.08:
            found.add("atrial_fibrillation")
    elif m.pr_interval is not None and m.p_peak >= 0.04:
        rhythm = "bradycardia" if m.rate < 60 else "tachycardia" if m.rate > 100 else "rhythm"
        found.add(f"sinus_{rhythm}")
        if m.pr_interval > 0.2:
            found.add("first_degree_av_block")
        if m.early_wide:
            found.add("premature_ventricular_beats")
    if lbbb:
        found.add("left_bundle_branch_block")
    if rbbb:
        found.add("right_bundle_branch_block")
    if left_anterior_fascicular_block(m):
        found.add("left_anterior_fascicular_block")
    if max(m.peak_to_peak[lead] for lead in LIMB) < 0.5:
        found.add("low_voltage")
    if lbbb:
        return found  # the criteria below do not apply
    if flutter:
        # Sawtooth waves hide the ST segment and the T wave. Only the voltage can be read.
        return found | ({"left_ventricular_hypertrophy"} if sokolow_lyon(m) >= 3.5 else set())
    if sokolow_lyon(m) >= 3.5:
        found.add("left_ventricular_hypertrophy")
    if min(m.j_point["V2"], m.j_point["V3"]) >= 0.2 and max(m.j_point["III"], m.j_point["aVF"]) < 0:
        found.add("anterior_st_elevation")
    if min(m.j_point[lead] for lead in ("II", "III", "aVF")) >= 0.1 and m.j_point["aVL"] < 0:
        found.add("inferior_st_elevation")
    if old_infarction(m):
        found.add("old_infarction")
    if sum(max(m.j_point[lead], m.j_plus_40[lead]) <= -0.1 for lead in ("V4", "V5", "V6")) >= 2:
        found.add("st_depression")
    if any(max(m.t_wave[a], m.t_wave[b]) <= -0.1 for a, b in CONTIGUOUS_T):
        found.add("t_wave_inversion")
    return found
