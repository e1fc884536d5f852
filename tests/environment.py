# SPDX-License-Identifier: Apache-2.0
"""Importing this makes the tests independent of the user's environment: in this process, and in those that it starts.

`conftest.py` imports it before anything else, because libraries read their variables when they are imported.
"""

import atexit
import os
import shutil
import tempfile
import time

# Variables that begin so belong to libraries that the package uses, and change what they do or print.
PREFIXES = (
    *("HF_", "HUGGING", "TRANSFORMERS_", "DATASETS_", "ACCELERATE_", "FSDP_", "DEEPSPEED_", "TORCH_", "TORCHELASTIC_"),
    *("WANDB_", "MLFLOW_", "COMET_", "CLEARML_", "GRADIO_", "TQDM_", "MPL", "HYPOTHESIS_", "LC_"),
)
NAMES = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES"),
    *("LANG", "LANGUAGE", "TZ", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"),
    *(
        "PYTHONWARNINGS",
        "PYTHONOPTIMIZE",
        "PYTHONHASHSEED",
        "PYTHONIOENCODING",
        "PYTHONUTF8",
        "TOKENIZERS_PARALLELISM",
    ),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY"),
)


def is_of_the_user(name: str) -> bool:
    """Whether a variable could change what a test sees. Names of proxies are also written in lower case."""
    return name.startswith(PREFIXES) or name.upper() in NAMES


def forget_the_user() -> None:
    for name in list(os.environ):
        if is_of_the_user(name):
            del os.environ[name]
    # No token, cache, or `accelerate config` of the user. Two test processes do not share one either.
    home = tempfile.mkdtemp(prefix="cgdmer-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ |= {"HF_HOME": home, "MPLBACKEND": "Agg", "TZ": "UTC", "COLUMNS": "80", "LANG": "C.UTF-8"}
    time.tzset()
    os.umask(0o022)
    # How many threads there are is up to the user; several test processes share the cores.
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


forget_the_user()
