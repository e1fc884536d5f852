# SPDX-License-Identifier: Apache-2.0
"""Any file or argument is either used or refused with our own errors: no other exception, no hang, little memory.

The quick suite tries a few hundred inputs, always the same. The slow one tries 100,000 new ones.
"""

import resource
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hostile import encoder_call, extractor_call, made_by, mutated, usually, wfdb_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cgdmer import CGDMERECGConfig, ECGFeatureExtractor
from cgdmer.corpora.corpus import CorpusRow
from cgdmer.corpora.snomed import read_snomed_row
from cgdmer.data.storage import SkippedRecord, record_to_row
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, ECGInputWarning
from cgdmer.models.modeling_cgdmer import CGDMERECGModel
from cgdmer.models.reading_array_file import read_array_file
from cgdmer.models.reading_record import read_record
from cgdmer.models.reading_wfdb import read_wfdb
from clinic_writers import WRITERS, dicom_group, save_dicom

MEGABYTES = 500

EXTRACTOR = ECGFeatureExtractor(sampling_rate=100, num_samples=400, patch_length=20)

# Headers as in corpora. Those of real recordings have a test of their own.
HEADERS = {
    "16 and checksums": "rec 3 500 20 0:0:0 0/0/0\n"
    + "".join(f"rec.dat 16 1000.0(0)/mV 16 0 -119 0 0 {lead}\n" for lead in ("I", "II", "AVR")),
    "offset and comments": "rec 2 500 20 07-Jun-2020 12:33:07\n"
    + "".join(f"rec.mat 16+24 1000/mV 16 0 28 0 0 {lead}\n" for lead in ("I", "V6"))
    + "#Age: 74\n#Sex: Male\n#Dx: 426783006,59118001\n#Rx: Unknown\n",
    "packed": "rec 2 100 20\nrec.dat 212 200(1024)/mV 12 1024 995 0 0 MLII\nrec.dat 212 200/uV 12 0 0 0 0 V5\n",
    "short": "# before\nrec 1 256.5 20\nrec.dat 16 4.88/V V1\n",
}
ROWS = b"".join(b"%.3f,%.2f,-0.5\n" % (row / 500, row / 7) for row in range(20))
TABLES = (
    b"time,I,II\n" + ROWS,
    ROWS,
    b"time;I (mV);II (mV)\n" + ROWS.replace(b",", b";").replace(b".", b","),
    b'"index","I","II"\n' + b"".join(b'"%d","0.%d",""\n' % (row, row) for row in range(20)),
    b"I\tII\r\n" + b"1e-1\tnan\r\n" * 20,
    "Name,Doe\nSample Rate,512 hertz\n\nLead,Lead I\nUnit,\u00b5V\n\n".encode() + b"-1.5\n2\n" * 20,
    "time,I,II\n0,1,2\n".encode("utf-16") + b"1,\0" * 12,
)
SIGNAL_BYTES = {"16 and checksums": 120, "offset and comments": 104, "packed": 60, "short": 40}


