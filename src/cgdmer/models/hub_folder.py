# SPDX-License-Identifier: Apache-2.0
"""A saved model folder that loads on a machine without this package.

`save_pretrained` writes beside the weights every Python file of this folder, and in config.json which class serves
which Auto class and which pipeline: `trust_remote_code=True` finds all it needs.
"""

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedModel

PIPELINES = {
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
}


def copy_model_code(folder: str | os.PathLike) -> None:
    """Copy every Python file of this folder but `__init__.py`, which only the installed package has a use for."""
    # transformers brings along what the modeling file imports with a relative import, wherever that stands. These make
    # it bring the rest of the folder too: a model that was loaded as remote code can be saved again, complete.
    from .pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline  # noqa: F401
    from .pretraining_cgdmer import CGDMERForPreTraining  # noqa: F401
    from .processing_ecg import ECGProcessor  # noqa: F401

    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name != "__init__.py":
            shutil.copyfile(source, Path(folder) / source.name)


class HubFolderModel(PreTrainedModel):
    """A `PreTrainedModel` whose `save_pretrained` also writes the code."""

    auto_classes: ClassVar[dict[str, str]] = {}
    pipelines: ClassVar[set[str]] = set()

    @classmethod
    def hub_entries(cls) -> dict[str, Any]:
        """What config.json says beside the configuration: `auto_map` and `custom_pipelines`."""
        config_class = cls.config_class
        auto_map = {
            "AutoConfig": f"{config_class.__module__.split('.')[-1]}.{config_class.__name__}",
            "AutoFeatureExtractor": "feature_extraction_ecg.ECGFeatureExtractor",
            "AutoProcessor": "processing_ecg.ECGProcessor",
            **cls.auto_classes,
        }
        return {"auto_map": auto_map, "custom_pipelines": {task: PIPELINES[task] for task in sorted(cls.pipelines)}}

    def save_pretrained(self, save_directory, is_main_process: bool = True, **kwargs):
        """As in transformers, and the folder also holds the code that loads it."""
        entries = self.hub_entries()
        self.config.auto_map, self.config.custom_pipelines = entries["auto_map"], entries["custom_pipelines"]
        try:
            if is_main_process:
                os.makedirs(save_directory, exist_ok=True)
                copy_model_code(save_directory)
            super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        finally:
            # In memory the entry would make `pipeline(task, model=model)` ask for trust_remote_code.
            del self.config.custom_pipelines


__all__ = ["HubFolderModel", "copy_model_code"]
