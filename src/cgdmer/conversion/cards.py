# SPDX-License-Identifier: Apache-2.0
"""The card of a converted model: whose it is, what its license is, and what it has seen."""

from huggingface_hub import ModelCardData

from cgdmer.about import RESEARCH_USE_ONLY, __version__
from cgdmer.conversion.kind import Kind

_NON_COMMERCIAL = "> **Not for commercial use.** The license of these weights forbids it.\n\n"


def card_text(name: str, kind: Kind) -> str:
    source = kind.source
    known = source.license if source.license != "unknown" else None
    data = ModelCardData(
        language="en", library_name="transformers", license=known, tags=["ecg", "electrocardiogram", "converted"]
    )
    seen = "None that `cgdmer` is known to read."
    if source.seen:
        listed = ", ".join(source.seen)
        seen = f"{listed}. Results on them are in-domain, and test records may have been seen in training."
    notes = "".join(f"\n- {note}" for note in source.notes)
    return f"""---
{data.to_yaml()}
---

# {source.name}

{_NON_COMMERCIAL if "-nc" in source.license else ""}These weights are the work of the authors of {source.paper}. They
were converted by `cgdmer convert {name}` (cgdmer {__version__}) and are unchanged but for the names of tensors. The
network and what enters it were written again from its description.

- Where the file is from: {source.where}
- License: {source.license_note}
- Pretrained on: {source.corpora}
- Corpora of `cgdmer prepare` among them: {seen}{notes}

{RESEARCH_USE_ONLY}
"""