@contextmanager
def little_memory() -> Iterator[None]:
    """A MemoryError if the block takes more than 500 MB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEGABYTES * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fuzz(check: Callable, strategy: st.SearchStrategy, examples: int) -> None:
    """Run the check on examples. The deadline, far above what an example takes, guards against hangs."""
    configured = settings(
        max_examples=examples,
        deadline=timedelta(seconds=30),
        database=None,
        derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck),
    )
    counts: Counter[str] = Counter()
    seconds = []

    @configured
    @given(strategy)
    def run(example):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", module="wfdb")  # about its own use of pandas
            warnings.simplefilter("ignore", ECGInputWarning)  # which such recordings are meant to cause
            start = time.process_time()
            counts[check(example)] += 1
            seconds.append(time.process_time() - start)

    with little_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # about the length of an example that failed
        run()
    print(dict(counts), f"slowest: {max(seconds):.3f} s of CPU time")
    # If all were refused or all used, the examples would miss their purpose.
    assert min(counts["used"], counts["refused"]) > examples / 100, counts


def used_or_refused(what: Callable[[], object]) -> str:
    try:
        what()
    except CGDMERError as error:
        assert not isinstance(error.__cause__, MemoryError), "memory was allocated before sizes were checked"
        assert str(error)
        return "refused"
    return "used"


def amounts(slow: int, quick: int = 100) -> pytest.MarkDecorator:
    at_length = pytest.param(slow, marks=[pytest.mark.slow, pytest.mark.at_length])
    return pytest.mark.parametrize("examples", [quick, at_length])


def check_record(record: ECGRecord) -> None:
    """Check what every record that was read must satisfy."""
    assert record.signal.ndim == 2 and record.signal.dtype == np.float32 and record.signal.size
    assert len(record.lead_names) == len(record.signal) and all(record.lead_names)
    assert 50 <= record.sampling_rate <= 10_000 and not np.isinf(record.signal).any()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory use from Linux's /proc")
def test_the_guard_on_memory_works():
    with little_memory(), pytest.raises(MemoryError):
        np.empty(2 * MEGABYTES * 2**20, dtype=np.uint8)


@amounts(30_000)
def test_mutated_headers(tmp_path, examples):
    def files(random: Random) -> tuple[bytes, bytes]:
        name = random.choice(sorted(HEADERS))
        size = SIGNAL_BYTES[name] + usually(random, 0, (-1, 1, 24), 12)
        return mutated(random, HEADERS[name].encode()), random.randbytes(size)

    def check(example) -> str:
        header, signal = example
        (tmp_path / "rec.hea").write_bytes(header)
        for suffix in (".dat", ".mat"):
            (tmp_path / f"rec{suffix}").write_bytes(signal)
        return used_or_refused(
            lambda: check_record(read_wfdb(tmp_path / "rec", verify_checksums=len(header) % 9 == 0))
        )

    fuzz(check, made_by(files), examples)


@amounts(5_000, 40)
def test_mutated_headers_of_real_records(tmp_path, real_data, examples):
    folders = ("code15-sample", "cpsc2018-sample", "csn-sample", "georgia-sample", "ptb-xl-subset/records100/00000")
    headers = [path for folder in folders for path in sorted((real_data / folder).glob("*.hea"))[:3]]
    contents = {path.stem: path.read_bytes() for path in headers}
    for path in headers:
        for signal in path.parent.glob(f"{path.stem}.[dm]at"):
            (tmp_path / signal.name).write_bytes(signal.read_bytes())

    def header(random: Random) -> tuple[str, bytes]:
        name = random.choice(sorted(contents))
        return name, mutated(random, contents[name])

    def check(example) -> str:
        name, content = example
        (tmp_path / f"{name}.hea").write_bytes(content)
        return used_or_refused(lambda: check_record(read_wfdb(tmp_path / name, verify_checksums=False)))

    fuzz(check, made_by(header), examples)


@amounts(20_000)
def test_headers_by_their_grammar(tmp_path, examples):
    def check(example) -> str:
        header, signal = example
        (tmp_path / "rec.hea").write_bytes(header)
        (tmp_path / "rec.dat").write_bytes(signal)
        seconds = (0.0, 0.01) if len(header) % 5 == 0 else None
        return used_or_refused(lambda: check_record(read_wfdb(tmp_path / "rec", seconds=seconds)))

    fuzz(check, made_by(wfdb_record), examples)


@amounts(20_000)
@pytest.mark.parametrize("format", WRITERS)
def test_mutated_clinic_files(tmp_path, format, examples):
    suffix, writer = WRITERS[format]
    counts = np.random.default_rng(0).integers(-900, 900, (3, 60))
    content = writer(tmp_path / f"whole{suffix}", counts, 2.5, 500, ("I", "II", "V1")).read_bytes()
    path = tmp_path / f"rec{suffix}"

    def check(changed: bytes) -> str:
        path.write_bytes(changed)
        return used_or_refused(lambda: check_record(read_record(path)))

    fuzz(check, made_by(lambda random: mutated(random, content)), examples)


@amounts(20_000, 60)
@pytest.mark.parametrize("kind", ["undefined lengths", "implicit", "encoded"])
def test_mutated_clinic_files_of_other_kinds(tmp_path, kind, examples):
    """DICOM with sequences up to a mark, or without representations; XML in an encoding with several bytes."""
    counts = np.random.default_rng(0).integers(-900, 900, (3, 60))
    path = tmp_path / "rec"
    if kind == "encoded":
        text = WRITERS["aECG"][1](path, counts, 2.5, 500, ("I", "II", "V1")).read_bytes().decode()
        content = text.replace("UTF-8", "GB2312").replace("Doe", "\u738b\u5c0f\u660e").encode("gb2312")
    else:
        group = dicom_group(counts, 2.5, 500, ("I", "II", "V1"))
        group["ChannelDefinitionSequence"].is_undefined_length = kind == "undefined lengths"
        syntax = ImplicitVRLittleEndian if kind == "implicit" else ExplicitVRLittleEndian
        content = save_dicom(path, [group], syntax).read_bytes()

    def check(changed: bytes) -> str:
        path.write_bytes(changed)
        return used_or_refused(lambda: check_record(read_record(path, ["I", "II"])))

    fuzz(check, made_by(lambda random: mutated(random, content)), examples)


@amounts(30_000)
def test_mutated_tables(tmp_path, examples):
    """CSV as spreadsheets, scripts and watches write it: no row vanishes from a table that is read."""
    path = tmp_path / "a.csv"

    def table(random: Random) -> tuple[bytes, bool]:
        content = random.choice(TABLES)
        return mutated(random, content), random.random() < 0.5

    def check(example) -> str:
        content, named = example
        path.write_bytes(content)
        lead_names = ["time", "I", "II"] if named else None

        def read() -> None:
            record = read_array_file(path, 500, "mV", lead_names)
            check_record(record)
            # A row is a line with a digit, or with a word for a missing sample; a header may have digits too.
            lines = [line for line in content.replace(b"\r", b"\n").split(b"\n") if line.strip(b" \t\0")]
            assert len(record.signal) == len(lines) or record.signal.shape[1] >= len(lines) - 12

        return used_or_refused(read)

    fuzz(check, made_by(table), examples)


@amounts(30_000)
def test_mutated_arrays(tmp_path, examples):
    path = tmp_path / "a.npy"
    contents = []
    for kind in ("<f8", ">i2", "<f4", "u1"):
        np.save(path, np.arange(60).reshape(2, 30).astype(kind))
        contents.append(path.read_bytes())

    def array(random: Random) -> bytes:
        content = random.choice(contents)
        header = mutated(random, content[:128]) if random.random() < 0.7 else content[:128]
        return header + usually(random, content[128:], (b"", content[129:], content[128:] * 2), 4)

    def check(content: bytes) -> str:
        path.write_bytes(content)
        return used_or_refused(lambda: check_record(read_array_file(path, 500, "uV", ["I", "II"])))

    fuzz(check, made_by(array), examples)


@amounts(12_000)
def test_records_in_the_layout_of_csn(tmp_path, examples):
    """From the corpus's reader to the row on disk and to the model's input."""
    header = "JS00001 2 500 1200\n" + "".join(f"JS00001.mat 16+24 1000/mV 16 0 0 {lead}\n" for lead in ("I", "V1"))
    header += "#Age: 85\n#Sex: Male\n#Dx: 164889003,59118001,164934002\n#Rx: Unknown\n#Hx: Unknown\n"
    row = CorpusRow(record_id="JS00001", path="JS00001", split="train")
    waves = bytes(24) + (500 * np.sin(np.arange(2400) / 40)).astype("<i2").tobytes()

    def files(random: Random) -> tuple[bytes, bytes]:
        content = bytearray(waves)
        for _ in range(random.choice((0, 0, 1, 2))):
            start = random.randrange(len(content) - 300)
            content[start : start + 300] = random.choice(
                (bytes(300), b"\0\x80" * 150, b"\xff\x7f" * 150, b"\xff" * 299)
            )
        return mutated(random, header.encode()), bytes(content)

    def check(example) -> str:
        (tmp_path / "JS00001.hea").write_bytes(example[0])
        (tmp_path / "JS00001.mat").write_bytes(example[1])
        record = read_snomed_row(tmp_path, row, {}, Counter())
        if isinstance(record, SkippedRecord):
            assert record.reason and "does not fit into memory" not in record.reason
            return "refused"
        check_record(record)
        assert record.age is None or 0 <= record.age <= 120
        assert record.sex in (None, "male", "female") and len(record.labels) == len(record.statements)
        used_or_refused(lambda: record_to_row(record))
        return used_or_refused(lambda: EXTRACTOR(record))

    fuzz(check, made_by(files), examples)


@amounts(28_000)
def test_inputs_of_the_feature_extractor(examples):
    def check(arguments) -> str:
        def extract() -> None:
            batch = EXTRACTOR(**arguments)
            values = np.asarray(batch["ecg_values"])
            assert values.shape[1:] == (12, 400) and values.dtype == np.float32 and np.isfinite(values).all()

        return used_or_refused(extract)

    fuzz(check, made_by(extractor_call), examples)


@amounts(5_000)
def test_inputs_of_the_encoder(examples):
    torch.manual_seed(0)
    config = CGDMERECGConfig(
        **{"sampling_rate": 32, "num_samples": 64, "patch_length": 8, "tokenizer_channels": 4, "hidden_size": 16},
        **{"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    )
    model = CGDMERECGModel(config).eval()

    def check(arguments) -> str:
        with torch.no_grad():
            return used_or_refused(lambda: model(**arguments))

    fuzz(check, made_by(lambda random: encoder_call(random, 2, 12, 64, 8)), examples)
