# SPDX-License-Identifier: Apache-2.0
"""What each command does: the answer as a dict, and what is printed where it is not asked for as JSON.

Imports stand inside the functions, so that a command waits for no more than it needs.
"""

import argparse
from typing import Any


def demo(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.demo import demo

    chosen = {
        name: getattr(options, name)
        for name in ("num_patients", "num_train_epochs")
        if getattr(options, name) is not None
    }
    return demo(options.output_dir, seed=options.seed, **chosen)


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.data.fetching import fetch_corpus
    from cgdmer.data.preparing import prepare_corpus

    chosen = {
        name: getattr(options, name)
        for name in ("sampling_rate", "min_words", "table")
        if getattr(options, name) is not None
    }
    if options.download:
        fetched = fetch_corpus(options.corpus, options.raw_dir, **chosen)
        if not options.json:
            print("{fetched} files fetched, {already_there} were there, {absent} not on the server".format(**fetched))
    counts = prepare_corpus(options.corpus, options.raw_dir, options.output_dir, num_proc=options.num_proc, **chosen)
    if not options.json:
        print(f"{counts['written']} records written to {options.output_dir}, {counts['skipped']} skipped", end="")
        print(f" (see {options.output_dir}/skipped.csv)" if counts["skipped"] else "")
    return counts


def finetune(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.training.finetune import finetune

    results = finetune(
        options.model,
        options.dataset,
        options.output_dir,
        labels=options.labels,
        freeze_encoder=options.freeze_encoder,
        num_train_epochs=options.num_train_epochs,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=options.per_device_train_batch_size,
        weight_decay=options.weight_decay,
        seed=options.seed,
    )
    if not options.json:
        print(f"saved to {options.output_dir}: {len(results['labels'])} labels")
        for split in ("validation", "test"):
            if split in results:
                low, high = results[split]["macro_auroc_interval"]
                print(
                    f"{split}: macro AUROC {results[split]['macro_auroc']:.3f} (95 % interval {low:.3f} to {high:.3f})"
                )
    return results


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from pathlib import Path

    from cgdmer.data.fingerprints import Fingerprints
    from cgdmer.data.storage import load_dataset_folder
    from cgdmer.evaluation import report_retrieval
    from cgdmer.evaluation.embedding_cache import EmbeddingCache
    from cgdmer.evaluation.evaluate import FRACTIONS, evaluate
    from cgdmer.evaluation.outputs import write_evaluation
    from cgdmer.evaluation.report import terminal_table, without_nan
    from cgdmer.evaluation.tasks import get_task
    from cgdmer.families import load_model, load_processor

    tasks = [get_task(name) for name in options.tasks]
    splits = load_dataset_folder(options.dataset)
    model = load_model(options.model)
    processor = load_processor(options.model, model)
    if options.report_retrieval:
        report_retrieval.refuse_without_texts(model)
    if not model.takes_texts and not options.json:
        print(f"A {type(model).__name__} takes no texts: linear probes alone, zero-shot is left out.")
    trained_on = Fingerprints.of_model(options.model)
    if trained_on is None and not options.json:
        print("The model does not say which records it was pretrained on: overlap with the test records is not known.")
    results, cache = {}, EmbeddingCache(options.cache_dir)
    for task in tasks:
        evaluation = evaluate(
            model,
            processor,
            splits,
            task,
            options.test_splits,
            prompts=options.prompts,
            protocol=options.protocol,
            split_files=options.splits,
            fractions=() if options.skip_linear_probe else FRACTIONS,
            shots=() if options.skip_linear_probe else options.shots,
            probed_feature=options.probed_feature,
            robustness=options.robustness,
            trained_on=trained_on,
            allow_overlap=options.allow_overlap,
            cache=cache,
            seed=options.seed,
        )
        evaluation.results["command"] = options.command_line
        results[task.name] = without_nan(evaluation.results)
        if not options.json:
            print(terminal_table(evaluation.results))
            if (overlap := evaluation.results["overlap"]) is not None:
                print(f"Test records pretrained on: {overlap['records']}; by their patient: {overlap['patients']}")
            print()
        if options.output_dir:
            for path in write_evaluation(Path(options.output_dir) / task.name, evaluation, task, options.seed):
                if not options.json:
                    print(f"written: {path}")
    if options.report_retrieval:
        results[report_retrieval.TASK] = retrieve_reports(options, model, processor, splits, trained_on)
    return results


def retrieve_reports(options: argparse.Namespace, model, processor, splits, trained_on) -> dict[str, Any]:
    from pathlib import Path

    from cgdmer.evaluation import report_retrieval
    from cgdmer.evaluation.embedding_cache import EmbeddingCache
    from cgdmer.evaluation.report import write_results_json

    found = report_retrieval.retrieve_reports(
        model,
        processor,
        splits,
        options.test_splits,
        trained_on=trained_on,
        allow_overlap=options.allow_overlap,
        cache=EmbeddingCache(options.cache_dir),
        seed=options.seed,
    )
    found["command"] = options.command_line
    if not options.json:
        print(report_retrieval.retrieval_table(found))
    if options.output_dir:
        # Not in a folder of its own: those are of classification tasks, which cards and comparisons read.
        path = Path(options.output_dir) / f"{report_retrieval.TASK}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_results_json(path, found)
        if not options.json:
            print(f"written: {path}")
    return found


def push(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.hub.publishing import push

    pushed = push(
        options.model,
        options.repository,
        results=options.results,
        benchmark=options.benchmark,
        license=options.license,
        private=options.private,
        revision=options.revision,
        commit_message=options.commit_message,
    )
    if not options.json:
        print("{repository}: {count} files, commit {commit}".format(**pushed, count=len(pushed["files"])))
    return pushed


def compare(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.evaluation.comparison import compare, comparison_table

    compared = compare(options.first, options.second, options.seed)
    if not options.json:
        print(comparison_table(compared))
    return compared


def classify(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer import read_record
    from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY, check_picture_path, save_ecg_plot
    from cgdmer.families import load_classifier
    from cgdmer.models.errors import ConfigurationError

    if options.plot:
        check_picture_path(options.plot)
    if options.exclusive and len(options.labels) < 2:
        raise ConfigurationError("--exclusive shares one probability among the labels: name two at least.")
    record = read_record(options.record, options.leads)
    scores = load_classifier(options.model)(record, candidate_labels=options.labels, multi_label=not options.exclusive)
    if options.plot:
        save_ecg_plot(record, options.plot, scores=scores)
    if not options.json:
        for row in scores:
            print(f"{row['score']:7.1%}  {row['label']}")
        print(RESEARCH_USE_ONLY)
    return {"record": options.record, "scores": scores, "note": RESEARCH_USE_ONLY}


def explain(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer import read_record
    from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY, check_picture_path
    from cgdmer.explanation.explaining import explain_record
    from cgdmer.explanation.painting import save_explanation_plot
    from cgdmer.families import load_classifier

    check_picture_path(options.output)
    record = read_record(options.record, options.leads)
    explanation = explain_record(load_classifier(options.model), record, options.label)
    save_explanation_plot(explanation, options.output)
    if not options.json:
        print(f"{explanation.score:7.1%}  {explanation.label}")
        for lead, share in explanation.share_by_lead().items():
            print(f"{share:7.1%}  of what raises it is in {lead}")
        if explanation.agreement is not None:
            print(f"{explanation.agreement:7.2f}  rank correlation with occlusion")
        print(f"drawn to {options.output}")
        print(RESEARCH_USE_ONLY)
    return {**explanation.as_json(), "record": options.record, "picture": options.output}


def app(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.families import load_classifier
    from cgdmer.models.errors import ConfigurationError

    try:
        from cgdmer.app.page import build_page, launch_page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ConfigurationError('the page needs Gradio, which is not installed: pip install "cgdmer[app]"') from error
    launch_page(build_page(load_classifier(options.model)), server_port=options.port)
    return {}


def score(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY
    from cgdmer.inference.scoring import read_labels, score_records

    answer = score_records(
        options.source,
        options.output,
        options.labels or read_labels(options.labels_file),
        options.model,
        split=options.split,
        leads=options.leads,
        embeddings=options.embeddings,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
    )
    if not options.json:
        print(f"{answer['records']} records in {options.output}; {answer['unreadable']} could not be read", end="")
        print(" (see its column error)" if answer["unreadable"] else "")
        print(RESEARCH_USE_ONLY)
    return {**answer, "note": RESEARCH_USE_ONLY}


def search(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY
    from cgdmer.inference.search import search_dataset

    found = search_dataset(
        options.dataset,
        options.text,
        record=options.record,
        split=options.split,
        model=options.model,
        top=options.top,
        cache_dir=options.cache_dir,
    )
    if not options.json:
        for row in found:
            who = row["record_id"] if options.record is None else f"{row['records']} records"
            print(f"{row['cosine']:6.3f}  {who}  {' '.join((row['text'] or '(no report)').split())}")
        print(RESEARCH_USE_ONLY)
    return {"found": found, "note": RESEARCH_USE_ONLY}


def plot(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.evaluation.ecg_paper import check_picture_path, save_ecg_plot
    from cgdmer.models.reading_record import read_record

    check_picture_path(options.output)
    save_ecg_plot(read_record(options.record, options.leads), options.output)
    if not options.json:
        print(f"drawn to {options.output}")
    return {"record": options.record, "picture": options.output}


def export(options: argparse.Namespace) -> dict[str, Any]:
    from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY
    from cgdmer.inference.exporting import export_onnx

    exported = export_onnx(options.model, options.output, options.labels, options.leads)
    if not options.json:
        print("{output}: {bytes} bytes; its answers are the model's to {difference:.1e}".format(**exported))
        print(f"ecg_values: (batch, {len(exported['leads'])}, samples), {', '.join(exported['leads'])}")
        print(RESEARCH_USE_ONLY)
    return {**exported, "note": RESEARCH_USE_ONLY}


__all__ = [
    "app",
    "classify",
    "compare",
    "demo",
    "evaluate",
    "explain",
    "export",
    "finetune",
    "plot",
    "prepare",
    "push",
    "retrieve_reports",
    "score",
    "search",
]
