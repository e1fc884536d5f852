# SPDX-License-Identifier: Apache-2.0
"""XML from strangers: no entities, nothing is fetched, and its size is bounded."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from .clinic_files import read_bytes
from .errors import RecordFileError, shown

_MOST_BYTES = 2**24  # nine minutes of twelve leads at 500 Hz; files of ten seconds have 100 to 700 kB
_MOST_ELEMENTS = 200_000  # including attributes


def parse_xml(path: Path) -> Element:
    """The root of an XML file, with names stripped of their namespaces.

    A document type (GE MUSE names one) is ignored and never fetched. Entities, which could expand a small file to
    gigabytes or name other files, are refused where they are declared.

    Raises:
        RecordFileError: the file is not well-formed XML, declares entities, or is too large.
    """
    content = read_bytes(path, _MOST_BYTES)
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

    parser = expat.ParserCreate(namespace_separator=" ")
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


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def child(element: Element, name: str) -> str | None:
    """The text of a child without surrounding blanks; None if there is none."""
    return (element.findtext(name) or "").strip() or None
