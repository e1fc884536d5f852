# SPDX-License-Identifier: Apache-2.0
"""A saved model folder that loads on a machine without this package.

Next to the weights, `save_pretrained` writes the Python files of this folder that the model's family needs, and
config.json says which class serves which Auto class and pipeline, so `trust_remote_code=True` finds everything.
"""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from transformers import PreTrainedModel
from transformers.dynamic_module_utils import get_relative_import_files

if TYPE_CHECKING:
    # Never imported here. But transformers copies all files that a modeling file imports relatively, anywhere in it,
    # and then what those import, so a model that was loaded as remote code can be saved again with all its code. A
    # family with classes in several files likewise imports the others in its modeling file.
    from .feature_extraction_ecg import ECGFeatureExtractor  # noqa: F401
    from .pipeline_ecg_embedding import ECGEmbeddingPipeline  # noqa: F401
    from .pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline  # noqa: F401
    from .processing_ecg import ECGProcessor  # noqa: F401

PIPELINES: dict[str, dict[str, Any]] = {
    "zero-shot-ecg-classification": {
        "impl": "pipeline_zero_shot_ecg.ZeroShotECGClassificationPipeline",
        "pt": ["AutoModelForZeroShotImageClassification"],
        "type": "multimodal",
    },
    "ecg-classification": {
        "impl": "pipeline_ecg_classification.ECGClassificationPipeline",
        "pt": ["AutoModelForAudioClassification"],
        "type": "multimodal",
    },
    "ecg-embedding": {
        "impl": "pipeline_ecg_embedding.ECGEmbeddingPipeline",
        "pt": ["AutoModel"],
        "type": "multimodal",
    },
}


def model_code(entries: dict[str, Any]) -> list[Path]:
    """The Python files that the classes in `HubFolderModel.hub_entries` need, found by their relative imports."""
    home = Path(__file__).parent
    places = [*entries["auto_map"].values(), *(pipeline["impl"] for pipeline in entries["custom_pipelines"].values())]
    needed: set[Path] = set()
    for module in {place.split(".")[0] for place in places}:
        source = home / f"{module}.py"
        needed |= {source, *map(Path, get_relative_import_files(source))}
    return sorted(needed)


def copy_model_code(folder: str | os.PathLike, entries: dict[str, Any]) -> None:
    """Copy the files of `model_code` into a folder."""
    for source in model_code(entries):
        shutil.copyfile(source, Path(folder) / source.name)


class HubFolderModel(PreTrainedModel):
    """A `PreTrainedModel` whose `save_pretrained` also writes the code."""

    auto_classes: ClassVar[dict[str, str]] = {}
    pipelines: ClassVar[set[str]] = set()

    @classmethod
    def hub_entries(cls) -> dict[str, Any]:
        """What config.json holds besides the configuration: `auto_map` and `custom_pipelines`."""
        config_class = cls.config_class
        auto_map = {
            "AutoConfig": f"{config_class.__module__.split('.')[-1]}.{config_class.__name__}",
            "AutoFeatureExtractor": "feature_extraction_ecg.ECGFeatureExtractor",
            "AutoProcessor": "processing_ecg.ECGProcessor",
            **cls.auto_classes,
        }
        return {"auto_map": auto_map, "custom_pipelines": {task: PIPELINES[task] for task in sorted(cls.pipelines)}}

    def _get_files_timestamps(self, working_dir):
        """For files that `push_to_hub=True` skips unless they change: not the code, which is there already."""
        code = {source.name for source in model_code(self.hub_entries())}
        timestamps = super()._get_files_timestamps(working_dir)
        return {name: changed for name, changed in timestamps.items() if name not in code}

    def save_pretrained(self, save_directory, is_main_process: bool = True, **kwargs):
        """As in transformers, and the code that loads the model is saved too."""
        entries = self.hub_entries()
        self.config.auto_map, self.config.custom_pipelines = entries["auto_map"], entries["custom_pipelines"]
        try:
            if is_main_process:
                os.makedirs(save_directory, exist_ok=True)
                copy_model_code(save_directory, entries)
            super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        finally:
            # In memory, the entry would make `pipeline(task, model=model)` ask for trust_remote_code.
            del self.config.custom_pipelines
