# SPDX-License-Identifier: Apache-2.0
"""The command `cgdmer`: its arguments, and how it ends. What each command does: `cgdmer.commands`."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cgdmer import commands
from cgdmer.models.errors import CGDMERError
from cgdmer.presets import model_source

EXAMPLES = """\
examples:
  cgdmer demo --output_dir demo
  cgdmer prepare ptb-xl RAW_DIR ptbxl
  cgdmer evaluate MODEL --dataset ptbxl --tasks ptbxl-super
  cgdmer classify RECORD --labels "atrial fibrillation" "normal ECG"
  cgdmer explain RECORD --label "atrial fibrillation" --output relevance.png
  cgdmer score FOLDER scores.parquet --labels "atrial fibrillation" "normal ECG"
  cgdmer search ptbxl "atrial fibrillation with fast ventricular response"
  cgdmer plot RECORD ecg.png
  cgdmer export MODEL model.onnx --labels "atrial fibrillation" "normal ECG"
  cgdmer app
pretraining has its own door:
  accelerate launch -m cgdmer.pretrain --config_name cgdmer-tiny --dataset ptbxl --output_dir run
"""


class _Separated(argparse.Action):
    """Several values with blanks between, as in `--leads I II`, or with commas."""

    def __call__(self, parser, namespace, values, option_string=None):
        names = [name for value in values for name in value.replace(",", " ").split()]
        setattr(namespace, self.dest, names)


_LEADS: dict[str, Any] = {
    "nargs": "+",
    "action": _Separated,
    "metavar": "LEAD",
    "help": "those of the twelve leads to use (default: all channels, which must be leads)",
}
_RECORD = "a WFDB record, with or without .hea; or a file in DICOM, HL7 aECG, GE MUSE XML or EDF"
_MODEL: dict[str, Any] = {
    "type": model_source,
    "help": "a pretrained model's folder or Hub id, or cgdmer-tiny-ptbxl, which the package brings",
}
_MODEL_THAT_COMES: dict[str, Any] = {
    "type": model_source,
    "help": "a pretrained model's folder or Hub id (default: cgdmer-tiny-ptbxl, which the package brings)",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgdmer",
        description="ECG foundation models: pretrain, evaluate, classify. Research use only. Not a medical device.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], dict[str, Any] | None], help: str, description: str):
        one = subparsers.add_parser(
            name, help=help, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        one.set_defaults(run=run)
        one.add_argument("--json", action="store_true", help="print the answer as JSON, for another program")
        return one

    demo = command(
        "demo",
        commands.demo,
        "the whole story on simulated patients, in a few minutes",
        "Simulates patients, pretrains the tiny preset on their ECGs and reports, measures zero-shot classification\n"
        "on unseen patients beside an untrained model, saves, loads again, classifies one record and draws it.",
    )
    demo.add_argument("--output_dir", required=True, help="a new or empty folder")
    demo.add_argument("--num_patients", type=int, default=None, help="simulated patients (default: 2500)")
    demo.add_argument("--num_train_epochs", type=int, default=None, help="default: 12")
    demo.add_argument("--seed", type=int, default=0)

    prepare = command(
        "prepare",
        commands.prepare,
        "turn a raw corpus into a dataset folder",
        "Reads every record of a corpus, checks it, and writes a `datasets` folder with the splits train, validation\n"
        "and test. Records that cannot be read are left out and listed with the reason in skipped.csv.\n"
        "After Ctrl-C or a kill the same command continues from what is finished, in OUTPUT_DIR.partial.",
    )
    prepare.add_argument("corpus", choices=["mimic-iv-ecg", "ptb-xl", "cpsc2018", "csn", "wfdb-folder"])
    prepare.add_argument("raw_dir", help="the corpus as downloaded (for PTB-XL: the folder of ptbxl_database.csv)")
    prepare.add_argument("output_dir", help="a new or empty folder")
    prepare.add_argument("--download", action="store_true", help="first fetch what RAW_DIR lacks from PhysioNet")
    prepare.add_argument("--num_proc", type=int, default=1, help="how many processes read and write (default: 1)")
    prepare.add_argument(
        "--sampling_rate",
        type=int,
        help="ptb-xl: which files to read, 100 (default) or 500 Hz; others: resample to this rate (default: keep)",
    )
    prepare.add_argument("--min_words", type=int, help="mimic-iv-ecg: leave shorter reports out (default: 4)")
    prepare.add_argument("--table", help="wfdb-folder: a CSV table of the records, with their texts and labels")

    finetune = command(
        "finetune",
        commands.finetune,
        "train a classifier on the labels of a dataset",
        "Trains the ECG encoder of MODEL with a linear classifier, one sigmoid a label, and saves a folder that\n"
        'pipeline("ecg-classification", model=OUTPUT_DIR) loads.',
    )
    finetune.add_argument(
        "model", type=model_source, help="a pretrained model's folder or Hub id, or cgdmer-tiny-ptbxl"
    )
    finetune.add_argument("--dataset", required=True, help="folder written by `cgdmer prepare`")
    finetune.add_argument("--output_dir", required=True)
    finetune.add_argument("--labels", nargs="+", help="labels to train on (default: all with ten training records)")
    finetune.add_argument("--freeze_encoder", action="store_true", help="train the classifier alone: a linear probe")
    finetune.add_argument("--num_train_epochs", type=int, default=10)
    finetune.add_argument("--learning_rate", type=float, default=3e-4)
    finetune.add_argument("--per_device_train_batch_size", type=int, default=64)
    finetune.add_argument("--weight_decay", type=float, default=0.01)
    finetune.add_argument("--seed", type=int, default=0)

    evaluate = command(
        "evaluate",
        commands.evaluate,
        "zero-shot classification and linear probing, with confidence intervals",
        "Measures MODEL on the test split, beside the same model with random weights. Nothing is chosen on the test\n"
        "records. In-domain when the model was pretrained on the same corpus: say so when you quote the figures.",
    )
    evaluate.add_argument(
        "model", type=model_source, help="a pretrained model's folder or Hub id, or cgdmer-tiny-ptbxl"
    )
    evaluate.add_argument("--dataset", required=True, help="folder written by `cgdmer prepare`")
    evaluate.add_argument(
        "--tasks",
        nargs="+",
        default=["ptbxl-super"],
        help="ptbxl-{super,sub,form,rhythm,all}, cpsc2018, csn, simulated",
    )
    evaluate.add_argument("--prompts", default="ensemble", help="name, description, ensemble, or a JSON file")
    evaluate.add_argument(
        "--protocol",
        default="repaired",
        choices=["repaired", "as_published"],
        help="as_published repeats known defects, for figures beside those of papers",
    )
    evaluate.add_argument("--splits", metavar="DIR", help="split files in the MERL layout, instead of the dataset's")
    evaluate.add_argument("--test_splits", nargs="+", default=["test"], help="splits to test on, pooled")
    evaluate.add_argument("--skip_linear_probe", action="store_true", help="zero-shot alone")
    evaluate.add_argument(
        "--probed_feature",
        default="pooled",
        choices=["pooled", "embeds"],
        help="what linear probes see: the encoder's feature, or the vector that is compared with texts",
    )
    evaluate.add_argument("--shots", nargs="+", type=int, default=[], help="also probes on so many records a class")
    evaluate.add_argument("--robustness", action="store_true", help="also with fewer leads, lower rates, noise")
    evaluate.add_argument(
        "--report_retrieval",
        action="store_true",
        help="also: the training report nearest to each test ECG, by ROUGE against the ECG's own",
    )
    evaluate.add_argument("--allow_overlap", action="store_true", help="although the model saw some test records")
    evaluate.add_argument("--cache_dir", help="keep embeddings there, and take those that are there")
    evaluate.add_argument("--output_dir", help="write results, a report and figures there, a folder a task")
    evaluate.add_argument("--seed", type=int, default=0)

    push = command(
        "push",
        commands.push,
        "publish a model on the Hugging Face Hub",
        "Uploads as one commit the weights, configuration, processor, tokenizer, the code that loads them without\n"
        "this package, and a model card with the results. The folder is loaded before anything is sent.\n"
        "Log in first with `hf auth login`, or set HF_TOKEN to a token that may write.",
    )
    push.add_argument("model", type=model_source, help="a model's folder")
    push.add_argument("repository", help="org/name on the Hub; made if it is not there")
    push.add_argument(
        "--results", nargs="+", metavar="DIR", default=[], help="folders that `cgdmer evaluate --output_dir` wrote"
    )
    push.add_argument(
        "--benchmark", metavar="ORG/DATASET", help="a benchmark dataset on the Hub that lists the tasks of the results"
    )
    push.add_argument(
        "--license", help="of the weights, e.g. cc-by-4.0 (default: the card says that it is not stated)"
    )
    push.add_argument("--private", action="store_true", help="make the repository private, if it is made")
    push.add_argument("--revision", metavar="BRANCH", help="push to this branch (default: main)")
    push.add_argument("--commit_message", default="Upload model", help="default: %(default)s")

    compare = command(
        "compare",
        commands.compare,
        "two evaluations of the same records, with a paired bootstrap",
        "By how much the macro AUROC of the first exceeds that of the second: both are folders of one task that\n"
        "`cgdmer evaluate --output_dir` wrote, for the same task, protocol and test records.",
    )
    compare.add_argument("first", help="e.g. OUT_A/ptbxl-super")
    compare.add_argument("second", help="e.g. OUT_B/ptbxl-super")
    compare.add_argument("--seed", type=int, default=0, help="of the bootstrap")

    classify = command(
        "classify",
        commands.classify,
        "score findings in free text for one recording",
        "Scores every label for the recording, each by itself. Research use only. Not a medical device.",
    )
    classify.add_argument("record", help=_RECORD)
    classify.add_argument("--leads", **_LEADS)
    classify.add_argument("--model", **_MODEL_THAT_COMES)
    classify.add_argument("--labels", nargs="+", required=True, help='e.g. "atrial fibrillation" "normal ECG"')
    classify.add_argument("--exclusive", action="store_true", help="the labels exclude each other: scores add to one")
    classify.add_argument("--plot", metavar="PNG", help="also draw the recording with the scores")

    explain = command(
        "explain",
        commands.explain,
        "which leads and moments a score comes from",
        "Relevance of each lead and patch for the score of LABEL (integrated gradients), how far occlusion agrees,\n"
        "and a picture on ECG paper. A recording longer than the model's window is explained where its score is\n"
        "highest. --json prints all figures. Research use only. Not a medical device.",
    )
    explain.add_argument("record", help=_RECORD)
    explain.add_argument("--leads", **_LEADS)
    explain.add_argument("--label", required=True, help='e.g. "premature ventricular beats"')
    explain.add_argument(
        "--model", type=model_source, help="a pretrained model's folder or Hub id (default: cgdmer-tiny-ptbxl)"
    )
    explain.add_argument("--output", metavar="PNG", default="relevance.png", help="default: %(default)s")

    app = command(
        "app",
        commands.app,
        "a web page for one recording: scores, the ECG on paper, relevance",
        "Serves a page on this machine until Ctrl-C: drop a recording, or choose a simulated example;\n"
        'edit the findings; see scores and where they come from. Needs Gradio: pip install "cgdmer[app]".\n'
        "Research use only. Not a medical device.",
    )
    app.add_argument(
        "--model", type=model_source, help="a pretrained model's folder or Hub id (default: cgdmer-tiny-ptbxl)"
    )
    app.add_argument("--port", type=int, help="default: the first free one from 7860 on")

    score = command(
        "score",
        commands.score,
        "score findings in free text for every recording of a folder",
        "Writes a Parquet file with a row a record: record_id, a column of scores for each label, and error for one\n"
        "that could not be read. After Ctrl-C or a kill the same command goes on from what is finished, in\n"
        "OUT.parquet.partial. Research use only. Not a medical device.",
    )
    score.add_argument("source", help="a folder with recordings, or a dataset written by `cgdmer prepare`")
    score.add_argument("output", metavar="OUT.parquet", help="a new file")
    given = score.add_mutually_exclusive_group(required=True)
    given.add_argument("--labels", nargs="+", help='e.g. "atrial fibrillation" "normal ECG"')
    given.add_argument("--labels_file", help="a text file with a label a line")
    score.add_argument(
        "--model", type=model_source, help="a pretrained model's folder or Hub id (default: cgdmer-tiny-ptbxl)"
    )
    score.add_argument("--split", help="of a prepared dataset (default: all)")
    score.add_argument("--leads", **_LEADS)
    score.add_argument("--embeddings", action="store_true", help="also a column with each record's unit vector")
    score.add_argument("--batch_size", type=int, default=64, help="records at a time (default: %(default)s)")
    score.add_argument("--num_workers", type=int, default=2, help="processes that read (default: %(default)s)")

    search = command(
        "search",
        commands.search,
        "find records of a dataset by a text, or reports by a record",
        "With TEXT: the records whose ECGs are nearest to it. With --record: the reports nearest to its ECG.\n"
        "Embeddings are kept, so that a second search is quick. Research use only. Not a medical device.",
    )
    search.add_argument("dataset", help="folder written by `cgdmer prepare`")
    search.add_argument("text", nargs="?", help='e.g. "atrial fibrillation with fast ventricular response"')
    search.add_argument("--record", help="instead of TEXT: the id of a record in the dataset, or a file")
    search.add_argument("--top", type=int, default=10, help="how many (default: %(default)s)")
    search.add_argument(
        "--model", type=model_source, help="a pretrained model's folder or Hub id (default: cgdmer-tiny-ptbxl)"
    )
    search.add_argument("--split", help="search in this one (default: in all)")
    search.add_argument("--cache_dir", help="keeps embeddings (default: DATASET.embeddings)")

    plot = command(
        "plot",
        commands.plot,
        "draw twelve leads on ECG paper",
        "25 mm/s, 10 mm/mV, with a calibration pulse, to scale when printed at 100 %.",
    )
    plot.add_argument("record", help=_RECORD)
    plot.add_argument("--leads", **_LEADS)
    plot.add_argument("output", nargs="?", default="ecg.png", help="picture to write (default: %(default)s)")

    export = command(
        "export",
        commands.export,
        "write a zero-shot model for fixed labels as an ONNX file",
        "The ECG tower and the labels' embeddings, for onnxruntime without torch. Its answers are compared with the\n"
        "model's before it is kept. Needs the extra: pip install 'cgdmer[export]'. Research use only. Not a medical\n"
        "device.",
    )
    export.add_argument("model", **_MODEL)
    export.add_argument("output", metavar="OUTPUT.onnx", help="a new file")
    export.add_argument("--labels", nargs="+", required=True, help='e.g. "atrial fibrillation" "normal ECG"')
    export.add_argument(
        "--leads", nargs="+", action=_Separated, help="that recordings will have, e.g. I II (default: all twelve)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 1 with a message on stderr when it could not."""
    options = build_parser().parse_args(arguments)
    options.command_line = shlex.join(["cgdmer", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        answer = options.run(options)
    except (CGDMERError, OSError) as error:
        print(f"cgdmer {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"cgdmer {options.command}: stopped. {stopped}".rstrip(), file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(answer, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
