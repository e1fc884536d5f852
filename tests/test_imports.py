# SPDX-License-Identifier: Apache-2.0
"""What importing costs, and that transformers knows the package's models in any order of imports."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import cgdmer
from cgdmer import CGDMERModel
from cgdmer.presets import SHIPPED_MODEL

HEAVY = ["torch", "transformers", "numpy", "scipy", "datasets", "sklearn", "matplotlib", "pandas"]


def run(script: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


SHELL = f"""
import contextlib, io, sys
from cgdmer.commands import COMMANDS, main
from cgdmer.pretrain import parse_arguments
names = [module.__name__.rpartition(".")[2] for module in COMMANDS]
assert len(names) > 10
fine = (["--help"], ["--version"], *([name, "--help"] for name in names), ["pretrain", "--help"])
for words in (*fine, ["classify", "--wrong"], ["nothing"], ["pretrain", "--dataset", "d"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = main(words)
        except SystemExit as stopped:
            status = stopped.code
    assert (status == 0) == (words in fine), words
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    parse_arguments(["--help"])
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_help_and_wrong_options_import_neither_torch_nor_transformers():
    assert run(SHELL) == "[]"


def test_importing_the_package_imports_nothing_unused():
    heavy = [*HEAVY, "gradio"]
    assert run(f"import cgdmer, sys; print([name for name in {heavy} if name in sys.modules])") == "[]"
    # Beside transformers' Auto classes, no more than these import themselves.
    script = "from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline; import sys; "
    script += f"print([name for name in {[*heavy, 'scipy.signal']} if name in sys.modules])"
    assert run(f"import cgdmer; {script}") == run(script)


def test_every_public_name_exists_and_a_wrong_one_does_not():
    assert all(getattr(cgdmer, name).__name__ == name for name in cgdmer.__all__)
    assert set(cgdmer.__all__) <= set(dir(cgdmer))
    with pytest.raises(AttributeError, match="no attribute 'CGDMERModle'"):
        cgdmer.CGDMERModle  # noqa: B018


USE = f"""
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, pipeline
found = [AutoConfig, AutoModel, AutoProcessor, AutoFeatureExtractor]
found = [type(one.from_pretrained({str(SHIPPED_MODEL)!r})).__name__ for one in found]
print(*found, type(pipeline("zero-shot-ecg-classification").model).__name__, "ecg-embedding" in PIPELINES)
"""
TASKS = "from transformers.pipelines import PIPELINE_REGISTRY; PIPELINES = PIPELINE_REGISTRY.supported_tasks\n"


@pytest.mark.parametrize(
    "first",
    [
        "import cgdmer",
        "import cgdmer.families",
        "from transformers import pipeline; import cgdmer",
        "from transformers import AutoConfig; import cgdmer",
        "import cgdmer; from transformers import BertModel",
        # Files of models/ that import transformers themselves, and so trigger the registration while they load.
        "from cgdmer import MERITForZeroShot",
        "from cgdmer.models.configuration_coreecg import CoReECGConfig",
        "from cgdmer.models.modeling_ecg_text import ECGTextModel",
        "from cgdmer.models.pipeline_ecg_embedding import ECGEmbeddingPipeline",
        "from cgdmer.models.processing_ecg import ECGProcessor",
    ],
)
def test_transformers_knows_the_models_in_any_order_of_imports(first):
    expected = "CGDMERConfig CGDMERModel ECGProcessor ECGFeatureExtractor CGDMERForZeroShot True"
    assert run(f"{first}\n{TASKS}{USE}").splitlines()[-1] == expected


def test_a_worker_that_unpickles_a_model_can_use_auto_classes(tmp_path: Path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(CGDMERModel.from_pretrained(SHIPPED_MODEL)))
    script = """
import pickle, sys
model = pickle.load(open(sys.argv[1], "rb"))
from transformers import AutoModel
print(type(AutoModel.from_config(model.config)) is type(model))
"""
    assert run(script, str(tmp_path / "model.pkl")) == "True"
