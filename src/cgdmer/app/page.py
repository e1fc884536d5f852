# SPDX-License-Identifier: Apache-2.0
"""The web page: drop a recording or choose a simulated one, edit the findings, see scores and where they come from.

Needs Gradio, from the extra `app`.
"""

import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np
from matplotlib.figure import Figure

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.app.downloads import KEPT_SECONDS, write_download
from cgdmer.app.serving import PrivateFolder, serve, take_no_addresses
from cgdmer.app.uploads import LARGEST_MEGABYTES, UNITS, read_uploads
from cgdmer.explanation.explaining import explain_record
from cgdmer.explanation.painting import plot_explanation
from cgdmer.inference import familiarity
from cgdmer.inference.scorers import Scorer, taken_for, without_unknown
from cgdmer.measurement.remarks import remarks_on
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, ECGInputError
from cgdmer.plotting.ecg_paper import plot_ecg
from cgdmer.simulation.cohort import simulate_record
from cgdmer.simulation.conditions import CONDITIONS

PROMPTS = ("normal ECG", "atrial fibrillation", "left bundle branch block", "premature ventricular beats")
CALIBRATION_NOTE = (
    "Each finding is scored independently. Scores are calibrated for single findings on the model's training corpus. "
    "For other recordings, and for words it was not trained on, they are at best a ranking and not probabilities."
)
CLASSIFIER_NOTE = (
    "Scores of a fine-tuned classifier, for its own labels. For recordings of another kind than it was trained on, "
    "they are at best a ranking and not probabilities."
)
VALUE_NOTE = "Values of a regression, in the units of its training data."
MOST_FINDINGS = 100  # in free text, per request
_MOST_VISITORS = 20  # with recordings in memory, up to 200 MB each; earlier visitors are asked to drop theirs again
PICTURE: dict[str, Any] = {
    "show_label": False,
    "elem_classes": "paper",
    "format": "png",
    "interactive": False,
    "buttons": ["download", "fullscreen"],
}
# On a phone, the paper stays large enough to read and scrolls sideways.
STYLE = """
.paper .image-container {overflow-x: auto}
.paper .image-container > button, .paper .image-frame {justify-content: flex-start}
.paper img {min-width: 900px}
.bars {display: grid; gap: 10px}
.bars .row {display: flex; justify-content: space-between; gap: 12px}
.bars .track {background: #e9edf2; border-radius: 4px; height: 10px}
.bars .bar {background: #3b6ea5; border-radius: 4px; height: 10px}
.message {border-left: 4px solid #b3261e; padding: 8px 12px; overflow-wrap: anywhere}
"""


def build_page(scorer: Scorer) -> gr.Blocks:
    """The page for one loaded model. Show it with `launch_page`."""
    folder = PrivateFolder()
    answers = _Answers(scorer, folder.answers)
    # `delete_cache`: visitors' files are deleted after an hour.
    title = "cgdmer: ECG and findings"
    with gr.Blocks(title=title, delete_cache=(KEPT_SECONDS, KEPT_SECONDS), analytics_enabled=False) as page:
        page.private_folder = folder  # removed together with the page
        record = gr.State(time_to_live=KEPT_SECONDS)
        gr.Markdown(f"# ECG and findings\n**{RESEARCH_USE_ONLY}** Do not upload what could identify a person.")
        with gr.Row():
            with gr.Column(min_width=320):
                files = gr.File(
                    label="Recording: WFDB pair (.hea and .dat), DICOM, aECG, MUSE XML, EDF, CSV or NPY",
                    file_count="multiple",
                    elem_id="files",
                )
                take_no_addresses(files)
                with gr.Accordion("Required for CSV and NPY. For other files: the leads to use", open=True):
                    rate = gr.Textbox("", label="Samples per second (Hz)", placeholder="500", elem_id="rate")
                    leads = gr.Textbox("", label="Leads in the file's order", placeholder="I, II, V1", elem_id="leads")
                    unit = gr.Dropdown(list(UNITS), value=None, label="Unit", elem_id="unit")
                choices = [(condition.name, name) for name, condition in CONDITIONS.items()]
                example = gr.Dropdown(choices, value=None, label="Or a simulated example", elem_id="example")
            with gr.Column(min_width=320):
                heading = "Findings, one per line"
                if scorer.own_labels is not None:
                    heading = "Labels of the model, one per line; none: all"
                given = "\n".join(PROMPTS if scorer.own_labels is None else scorer.own_labels)
                prompts = gr.Textbox(given, label=heading, lines=5, elem_id="prompts")
                button = gr.Button("Score", variant="primary", elem_id="score")
                message = gr.HTML(elem_id="message")
                bars = gr.HTML(elem_id="bars")
        paper = gr.Image(elem_id="paper", **PICTURE)
        with gr.Row():
            label = gr.Dropdown([], label="Where does this score come from?", elem_id="label")
            explain = gr.Button("Show", elem_id="explain")
        relevance = gr.Image(elem_id="relevance", **PICTURE)
        answer = gr.DownloadButton("Download the figures (JSON)", interactive=False, elem_id="json")
        gr.Markdown("Each picture has its own download button.")

        shown = [message, bars, paper, label, relevance, answer]
        described = [files, rate, leads, unit, prompts]
        files.upload(answers.from_files, described, [record, example, *shown])
        files.clear(lambda: None, None, record)
        example.input(answers.from_example, [example, prompts], [record, files, *shown])
        button.click(answers.again, [record, *described], [record, *shown])
        explain.click(answers.show_relevance, [record, label], [message, relevance, answer])
    return page


