# SPDX-License-Identifier: Apache-2.0
"""A saved model folder that loads on a machine without this package.

`save_pretrained` writes beside the weights every Python file of this folder, and in config.json which class serves
which Auto class and which pipeline: `trust_remote_code=True` finds all it needs.
"""

import os
import shutil
from pathlib import Path
from typing import ClassVar

# Unused here, imported so that transformers, which follows relative imports from the modeling file, brings the whole
# folder along when it loads remote code: a model loaded that way can be saved again, complete.
from .pipeline_ecg_classification import ECGClassificationPipeline
from .pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline
from .processing_ecg import ECGProcessor

PIPELINES = {
    "zero-shot-ecg-classification": {
        "impl": f"pipeline_zero_shot_ecg.{ZeroShotECGClassificationPipeline.__name__}",
        "pt": ["AutoModelForZeroShotImageClassification"],
        "type": "multimodal",
    },
    "ecg-classification": {
        "impl": f"pipeline_ecg_classification.{ECGClassificationPipeline.__name__}",
        "pt": ["AutoModelForAudioClassification"],
        "type": "multimodal",
    },
}


def copy_model_code(folder: str | os.PathLike) -> None:
    """Copy every Python file of this folder but `__init__.py`, which only the installed package has a use for."""
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name != "__init__.py":
            shutil.copyfile(source, Path(folder) / source.name)


class HubFolderMixin:
    """`save_pretrained` for models of this package; stands before `PreTrainedModel` among the bases."""

    auto_classes: ClassVar[dict[str, str]] = {}
    pipelines: ClassVar[set[str]] = set()

    def save_pretrained(self, save_directory, is_main_process: bool = True, **kwargs):
        """As in transformers, and the folder also holds the code that loads it."""
        modeling = type(self).__module__.split(".")[-1]
        configuration = type(self.config).__module__.split(".")[-1]
        auto_map = {name: f"{modeling}.{target}" for name, target in self.auto_classes.items()}
        auto_map["AutoConfig"] = f"{configuration}.{type(self.config).__name__}"
        auto_map["AutoFeatureExtractor"] = "feature_extraction_ecg.ECGFeatureExtractor"
        auto_map["AutoProcessor"] = f"processing_ecg.{ECGProcessor.__name__}"
        self.config.auto_map = auto_map
        self.config.custom_pipelines = {task: PIPELINES[task] for task in sorted(self.pipelines)}
        try:
            if is_main_process:
                os.makedirs(save_directory, exist_ok=True)
                copy_model_code(save_directory)
            super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        finally:
            # In memory the entry would make `pipeline(task, model=model)` ask for trust_remote_code.
            del self.config.custom_pipelines


__all__ = ["HubFolderMixin", "copy_model_code"]
