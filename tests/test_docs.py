# SPDX-License-Identifier: Apache-2.0
"""The guides: every Python block and every command after `$` runs and prints what is shown below it. All other
commands, also those of the README, the card, and the Accelerate configurations, have options that exist. Links lead
somewhere."""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cgdmer import commands, pretrain
from hospital import write_hospital

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GUIDES = sorted(DOCS.glob("guides/*.md"))
PAGES = [*GUIDES, DOCS / "index.md", DOCS / "reference.md", DOCS.parent / "README.md"]
LANGUAGES = {"python", "text", "console", "bash"}
# First words of commands of other programs, which are not run.
OTHERS = {"pip", "python", "hf", "aws"}
# Pages whose commands are checked and not run.
COMMAND_PAGES = [
    *(ROOT / name for name in ("README.md", "model_cards/cgdmer-tiny-ptbxl.md")),
    *sorted(ROOT.glob("examples/accelerate/*.yaml")),
]


@dataclass
class Block:
    language: str
    content: str
    line: int


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    opened: Block | None = None
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if opened is None and line.startswith("```"):
            opened = Block(line[3:], "", number)
        elif opened is not None and line == "```":
            found.append(opened)
            opened = None
        elif opened is not None:
            opened.content += line + "\n"
    assert opened is None, f"{page.name}:{opened.line} is not closed"
    return found


def arguments_of(command: str) -> tuple[str, list[str]]:
    """("cgdmer" or "pretrain" or the first word, arguments)."""
    words = shlex.split(command)
    if "cgdmer.pretrain" in words:
        return "pretrain", words[words.index("cgdmer.pretrain") + 1 :]
    return words[0], words[1:]


def check_options(command: str) -> None:
    program, arguments = arguments_of(command)
    if program == "cgdmer":
        commands.build_parser().parse_args(arguments)
    elif program == "pretrain":
        pretrain.parse_arguments(arguments)
    else:
        assert program in OTHERS, command
    for file in re.findall(r"examples/\S+", command):
        assert (ROOT / file).exists(), command


def run_command(command: str) -> None:
    program, arguments = arguments_of(command)
    try:
        if program == "pretrain":
            pretrain.main(arguments)
            return
        code = {"cgdmer": commands.main}[program](arguments)
    except SystemExit as stopped:  # --help
        code = stopped.code
    assert not code, command


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_does_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if page.stem == "my_hospital":
        write_hospital(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        assert block.language in LANGUAGES, where
        if block.language == "text":
            assert printed.strip() == block.content.strip(), where
            continue
        capsys.readouterr()
        if block.language == "python":
            # Compiled with its place in the page, so that a traceback leads there.
            exec(compile("\n" * block.line + block.content, str(page), "exec"), namespace)
        elif block.language == "console":
            for line in block.content.splitlines():
                assert line.startswith("$ "), where
                run_command(line[2:])
        printed = capsys.readouterr().out


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_commands_that_are_not_run_have_options_that_exist(page):
    for block in blocks(page):
        if block.language != "bash":
            continue
        for command in block.content.splitlines():
            check_options(command)


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=lambda page: page.name)
def test_commands_of_the_readme_the_card_and_the_configurations_have_options_that_exist(page):
    text = page.read_text().replace("\\\n#", "").replace("\\\n", "")
    found = re.findall(r"^#? *((?:accelerate|cgdmer|ACCELERATE_\S+) [^#\n]+)", text, re.MULTILINE)
    assert found
    for command in found:
        if not command.rstrip().endswith("..."):
            check_options(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for name in re.findall(r"\{doc\}`(?:[^`<]+<)?([^`>]+)>?`", text):
        assert (page.parent / f"{name}.md").is_file(), name
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link.startswith("https://") or (page.parent / link.split("#")[0]).exists(), link


def test_commands_for_eight_gpus_are_the_same_everywhere():
    """They name a text tower and a warm-up, in the guides and in the configuration."""
    commented = (ROOT / "examples/accelerate/eight_gpus.yaml").read_text().replace("\\\n#", "")
    pages = [commented, *(path.read_text() for path in GUIDES)]
    found = [line for page in pages for line in page.splitlines() if "eight_gpus.yaml -m cgdmer.pretrain" in line]
    first, *others = [pretrain.parse_arguments(arguments_of(line.lstrip("# "))[1]) for line in found]
    assert len(others) == 2 and first.text_model and first.num_warmup_steps
    for other in others:
        assert replace(other, dataset="", output_dir="") == replace(first, dataset="", output_dir="")


def test_git_ignores_what_the_commands_of_the_readme_write():
    if not (ROOT / ".gitignore").is_file():
        pytest.skip("not a clone")
    ignored = {line.strip("/*") for line in (ROOT / ".gitignore").read_text().splitlines()}
    text = (ROOT / "README.md").read_text()
    written = set(re.findall(r"(?:--output_dir|--plot) ([^\s`]+)", text))
    written |= {
        re.findall(rf"^cgdmer {line} (\S+)", text, re.MULTILINE)[0]
        for line in (r"prepare \S+ \S+", r"score \S+", r"export \S+")
    }
    assert {"demo", "ecg.png", "ptbxl", "scores.parquet", "model.onnx"} <= written
    assert {path.split("/")[0] for path in written} <= ignored


def test_every_guide_is_in_the_table_of_contents():
    listed = set(re.findall(r"^guides/(\w+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    assert listed == {page.stem for page in GUIDES}


_OF_ENCODERS = ("Config", "Model", "ForECGClassification")


def test_every_public_name_is_in_the_reference():
    import cgdmer

    reference = (DOCS / "reference.md").read_text()
    shown = set(re.findall(r"cgdmer\.(\w+)$", reference, re.MULTILINE))
    other_encoders = {f"{name}{end}" for name in ("ECGResNet", "ECGViT") for end in _OF_ENCODERS}
    hidden = {"CGDMERError"} | other_encoders
    assert shown | hidden >= set(cgdmer.__all__)
    assert "automodule:: cgdmer.models.errors" in reference