class _Answers:
    """Event handlers of the page: each method returns the new values of its output components."""

    def __init__(self, scorer: Scorer, folder: str):
        """`folder` is for downloads."""
        self.scorer, self.folder = scorer, folder

    def from_files(self, paths, rate, leads, unit, text) -> list[Any]:
        record, *shown = self.again(None, paths, rate, leads, unit, text)
        return [record, None, *shown]

    def from_example(self, name: str | None, text: str) -> list[Any]:
        record, *shown = self._scored(lambda: simulate_record([name], seed=1) if name else None, text)
        return [record, None, *shown]

    def again(self, record, paths, rate, leads, unit, text) -> list[Any]:
        return self._scored(lambda: read_uploads(paths, rate, leads or "", unit) if paths else record, text)

    def _scored(self, read: Callable[[], ECGRecord | None], text: str) -> list[Any]:
        """The record, and what the page shows for it: message, bars, paper, labels, no relevance yet, JSON."""
        record = None
        try:
            record = read()
            if record is None:
                raise ECGInputError("there is no recording yet. Drop files, or choose a simulated example.")
            scores = without_unknown(self.scorer(record, self._labels_in(text)))
            use = self.scorer.feature_extractor.use_of(record)
            measured, remarks = remarks_on(record, () if self.scorer.is_regression else scores)
            familiar = self.scorer.familiarity_of(record)
            answer = {
                "problem_type": self.scorer.problem_type,
                "scores": scores,
                "record_use": use.as_json(),
                "familiarity": familiar,
                "measured": None if measured is None else measured.as_json(),
                "remarks": remarks,
                "note": RESEARCH_USE_ONLY,
            }
            path = write_download(self.folder, answer)
            picture = _picture(plot_ecg(record))
        except (CGDMERError, OSError) as error:
            no_labels = gr.Dropdown(choices=[], value=None)
            return [record, _message(error), "", None, no_labels, None, gr.DownloadButton(interactive=False)]
        scored = [row["label"] for row in scores if row["score"] is not None]
        labels = gr.Dropdown(choices=scored, value=scored[0] if scored else None)
        button = gr.DownloadButton(value=path, interactive=True)
        said = [str(use), *familiarity.in_words(familiar), *remarks]
        return [record, "", _bars(scores, self.scorer, said), picture, labels, None, button]

    def _labels_in(self, text: str) -> list[str] | None:
        if self.scorer.own_labels is None:
            return findings_in(text)
        return [line.strip() for line in text.splitlines() if line.strip()] or None

    def show_relevance(self, record: ECGRecord | None, label: str | None) -> list[Any]:
        try:
            if record is None or not label:
                raise ECGInputError("there are no scores yet. Drop files, or choose a simulated example.")
            explanation = explain_record(self.scorer, record, label)
        except CGDMERError as error:
            return [_message(error), None, gr.DownloadButton(interactive=False)]
        path = write_download(self.folder, explanation.as_json())
        return ["", _picture(plot_explanation(explanation)), gr.DownloadButton(value=path, interactive=True)]


def launch_page(page: gr.Blocks, **options: Any) -> Any:
    """Serve the page of `build_page`; see `serve`. `options` are those of Gradio's `launch`."""
    return serve(
        page,
        page.private_folder,
        css=STYLE,
        max_file_size=f"{LARGEST_MEGABYTES}mb",
        state_session_capacity=_MOST_VISITORS,
        **options,
    )


def findings_in(text: str) -> list[str]:
    """The findings of a text, one per line.

    Raises:
        ECGInputError: there are too many.
    """
    findings = [line.strip() for line in text.splitlines() if line.strip()]
    if len(findings) > MOST_FINDINGS:
        raise ECGInputError(f"there are {len(findings)} findings; the page takes at most {MOST_FINDINGS}.")
    return findings


def _message(error: Exception) -> str:
    return f'<div class="message" role="alert">{html.escape(str(error))}</div>'


def _bars(scores: Sequence[dict[str, Any]], scorer: Scorer, remarks: Sequence[str]) -> str:
    note = CALIBRATION_NOTE if scorer.own_labels is None else VALUE_NOTE if scorer.is_regression else CLASSIFIER_NOTE
    rows = "".join(_bar(row, scorer) for row in scores)
    said = "".join(f"<p>{html.escape(remark)}</p>" for remark in remarks)
    return f'<div class="bars">{rows}{said}<small>{note} {RESEARCH_USE_ONLY}</small></div>'


def _bar(row: dict[str, Any], scorer: Scorer) -> str:
    """A line with a bar of up to 100 %; the value of a regression and an unknown finding have no bar."""
    score, note = row["score"], taken_for(row)
    shown = "?" if score is None else f"{score:.4g}" if scorer.is_regression else f"{100 * score:.1f} %"
    label = html.escape(row["label"]) + (f" <small>{html.escape(note)}</small>" if note else "")
    line = f'<div class="row"><span>{label}</span><b>{shown}</b></div>'
    if score is None or scorer.is_regression:
        return f"<div>{line}</div>"
    bar = f'<div class="track"><div class="bar" style="width: {100 * score:.1f}%"></div></div>'
    return f"<div>{line}{bar}</div>"


def _picture(figure: Figure) -> np.ndarray:
    """(height, width, 3) pixels."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
