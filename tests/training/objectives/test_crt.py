# SPDX-License-Identifier: Apache-2.0
"""CRT against a reference written here, and on several processes."""

import cmath
import math

import pytest
import torch
from batches import assert_absent_places_have_no_part, batch_for
from in_processes import objective_on, step

from cgdmer.models.errors import ConfigurationError
from cgdmer.training.objectives.crt import Places, discrimination, in_both_domains
from models.tiny import NUM_LEADS, NUM_PATCHES, NUM_SAMPLES, PATCH_LENGTH

BANDS = NUM_PATCHES // 2


def lowest(numbers: list[float], count: int) -> list[int]:
    return sorted(sorted(range(len(numbers)), key=lambda place: numbers[place])[:count])


def spectrum(signal_LT: torch.Tensor) -> list[list[list[float]]]:
    """For magnitude and phase, each band: its values, lead by lead. By the definition of the Fourier transform."""
    parts: list[list[list[float]]] = [[[] for _ in range(BANDS)] for _ in range(2)]
    for lead in signal_LT.tolist():
        for wave in range(BANDS * PATCH_LENGTH):
            turns = [value * cmath.exp(-2j * math.pi * wave * now / NUM_SAMPLES) for now, value in enumerate(lead)]
            number = sum(turns) / math.sqrt(NUM_SAMPLES)
            parts[0][wave // PATCH_LENGTH].append(math.log(1 + abs(number)))
            parts[1][wave // PATCH_LENGTH].append(cmath.phase(number) / math.pi)
    return parts


@torch.no_grad()
def reference(objective, values_LT: torch.Tensor, noise_LN: torch.Tensor, dropped: float) -> dict[str, float]:
    """The losses of one complete record."""
    columns = lowest([float(noise_LN[:, column].sum() % 1) for column in range(NUM_PATCHES)], int(8 * dropped))
    bands = lowest([float(number * 4096 % 1) for number in noise_LN[0, :BANDS]], int(4 * dropped))
    time = [(lead, column) for lead in range(NUM_LEADS) for column in range(NUM_PATCHES)]
    signal = values_LT / (values_LT.square().mean() + 1e-6).sqrt()
    parts = [torch.tensor(part, dtype=torch.float64) for part in spectrum(signal)]
    shown_time, hidden_time = ([each for each in time if (each[1] in columns) is hidden] for hidden in (False, True))
    shown_bands = [band for band in range(BANDS) if band not in bands]

    everything = objective.model.tokenizer(values_LT[None])[0]
    tokens = [everything[lead * NUM_PATCHES + column] for lead, column in shown_time]
    where = [objective.lead_embedding[lead] + objective.time_embedding[column] for lead, column in shown_time]
    asked = [objective.lead_embedding[lead] + objective.time_embedding[column] for lead, column in hidden_time]
    for number in range(2):
        for band in shown_bands:
            content = objective.tokenizers[number](parts[number][band])
            tokens.append(content + objective.bands_of_encoder[number, band])
            where.append(objective.bands_of_decoder[number, band])
        asked += [objective.bands_of_decoder[number, band] for band in bands]
    encoded = torch.stack(tokens)[None]
    for layer in objective.model.layers:
        encoded = layer(encoded)
    encoded = objective.model.norm(encoded)
    shown = objective.embedding(encoded) + torch.stack(where)
    queries = torch.stack(asked)[None] + objective.mask_token
    for layer in objective.layers:
        queries = layer(queries, shown, None)
    patches = signal.unflatten(1, (NUM_PATCHES, PATCH_LENGTH))
    targets = {
        "time": ([patches[place] for place in shown_time], [patches[place] for place in hidden_time]),
        "magnitude": (parts[0][shown_bands], parts[0][bands]),
        "phase": (parts[1][shown_bands], parts[1][bands]),
    }
    losses, starts = {}, [0, 0]
    for restore, (name, groups) in zip(objective.restore, targets.items(), strict=True):
        errors = []
        for number, (group, source) in enumerate(zip(groups, (shown, queries), strict=True)):
            for row, target in enumerate(group, starts[number]):
                errors += (restore(objective.norm(source[0, row])) - target).square().tolist()
            starts[number] += len(group)
        losses[name] = sum(errors) / len(errors)
    losses["discrimination"] = discrimination_of(objective.before(torch.stack(tokens)), objective.after(encoded[0]))
    return losses


def discrimination_of(before: torch.Tensor, after: torch.Tensor) -> float:
    total = 0.0
    for i, one in enumerate(before):
        for j, other in enumerate(after):
            if i != j:
                total += math.exp(float(one @ other / one.norm() / other.norm()))
    return math.log(total)


@pytest.mark.parametrize(("progress", "dropped"), [(0.0, 0.3), (0.5, 0.5), (1.0, 0.8)])
def test_crt_restores_all_patches_in_three_domains(progress, dropped):
    objective, batch = objective_on("crt"), batch_for("crt", records=2)
    objective.progress = progress
    of_each = [
        reference(objective, *record, dropped) for record in zip(batch["ecg_values"], batch["noise"], strict=True)
    ]
    found = step(objective, batch)["losses"]
    expected = {name: (of_each[0][name] + of_each[1][name]) / 2 for name in of_each[0]}
    for name, value in expected.items():
        torch.testing.assert_close(float(found[f"{name}_loss"]), value)
    total = expected["time"] / 2 + expected["magnitude"] / 4 + expected["phase"] / 4
    torch.testing.assert_close(float(found["loss"]), total + 1e-4 * expected["discrimination"])


def test_tokens_do_not_depend_on_what_is_hidden():
    objective, batch = objective_on("crt"), batch_for("crt", records=1)
    values, noise = batch["ecg_values"], batch["noise"]
    present = torch.ones(1, NUM_LEADS, NUM_PATCHES, dtype=torch.bool)
    places = Places(noise, present, BANDS, 0.5)
    _, parts = in_both_domains(values, present, BANDS)
    before = objective.shown_tokens(values, parts, places)
    for column in lowest([float(noise[0, :, column].sum() % 1) for column in range(NUM_PATCHES)], 4):
        values[..., column * PATCH_LENGTH : (column + 1) * PATCH_LENGTH] += 1.0
    parts[:, :, lowest([float(number * 4096 % 1) for number in noise[0, 0, :BANDS]], 2)] += 1.0
    torch.testing.assert_close(objective.shown_tokens(values, parts, places), before)
    assert not torch.allclose(objective.shown_tokens(values + 1.0, parts, places), before)


def test_discrimination_leaves_out_padding():
    before, after = torch.randn(2, 1, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    valid = torch.tensor([[True, True, False, True, True]])
    expected = discrimination_of(before[0, valid[0]], after[0, valid[0]])
    torch.testing.assert_close(float(discrimination(before, after, valid)), expected)


def test_records_with_absent_leads_and_ends_count_like_others():
    assert_absent_places_have_no_part(objective_on("crt"), batch_for("crt", records=3))


@pytest.mark.parametrize("encoder", ["vit", "resnet"])
def test_an_encoder_without_tokens_per_lead_is_refused(encoder):
    with pytest.raises(ConfigurationError, match="CRT hides tokens"):
        objective_on("crt", encoder)
