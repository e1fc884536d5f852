# SPDX-License-Identifier: Apache-2.0
"""Write hub_configs/: one folder a preset, a real Hub folder without weights.

    python tools/build_presets.py

The tokenizer of tiny and small is learnt from the words of this package: simulated reports, and a list of ECG terms.
Single characters are always in it, so that any English prompt can be written in sub-words.
"""

import json
import shutil
import string
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, PreTrainedConfig, PreTrainedTokenizerFast

from cgdmer import CGDMERConfig, CoReECGConfig, ECGFeatureExtractor, ECGProcessor, MERITConfig
from cgdmer.families import ecg_config_of
from cgdmer.simulation.cohort import simulate_cohort
from cgdmer.simulation.conditions import CONDITIONS

ROOT = Path(__file__).resolve().parent.parent
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY_SIZE = 1500
LONGEST_TEXT = 256

# Words of ECG reports beyond those of the simulated cohort, so that a corpus of real reports is not cut in letters.
TERMS = """
aberrant abnormal abnormality abnormalities accelerated accessory acute age amplitude aneurysm angle anterior
anterolateral anteroseptal apical arm arrest arrhythmia artefact artifact artificial ascending asystole atrial
atrium atrioventricular axis baseline beat beats biatrial bifascicular bigeminal bigeminy biphasic biventricular
block borderline bradycardia brugada branch bundle capture cardiac cardiomyopathy chronic clockwise complete
complex complexes conduction consider consistent contraction contractions coronary coupled couplet criteria degree
delay delta depression deviation diagnostic digitalis disease disturbance dissociation drug dual early ecg ectopic
effect elevated elevation electrolyte enlargement escape evidence extrasystole extreme fascicular fibrillation flat
flattened flattening flutter former frequent frontal high horizontal hypercalcemia hyperkalemia hypertrophy
hypocalcemia hypokalemia hypothermia idioventricular incomplete indeterminate infarct infarction inferior
inferolateral inferoposterior inferoposterolateral inferoseptal injury intermittent interval intraatrial
intraventricular inverted inversion ischemia ischemic ischaemia ischaemic isolated junctional lateral lead leads
left limb long low malposition marked mild minor mobitz mitrale monomorphic multifocal multiple myocardial
myocarditis narrow negative nodal nonspecific normal notched occasional old origin overload pacemaker paced pacing
pattern paroxysmal partial pathological pathology pause peaked pericarditis poor positive possible posterior
postinfarction preexcitation precordial premature probable progression prolonged pulmonary pulmonale qrs qt qtc
qwave rapid rate reciprocal regular repolarization repolarisation response reversal rhythm right rotation secondary
segment segments septal severe sharp short shortened sick sinoatrial sinus slight slow specific st standstill
strain subendocardial supraventricular suspected symmetric tachycardia tachycardic tall terminal torsade transmural
trigeminal trigeminy u undetermined unifocal unknown unspecific upright upsloping variable vector ventricle
ventricular voltage voltages wandering wave waves wenckebach wide widened wolff parkinson white first second third
one two three and or not no with without of the in to is are be may suggest suggests due cannot ruled out male
female year patient recorded compared previous tracing unchanged new likely unlikely
"""


def text_normalizer() -> normalizers.Normalizer:
    """Signs of typography and of measurement as ASCII, which the vocabulary spells; then lower case."""
    signs: dict[str | Regex, str] = {
        Regex("[\u2010-\u2015\u2044\u2212]"): "-",
        Regex("[\u2018\u2019\u2032]"): "'",
        Regex("[\u201c\u201d\u2033]"): '"',
        "\u2265": ">=",
        "\u2264": "<=",
        "\u03bc": "u",
        "\u00b0": " degrees",
    }
    replacements = [normalizers.Replace(sign, spelled) for sign, spelled in signs.items()]
    return normalizers.Sequence([normalizers.NFKC(), *replacements, normalizers.BertNormalizer(lowercase=True)])


def report_tokenizer() -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer in which every printable ASCII character has its own piece."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = text_normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = [record.text or "" for record in simulate_cohort(3000, seed=0, sampling_rate=100)]
    texts += [condition.name for condition in CONDITIONS.values()]
    texts += TERMS.split() * 20
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=SPECIAL_TOKENS, show_progress=False, min_frequency=5
    )
    tokenizer.train_from_iterator(texts, trainer)
    numbers = tokenizer.get_vocab()
    pieces = sorted(numbers, key=lambda piece: numbers[piece])
    characters = string.ascii_lowercase + string.digits + string.punctuation
    for piece in [*characters, *(f"##{character}" for character in string.ascii_lowercase + string.digits)]:
        if piece not in pieces:
            pieces.append(piece)
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LONGEST_TEXT,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def small_ecg_options(width: int, layers: int, heads: int) -> dict[str, Any]:
    """10 s at 100 Hz, 12 x 25 patches of 0.4 s: for a few thousand to a hundred thousand records."""
    return {
        "sampling_rate": 100,
        "num_samples": 1000,
        "patch_length": 40,
        "tokenizer_channels": 16,
        "tokenizer_stride": 4,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        # Per-patch normalisation would reward features without amplitude.
        "normalize_patches": False,
        "decoder_hidden_size": width // 2,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": heads,
        "decoder_intermediate_size": width,
    }


