# SPDX-License-Identifier: Apache-2.0
"""Files from elsewhere are read only up to a size, and never block."""

import os

import pytest

from cgdmer.files.reading import failing_as, parse_json, read_bytes, read_json, read_json_object, read_text
from cgdmer.models.errors import ConfigurationError, CorpusError


def test_a_file_of_the_largest_size_is_read_and_a_larger_one_is_not(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345678")
    assert read_bytes(path, 8) == b"12345678"
    with pytest.raises(ValueError, match="larger than 7 bytes"):
        read_bytes(path, 7)
    os.truncate(path, 2**40)  # sparse on the disk: none of it may be read into memory
    for read in (read_text, read_json, read_json_object):
        with pytest.raises(ValueError, match="larger than"):
            read(path)


@pytest.mark.parametrize("read", [read_text, read_json, read_json_object])
def test_only_regular_files_are_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="not a regular file"):
            read(path)


def test_text_with_and_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "file"
    for content in (b"caf\xc3\xa9", b"\xef\xbb\xbfcaf\xc3\xa9"):
        path.write_bytes(content)
        assert read_text(path) == "caf\u00e9"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(UnicodeDecodeError):
        read_text(path)
    assert read_text(path, errors="replace") == "caf\ufffd"


@pytest.mark.parametrize(("depth", "is_read"), [(99, True), (100, False), (5_000, False), (10**6, False)])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth(opening, closing, depth, is_read):
    depth = depth // 2 if len(opening) == 6 else depth
    content = (opening * depth + "1" + closing * depth).encode()
    if is_read:
        parse_json(content)
    else:
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(content)


@pytest.mark.parametrize("content", [b"", b"{", b"\0", b"\xff\xfe{", b'{"a": 1} 2', b"1" * 10_000])
def test_invalid_json_is_a_value_error(content):
    with pytest.raises(ValueError):
        parse_json(content)


def test_an_object_is_required(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("[1]")
    assert read_json(path) == [1]
    with pytest.raises(ValueError, match="not a JSON object"):
        read_json_object(path)
    path.write_text('{"a": 1}')
    assert read_json_object(path) == {"a": 1}


@pytest.mark.parametrize("error_class", [CorpusError, ConfigurationError])
def test_errors_name_the_file_and_what_to_do(tmp_path, error_class):
    (tmp_path / "text").write_bytes(b"\xff")
    messages = {
        "absent": "does not exist",
        "text": "is not UTF-8 text",
        "text/file": "does not exist",
        "a\0b": "cannot be",
    }
    for name, words in messages.items():
        path = tmp_path / name
        with pytest.raises(error_class) as error, failing_as(error_class, path, "Fetch it again."):
            read_text(path)
        assert str(path) in str(error.value) and words in str(error.value)
        assert str(error.value).endswith("Fetch it again.")
