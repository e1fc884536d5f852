# SPDX-License-Identifier: Apache-2.0
"""XML from strangers: no entities, nothing is fetched, and its size is bounded."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from .clinic_files import read_bytes
from .errors import RecordFileError, shown

_MOST_BYTES = 2**24  # nine minutes of twelve leads at 500 Hz; files of ten seconds have 100 to 700 kB
_MOST_ELEMENTS = 200_000  # including attributes
# Encodings with several bytes per character, which expat does not know; newer ones include the older. No other codec
# of Python is used on a file: some decompress.
_ENCODINGS = {
    **dict.fromkeys(("gb2312", "gb231280", "csgb2312", "gbk", "cp936", "windows936", "gb18030"), "gb18030"),
    **dict.fromkeys(("shiftjis", "sjis", "xsjis", "mskanji", "windows31j", "cp932"), "cp932"),
    **dict.fromkeys(("big5", "cnbig5", "csbig5", "cp950", "big5hkscs"), "big5hkscs"),
    **dict.fromkeys(("euckr", "ksc56011987", "cp949", "windows949"), "cp949"),
    **{"eucjp": "euc_jp", "iso2022jp": "iso2022_jp", "iso2022kr": "iso2022_kr"},
}
# Those that expat reads by itself or by a table of 256 characters.
_SIMPLE_ENCODINGS = re.compile(
    r"|utf8|utf16(le|be)?|(us)?ascii|iso8859[0-9]{1,2}|latin[0-9]|(windows|cp)[0-9]{3,4}|koi8[rut]|mac[a-z]+|tis620"
)
_DECLARED = re.compile(rb"""<\?xml\s[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


def parse_xml(path: Path) -> Element:
    """The root of an XML file, with names stripped of their namespaces.

    A document type (GE MUSE names one) is ignored and never fetched. Entities, which could expand a small file to
    gigabytes or name other files, are refused where they are declared.

    Raises:
        RecordFileError: the file is not well-formed XML, declares entities, or is too large.
    """
    content, encoding = _as_utf8(path, read_bytes(path, _MOST_BYTES))
    builder = TreeBuilder()
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1 + len(attributes)
        if count > _MOST_ELEMENTS:
            raise RecordFileError(f"{path}: it has more than {_MOST_ELEMENTS} XML elements, which no ECG needs.")
        builder.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def refuse_entity(name: str, *_: object) -> None:
        raise RecordFileError(
            f"{path}: it declares the XML entity {shown(name)}, which no ECG needs. Export the recording without it."
        )

    parser = expat.ParserCreate(encoding, namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: builder.end(_local(name))
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse_entity
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # LookupError, ValueError: from its encoding
        raise RecordFileError(f"{path} is damaged XML: {error}. Export the recording again.") from error
    return builder.close()


def _as_utf8(path: Path, content: bytes) -> tuple[bytes, str | None]:
    """The content, and the encoding that it has by now, whatever it declares; None if expat reads it as it is."""
    declared = _DECLARED.match(content[:300].lstrip())
    name = declared[1].decode("ascii").lower() if declared else ""
    name = re.sub("[._-]", "", name)
    codec = _ENCODINGS.get(name)
    if codec is None:
        if not _SIMPLE_ENCODINGS.fullmatch(name):
            raise RecordFileError(
                f"{path} is damaged XML: no known encoding is {name!r}. Export the recording as UTF-8."
            )
        return content, None
    try:
        return content.decode(codec).encode("utf-8"), "utf-8"
    except UnicodeError as error:
        raise RecordFileError(f"{path} is damaged XML: {error}. Export the recording again.") from error


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def child(element: Element, name: str) -> str | None:
    """The text of a child without surrounding blanks; None if there is none."""
    return (element.findtext(name) or "").strip() or None