def small_text_options(tokenizer: PreTrainedTokenizerFast, width: int, heads: int) -> dict[str, Any]:
    """A text tower of two layers, and heads as wide."""
    return {
        "text_config": BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=heads,
            intermediate_size=2 * width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=width**-0.5,
            max_position_embeddings=LONGEST_TEXT,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        "text_pooling": "mean",
        "projection_hidden_size": width,
        "projection_size": width,
    }


def small_configuration(tokenizer: PreTrainedTokenizerFast, width: int, layers: int, heads: int) -> CGDMERConfig:
    """CG-DMER for a few thousand to a hundred thousand pairs."""
    return CGDMERConfig(
        ecg_config=small_ecg_options(width, layers, heads) | {"mask_ratio": 0.7},
        mask_token_id=tokenizer.mask_token_id,
        text_decoder_num_hidden_layers=1,
        contrast_view="masked_ecg",
        # With weights of 1 the other losses slow the alignment down several times at this size.
        ecg_reconstruction_loss_weight=0.02,
        text_reconstruction_loss_weight=0.02,
        orthogonality_loss_weight=0.1,
        siglip_loss_weight=0.005,
        # In a small batch many texts fit many ECGs: a milder start than one match in a thousand.
        siglip_initial_bias=-2.0,
        **small_text_options(tokenizer, width, heads),
    )


def tiny_coreecg() -> CoReECGConfig:
    """At 100 Hz the spectrum ends at 50 Hz: with 0.5 to 40 Hz protected there would be little to learn."""
    return CoReECGConfig(
        **small_ecg_options(128, 4, 4), projection_hidden_size=128, projection_size=128, protected_to_hz=20.0
    )


def tiny_merit(tokenizer: PreTrainedTokenizerFast) -> MERITConfig:
    """The weight of reconstruction is that of cgdmer-tiny."""
    return MERITConfig(
        ecg_config=small_ecg_options(128, 4, 4) | {"mask_ratio": 0.7},
        ecg_reconstruction_loss_weight=0.02,
        **small_text_options(tokenizer, 128, 4),
    )


def write_preset(name: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast | None) -> None:
    folder, ecg_config = ROOT / "hub_configs" / name, ecg_config_of(config)
    shutil.rmtree(folder, ignore_errors=True)
    config.save_pretrained(folder)
    extractor = ECGFeatureExtractor(
        sampling_rate=ecg_config.sampling_rate,
        num_samples=ecg_config.num_samples,
        patch_length=ecg_config.patch_length,
        normalization="centered",  # recordings have offsets of millivolts, which would decide the scores
    )
    if tokenizer is not None:
        ECGProcessor(extractor, tokenizer).save_pretrained(folder)
    else:
        extractor.save_pretrained(folder)
    # A preset has no weights, and so no need of the code that loads them without this package.
    for path in folder.glob("*.py"):
        path.unlink()
    for path in folder.glob("*_config.json"):
        entries = json.loads(path.read_text())
        for part in (entries, entries.get("feature_extractor", {})):
            part.pop("auto_map", None)
        path.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")


def main() -> None:
    tokenizer = report_tokenizer()
    write_preset("cgdmer-tiny", small_configuration(tokenizer, width=128, layers=4, heads=4), tokenizer)
    write_preset("cgdmer-small", small_configuration(tokenizer, width=256, layers=6, heads=4), tokenizer)
    write_preset("cgdmer-base", CGDMERConfig(text_model_name="ncbi/MedCPT-Query-Encoder"), None)
    write_preset("coreecg-tiny", tiny_coreecg(), None)
    write_preset("coreecg-base", CoReECGConfig(), None)
    write_preset("merit-tiny", tiny_merit(tokenizer), tokenizer)
    write_preset("merit-base", MERITConfig(text_model_name="ncbi/MedCPT-Query-Encoder"), None)
    for name in sorted(path.name for path in (ROOT / "hub_configs").iterdir()):
        print(name, json.dumps(sorted(path.name for path in (ROOT / "hub_configs" / name).iterdir())))


if __name__ == "__main__":
    main()
