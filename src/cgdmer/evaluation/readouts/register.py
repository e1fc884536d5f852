# SPDX-License-Identifier: Apache-2.0
"""All readouts by name, in the order of their measures in results. A new one is a line here and a file beside."""

from collections.abc import Sequence

from cgdmer.evaluation.arguments import ProbedFeature
from cgdmer.evaluation.readouts.attention import Attention
from cgdmer.evaluation.readouts.mean import Mean
from cgdmer.evaluation.readouts.nearest_neighbors import NearestNeighbors
from cgdmer.evaluation.readouts.per_lead import PerLead
from cgdmer.evaluation.readouts.readout import Readout
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_base import ECGPreTrainedModel

READOUTS: dict[str, type[Readout]] = {
    "mean": Mean,
    "per_lead": PerLead,
    "knn": NearestNeighbors,
    "attention": Attention,
}


def choose_readouts(
    names: Sequence[str],
    model: ECGPreTrainedModel,
    probed_feature: ProbedFeature,
    protocol: str,
    fractions: Sequence[float],
) -> tuple[list[Readout], dict[str, str]]:
    """The readouts that a model allows, and why others are left out.

    Args:
        fractions: shares of the training records.

    Raises:
        ConfigurationError: a readout is unknown, is not part of the protocol, or all are left out and nothing else
            can be measured.
    """
    if unknown := [name for name in names if name not in READOUTS]:
        raise ConfigurationError(f"there is no readout {unknown[0]!r}. Readouts: {', '.join(READOUTS)}.")
    if protocol == "as_published" and set(names) - {"mean"}:
        raise ConfigurationError("the protocol as_published has a probe of its own: leave out other readouts.")
    asked = {name: readout(probed_feature) for name, readout in READOUTS.items() if name in names}
    left_out = {name: why for name, readout in asked.items() if (why := readout.why_not(model))}
    if 1 not in fractions:
        left_out |= {name: "it is for all training records" for name, one in asked.items() if not one.repeated}
    if not (model.takes_texts or model.classifies or asked.keys() - left_out.keys()):
        reasons = "; ".join(f"{name}, because {why}" for name, why in left_out.items()) or "a readout"
        raise ConfigurationError(f"there is nothing to measure without {reasons}. Readouts: {', '.join(READOUTS)}.")
    return [readout for name, readout in asked.items() if name not in left_out], left_out
