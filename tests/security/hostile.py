# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for what a hostile or broken source may hand to the package.

Each is right in most of its parts, so that what is wrong reaches beyond the first check.
"""

import re
from random import Random
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import strategies as st

from cgdmer.data.storage import SkippedRecord
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.leads import STANDARD_LEADS

NUMBERS = (
    *("0", "-1", "1", "2", "3", "16", "50", "100", "500", "65536", "2147483648", "1000000000000", "9" * 18, "9" * 40),
    *("nan", "inf", "-inf", "1e3", "1e-9", "1e308", "1e999", "0x10", "1_000", "+5", ".5", "5.", "--1", "1,5", "16+24"),
    *("", " ", "-", "x", "\x00", "\x1c", "\u00b5", "\u0665", "(", ")", "/", "#"),
)
PIECES = (
    *(text.encode() for text in NUMBERS),
    *(b"\n", b"\r", b"\t", b"\xff", b"\xc2\x85", b"\xef\xbb\xbf", b"rec", b"rec.dat", b"..", b"/etc/passwd", b"~"),
    *(b"16", b"16+24", b"16x2", b"16:1", b"80", b"212", b"310", b"508", b"200/mV", b"200(0)/uV", b"/mV", b"#Dx: "),
)
BLOCKS = {"16": (2, 1), "80": (1, 1), "212": (3, 2), "310": (4, 3), "311": (4, 3), "24": (3, 1), "32": (4, 1)}


def usually(right: st.SearchStrategy, wrong: st.SearchStrategy, one_in: int = 12) -> st.SearchStrategy:
    return st.integers(1, one_in).flatmap(lambda number: wrong if number == 1 else right)


def bytes_of(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """One to three places of a file replaced, removed or doubled; half of the time a whole word."""
    words = [match.span() for match in re.finditer(rb"\S+", content)]

    def change(random: Random) -> bytes:
        changed = bytearray(content)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            start = random.randrange(len(changed) + 1)
            end = start + random.choice((0, 0, 1, 1, 2, 4, 12, 60))
            if random.random() < 0.5:
                start, end = random.choice(words)
            pieces = (random.choice(PIECES), random.randbytes(random.randrange(4)), changed[start:end] * 2)
            changed[start:end] = random.choice(pieces)
        return bytes(changed)

    # A generator of hypothesis's own chooses places less evenly and takes ten times as long.
    return st.randoms(use_true_random=True, note_method_calls=False).map(change)


@st.composite
def wfdb_records(draw) -> tuple[str, bytes]:
    """(header, signal file) by the grammar of headers, now and then with a field that is no such thing."""
    number = st.sampled_from(NUMBERS)

    def field(*right: str) -> str:
        return draw(usually(st.sampled_from(right), number, 30))

    num_leads, num_samples = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    storage_format = draw(usually(st.just("16"), st.sampled_from(sorted(BLOCKS)), 8))
    offset = draw(st.sampled_from((0, 0, 0, 24)))
    first = [field("rec", "rec", "rec.mat", "rec/2"), field(str(num_leads)), field("500", "100/500", "360.5")]
    lines = [
        " ".join([*first, field(str(num_samples)), *draw(st.sampled_from(([], ["10:00:00"], ["x", "1/1/2000"])))])
    ]
    for lead in range(num_leads):
        file = field("rec.dat", "rec.dat", "rec.dat", "other.dat")
        form = field(storage_format) + (f"+{field(str(offset))}" if offset else "")
        gain = f"{field('200', '1000.5', '4.88')}{draw(st.sampled_from(('', '', '(0)', '(-7)', '(x)')))}"
        rest = [field("16", "12"), field("0", "5"), field("0"), "", field("0")]
        rest[3] = draw(st.sampled_from(("0", "-1", "70000", "9" * 30))) if draw(st.integers(0, 9)) == 0 else ""
        rest = rest[: rest.index("")] if "" in rest else rest  # mostly without a checksum, which would not fit
        lines.append(" ".join([file, form, f"{gain}/{field('mV', 'uV', 'V')}", *rest, field(STANDARD_LEADS[lead])]))
    block_bytes, block_samples = BLOCKS[storage_format]
    size = offset + -(-num_leads * num_samples // block_samples) * block_bytes
    size = max(0, size + draw(usually(st.just(0), st.integers(-5, 5))))
    return draw(usually(st.just("\n"), st.sampled_from(("\r\n", "\r", "\x85", "\n\n")))).join(lines), bytes_of(
        draw(st.integers(0, 99)), size
    )


def arrays(seed: int, leads: int, samples: int, rate: float, scale: float) -> np.ndarray:
    times = np.arange(samples) / rate
    return scale * np.sin(2 * np.pi * (1 + np.arange(leads)[:, None]) * times + seed)


DTYPES = ("f8", "f8", "f8", "f4", "f2", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u8", "?", "c16", "O", "U8", "S8")
RATES = (50, 100, 128.0, 250.5, np.float32(100), np.int16(100), np.array(100.0), "100")
ODD = (
    *(None, True, "", "mV", b"mV", 0, -1, 10**400, 1e308, float("nan"), float("inf"), 1j, [], [[]], {}, {"I": 1}, ()),
    *(np.array([]), np.zeros((2, 2)), np.array(["a"]), np.array([None]), np.datetime64("2020-01-01"), object(), int),
    *(["I", None], [1, 2], [["I"]], ("I", "II"), "I", "\ud800", ["\ud800"], SkippedRecord("", ""), range(3)),
)


@st.composite
def signals(draw) -> tuple[object, float, list[str]]:
    """(signal, rate, lead names) that belong together, with holes, infinities and any type of number."""
    leads = draw(usually(st.integers(1, 12), st.sampled_from((0, 13, 300)), 30))
    rate = draw(st.sampled_from((50.0, 100.0, 128.0, 250.5)))
    samples = draw(usually(st.integers(int(2 * rate) + 1, int(6 * rate)), st.sampled_from((0, 1, 2, 99)), 30))
    scale = draw(usually(st.sampled_from((1.0, 0.2, 5.0)), st.sampled_from((0.0, 1e-300, 1e-3, 1e3, 1e30, 1e300)), 20))
    signal = arrays(draw(st.integers(0, 9)), leads, samples, rate, scale)
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        rows = slice(None) if draw(st.booleans()) else slice(0, 1)
        start = draw(st.integers(0, samples))
        value = draw(st.sampled_from((np.nan, np.nan, np.nan, np.inf, -np.inf, 0.0, 1e308, -1e308)))
        signal[rows, start : start + draw(st.sampled_from((1, 30, 200, 10**6)))] = value
    dtype = draw(st.sampled_from(DTYPES))
    with np.errstate(all="ignore"):
        changed: object = signal.astype(dtype)
    shape = draw(
        usually(st.just("as it is"), st.sampled_from(("list", "turned", "deep", "torch", "huge", "ragged")), 10)
    )
    if shape == "list":
        changed = changed.tolist()
    elif shape == "ragged":
        changed = [row.tolist()[: len(row) - index] for index, row in enumerate(changed)]
    elif shape == "turned":
        changed = changed.T
    elif shape == "deep":
        changed = changed[None, None]
    elif shape == "torch" and dtype in ("f8", "f4", "i2"):
        changed = torch.from_numpy(changed)
    elif shape == "huge":
        changed = np.broadcast_to(np.array(1, "f4"), (leads, 10 ** draw(st.integers(7, 13))))
    names = list(draw(st.permutations(STANDARD_LEADS)))[:leads] + ["V7"] * (leads - 12)
    return changed, rate, names


@st.composite
def extractor_inputs(draw) -> dict[str, object]:
    """Arguments of a call of the feature extractor."""
    odd = st.sampled_from(ODD)
    signal, rate, names = draw(signals())
    unit = draw(usually(st.sampled_from(("mV", "mV", "uV", "V", "adu")), odd, 20))
    arguments = {
        "ecg": signal,
        "sampling_rate": draw(usually(st.just(rate), st.one_of(odd, st.sampled_from(RATES)), 15)),
        "lead_names": draw(usually(st.just(names), st.one_of(odd, st.just(tuple(names)), st.just([names])), 15)),
        "unit": unit,
        "windows": draw(st.booleans()),
        "return_tensors": draw(st.sampled_from((None, "np", "pt"))),
    }
    if isinstance(unit, str) and unit == "adu":
        arguments["gain"] = draw(usually(st.sampled_from((1.0, [1.0] * len(names))), odd, 4))
    kind = draw(usually(st.just("array"), st.sampled_from(("odd", "batch", "record", "mixed", "false record")), 6))
    record = ECGRecord(signal, rate, tuple(names))
    if kind == "odd":
        arguments["ecg"] = draw(odd)
    elif kind == "batch":
        arguments["ecg"] = [signal, draw(st.one_of(st.just(signal), odd))]
    elif kind in ("record", "mixed", "false record"):
        if kind == "false record":
            record = SimpleNamespace(signal=draw(odd), sampling_rate=draw(odd), lead_names=draw(odd))
        arguments = {"ecg": record, "windows": arguments["windows"]}
        if kind == "mixed":
            arguments["ecg"] = [record, draw(odd)]
    return arguments


@st.composite
def masks(draw, values_shape: tuple[int, int, int], num_patches: int) -> dict[str, object]:
    """Inputs of an encoder: values and masks of any type and nearly the right shapes."""
    tensors: dict[str, object] = {}
    batch, leads, samples = values_shape
    for name, right in {
        "ecg_values": (batch, leads, samples),
        "lead_mask": (batch, leads),
        "patch_mask": (batch, num_patches),
    }.items():
        shape = draw(usually(st.just(right), st.lists(st.integers(0, 13), max_size=4).map(tuple), 15))
        usual = torch.float32 if name == "ecg_values" else torch.int64
        others = (torch.bool, torch.int8, torch.complex64, torch.uint8)
        dtype = draw(usually(st.just(usual), st.sampled_from(others), 10))
        value = draw(st.sampled_from((0, 1, 1, 1, -1, 7)))
        tensor = torch.full(shape, value).to(dtype)
        if tensor.is_floating_point() and draw(st.integers(0, 9)) == 0:
            tensor = tensor * draw(st.sampled_from((float("nan"), float("inf"), 1e30)))
        if name == "ecg_values" or draw(st.booleans()):
            tensors[name] = draw(usually(st.just(tensor), st.sampled_from(([], "x", 3, np.ones(3))), 40))
    return tensors
