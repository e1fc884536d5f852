# SPDX-License-Identifier: Apache-2.0
"""Random inputs as a hostile or broken source may pass them to the package.

Most of each input is right, so that its faults get past the first checks.
"""

import re
from collections.abc import Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ECGInputError
from cgdmer.models.leads import STANDARD_LEADS

NUMBERS = (
    *("0", "-1", "1", "2", "3", "16", "50", "100", "500", "65536", "2147483648", "1000000000000", "9" * 18, "9" * 40),
    *("nan", "inf", "-inf", "1e3", "1e-9", "1e308", "1e999", "0x10", "1_000", "+5", ".5", "5.", "--1", "1,5", "16+24"),
    *("", " ", "-", "x", "\x00", "\x1c", "\u00b5", "\u0665", "(", ")", "/", "#"),
)
PIECES = (
    *(text.encode() for text in NUMBERS),
    *(b"\n", b"\r", b"\t", b"\xff", b"\xc2\x85", b"\xef\xbb\xbf", b"rec", b"rec.dat", b"..", b"/etc/passwd", b"~"),
    *(b"16x2", b"16:1", b"80", b"212", b"310", b"508", b"200/mV", b"200(0)/uV", b"/mV", b"#Dx: "),
)
BLOCKS = {"16": (2, 1), "80": (1, 1), "212": (3, 2), "310": (4, 3), "311": (4, 3), "24": (3, 1), "32": (4, 1)}


def made_by(build: Callable[[Random], Any]) -> st.SearchStrategy:
    """Hypothesis draws only the seed. If it drew each field, it would favor rare values and take ten times as long."""
    return st.randoms(use_true_random=True, note_method_calls=False).map(build)


def usually(random: Random, right: Any, wrong: Sequence[Any], one_in: int) -> Any:
    return random.choice(wrong) if random.random() * one_in < 1 else right


def mutated(random: Random, content: bytes) -> bytes:
    """Replace, remove, or double one to three places of a file, half of the time a whole word; or leave it as it is.

    The latter is done a sixth of the time: if the file itself were refused, its changes would show nothing.
    """
    changed = bytearray(content)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        start = random.randrange(len(changed) + 1)
        end = start + random.choice((0, 0, 1, 1, 2, 4, 12, 60))
        words = [match.span() for match in re.finditer(rb"\S+", changed)]
        if words and random.random() < 0.5:
            start, end = random.choice(words)
        pieces = (random.choice(PIECES), random.randbytes(random.randrange(4)), changed[start:end] * 2)
        changed[start:end] = random.choice(pieces)
    return bytes(changed)


