# SPDX-License-Identifier: Apache-2.0
"""The tests do not depend on the user's environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

HOSTILE = {
    **{
        "HF_HUB_OFFLINE": "1",
        "HF_TOKEN": "hf_of_the_user",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": "/nowhere",
    },
    **{"TRANSFORMERS_VERBOSITY": "debug", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    **{"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": "false", "WORLD_SIZE": "2", "MASTER_PORT": "29500"},
    **{"HTTP_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"},
    **{"WANDB_MODE": "online", "MPLBACKEND": "TkAgg", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "error"},
    **{"LANG": "tr_TR.UTF-8", "LC_ALL": "C", "TZ": "Asia/Kathmandu", "COLUMNS": "20", "FORCE_COLOR": "1"},
}
SCRIPT = """
import json, os, subprocess, sys, time
import environment
inherited = subprocess.run([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"],
                           capture_output=True, text=True, check=True).stdout
print(json.dumps([dict(os.environ), json.loads(inherited), time.strftime("%Z"), os.umask(0)]))
"""


def test_nothing_of_a_hostile_environment_is_left_here_or_in_processes_that_tests_start():
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.umask(0o077){SCRIPT}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env=clean | HOSTILE,
    )
    here, inherited, zone, umask = json.loads(done.stdout)
    for found in (here, inherited):
        kept = {name: found[name] for name in HOSTILE if name in found}
        home = Path(kept.pop("HF_HOME"))
        assert kept == {"MPLBACKEND": "Agg", "TZ": "UTC", "COLUMNS": "80", "LANG": "C.UTF-8"}
        assert home.name.startswith("cgdmer-tests-") and not home.exists()  # removed at the end
        assert {name: found[name] for name in clean} == clean
    assert (zone, umask) == ("UTC", 0o022)


def test_this_process_is_clean_too():
    assert "cgdmer-tests-" in os.environ["HF_HOME"]
    assert os.environ.get("HF_HUB_OFFLINE") is None and os.environ["COLUMNS"] == "80"
