# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of the tiny and small presets, trained on the words of this package.

These are the words of simulated reports and of a list of ECG terms. All single characters are included, so any English
prompt can be written in subwords.
"""

import string
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from cgdmer.simulation.cohort import simulate_cohort
from cgdmer.simulation.conditions import CONDITIONS

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY_SIZE = 1500
LONGEST_TEXT = 256

# Words of real ECG reports that the simulated cohort lacks, so that they are not split into letters.
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


def _normalizer() -> normalizers.Normalizer:
    """Typographic signs and units to ASCII, which the vocabulary can spell; then lowercase."""
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


def report_tokenizer(kept: Path) -> PreTrainedTokenizerFast:
    """A lowercase WordPiece tokenizer in which every printable ASCII character has its own piece.

    Args:
        kept: the file of an existing tokenizer, used if it exists: the trainer breaks ties at random, and weights
            depend on the ids of the pieces.
    """
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(kept)) if kept.is_file() else _learn(),
        model_max_length=LONGEST_TEXT,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def _learn() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = _normalizer()
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
    return tokenizer