def wfdb_record(random: Random) -> tuple[bytes, bytes]:
    """(header, signal file) by the grammar of headers, with an occasional wrong field."""

    def field(*right: str) -> str:
        return usually(random, random.choice(right), NUMBERS, 40)

    num_leads, num_samples = random.randint(1, 4), random.randint(1, 40)
    storage_format = usually(random, "16", sorted(BLOCKS), 8)
    offset = random.choice((0, 0, 0, 24))
    after = random.choice(((), ("10:00:00",), ("x", "1/1/2000")))
    name = usually(random, "rec", ("rec.mat", "rec/2"), 10)
    lines = [
        " ".join((name, field(str(num_leads)), field("500", "100/500", "360.5"), field(str(num_samples)), *after))
    ]
    for lead in STANDARD_LEADS[:num_leads]:
        layout = field(storage_format) + (f"+{field(str(offset))}" if offset else "")
        gain = field("200", "1000.5", "4.88") + usually(random, "", ("(0)", "(-7)", "(x)"), 2)
        # Mostly without a checksum, which would be wrong.
        rest = [field("16", "12"), field("0", "5"), field("0"), field("0", "-1", "70000"), field("0")]
        rest = rest[: usually(random, 3, (0, 1, 5), 5)]
        file = usually(random, "rec.dat", ("other.dat", "..", "/rec.dat"), 60)
        lines.append(" ".join((file, layout, f"{gain}/{field('mV', 'uV', 'V')}", *rest, field(lead))))
    block_bytes, block_samples = BLOCKS[storage_format]
    size = offset + -(-num_leads * num_samples // block_samples) * block_bytes
    size = max(0, size + usually(random, 0, range(-5, 6), 12))
    return usually(random, "\n", ("\r\n", "\r", "\x85", "\n\n"), 6).join(lines).encode(), random.randbytes(size)


DTYPES = ("f8", "f4", "f2", "g", "i1", "i2", "i4", "i8", "u2", "u8", "?", "c16", "O", "U8", "S8")
RATES = (50, 100, 128.0, np.float32(100), np.int16(100), np.array(100.0), "100")
# Units per millivolt.
UNITS = {"mV": 1.0, "uV": 1e3, "V": 1e-3, "adu": 200.0}
ODD = (
    *(None, True, "", "mV", b"mV", 0, -1, 10**400, 1e308, float("nan"), float("inf"), 1j, [], [[]], {}, {"I": 1}, ()),
    *(np.array([]), np.zeros((2, 2)), np.array(["a"]), np.array([None]), np.datetime64("2020-01-01"), object(), int),
    *(["I", None], [1, 2], [["I"]], ("I", "II"), "I", "\ud800", ["\ud800"], range(3), 10**5000, [10**400], {1, 2}),
)


def signal(random: Random, unit: str) -> tuple[Any, float, list[str]]:
    """A matching (signal, rate, lead names), with gaps, infinities, and any type of number."""
    rate = random.choice((50.0, 100.0, 128.0, 250.5))
    leads = usually(random, random.randint(1, 12), (0, 13, 300), 40)
    samples = usually(random, random.randint(int(2 * rate) + 1, int(6 * rate)), (0, 1, 2, 99), 40)
    times = np.arange(samples) / rate
    millivolts = np.sin(2 * np.pi * (1 + np.arange(leads)[:, None]) * times + random.random())
    scale = usually(random, random.choice((1.0, 0.5, 5.0)), (0.0, 1e-300, 1e-3, 1e3, 1e30, 1e300), 25)
    values = UNITS[unit] * scale * millivolts
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        rows = random.choice((slice(None), slice(0, 1), slice(2, 4)))
        start = random.randrange(samples + 1)
        value = random.choice((np.nan, np.nan, np.nan, np.nan, np.inf, 0.0, 1e30, -1e308))
        values[rows, start : start + random.choice((1, 30, 200, 10**6))] = value
    dtype = usually(random, "f8", DTYPES, 2)
    with np.errstate(all="ignore"):
        changed: Any = values.astype(dtype)
    shape = usually(random, "", ("list", "turned", "deep", "torch", "huge", "ragged", "strided"), 8)
    if shape == "list":
        changed = changed.tolist()
    elif shape == "ragged":
        changed = [row.tolist()[: len(row) - index] for index, row in enumerate(changed)]
    elif shape == "turned":
        changed = changed.T
    elif shape == "deep":
        changed = changed[None, None]
    elif shape == "torch" and dtype in ("f8", "f4", "i2"):
        changed = torch.from_numpy(changed).requires_grad_(dtype == "f8")
    elif shape == "strided":
        changed = changed[::-1, ::-1]
    elif shape == "huge":  # longer than any accepted recording, but takes no memory by itself
        changed = np.broadcast_to(np.array(1, "f4"), (leads, 10 ** random.randint(8, 13)))
    return changed, rate, [*random.sample(STANDARD_LEADS, min(leads, 12)), *["V7"] * (leads - 12)]


def extractor_call(random: Random) -> dict[str, Any]:
    """Arguments for the feature extractor."""
    unit = random.choice(("mV", *UNITS))
    values, rate, names = signal(random, unit)
    arguments = {
        "ecg": values,
        "sampling_rate": usually(random, rate, (*ODD, *RATES), 15),
        "lead_names": usually(random, names, (*ODD, tuple(names), [names]), 15),
        "unit": usually(random, unit, ODD, 25),
        "windows": random.random() < 0.5,
        "return_tensors": random.choice((None, "np", "pt")),
    }
    if unit == "adu":
        arguments["gain"] = usually(random, random.choice((200, [200.0] * len(names))), ODD, 6)
    kind = usually(random, "array", ("odd", "batch", "record", "mixed", "false record"), 6)
    record: Any
    try:
        record = ECGRecord(values, rate, tuple(names))
    except ECGInputError:  # rows that differ in length
        record = SimpleNamespace(signal=values, sampling_rate=rate, lead_names=tuple(names))
    if kind == "odd":
        arguments["ecg"] = random.choice(ODD)
    elif kind == "batch":
        arguments["ecg"] = [values, random.choice((values, random.choice(ODD)))]
    elif kind in ("record", "mixed", "false record"):
        if kind == "false record":
            odd = random.sample(ODD, 3)
            record = SimpleNamespace(signal=odd[0], sampling_rate=odd[1], lead_names=odd[2])
        arguments = {"ecg": record, "windows": arguments["windows"]}
        if kind == "mixed":
            arguments["ecg"] = [record, random.choice(ODD)]
    return arguments


def encoder_call(random: Random, batch: int, leads: int, samples: int, patches: int) -> dict[str, Any]:
    """Arguments for an encoder: values and masks of any type and almost the right shapes."""
    arguments: dict[str, Any] = {}
    shapes = {"ecg_values": (batch, leads, samples), "lead_mask": (batch, leads), "patch_mask": (batch, patches)}
    for name, right in shapes.items():
        if name != "ecg_values" and random.random() < 0.4:
            continue
        wrong = [(), (0,), (batch,), right[1:], (*right, 1), (0, *right[1:]), (batch + 1, *right[1:]), right[::-1]]
        shape = usually(random, right, wrong, 12)
        usual = torch.float32 if name == "ecg_values" else torch.int64
        dtype = usually(random, usual, (torch.bool, torch.int8, torch.complex64, torch.uint8), 12)
        tensor = torch.full(shape, random.choice((0, 1, 1, 1, 7))).to(dtype)
        if tensor.is_floating_point():
            tensor = tensor * usually(random, 1.0, (float("nan"), float("inf"), 1e30), 8)
        elif random.random() < 0.5 and tensor.ndim:
            tensor[..., : random.randint(0, 12)] = 0
        arguments[name] = usually(random, tensor, ([], "x", 3, np.ones(3)), 40)
    return arguments
