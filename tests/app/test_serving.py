# SPDX-License-Identifier: Apache-2.0
"""The page calls nobody, and what visitors drop is private and gone when the server ends, by signal too."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cgdmer.simulation.cohort import simulate_record
from recordings import write_wfdb

gradio_client = pytest.importorskip("gradio_client", reason="the page needs the extra `app`")
pytest.importorskip("gradio", reason="the page needs the extra `app`")
httpx = pytest.importorskip("httpx", reason="the page needs the extra `app`")

# Notes every name that is looked up and every address that is connected to, from the first import on.
WATCHED = """
import socket, sys
noted = open(sys.argv[1], "a", buffering=1)
def note(what):
    if str(what) not in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "None"):
        noted.write(f"{what}\\n")
lookup, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex
def getaddrinfo(host, *rest, **named):
    note(host.decode() if isinstance(host, bytes) else host)
    return lookup(host, *rest, **named)
def watched(original):
    def connecting(self, address):
        if isinstance(address, tuple):
            note(address[0])
        return original(self, address)
    return connecting
socket.getaddrinfo = getaddrinfo
socket.socket.connect, socket.socket.connect_ex = watched(connect), watched(connect_ex)
from cgdmer.commands import main
sys.exit(main(["app"]))
"""


class Server:
    """`cgdmer app` in a process of its own, with its own folder for temporary files."""

    def __init__(self, folder: Path):
        self.noted, self.temporary = folder / "noted.txt", folder / "tmp"
        self.temporary.mkdir()
        names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR")
        environment = {name: value for name, value in os.environ.items() if name not in names}
        environment |= {"TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, str(self.noted)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        self.address = self.said.split(" is at ")[-1].split(" ")[0]

    def end(self, how: signal.Signals) -> str:
        """Everything that it has said."""
        self.process.send_signal(how)
        said, complaints = self.process.communicate()
        return self.said + said + complaints


@pytest.fixture
def server(tmp_path):
    started = Server(tmp_path)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def in_use(server: Server, tmp_path: Path) -> list:
    """A visit: an example, a dropped recording with its relevance, and a file that is an address."""
    client = gradio_client.Client(server.address, verbose=False, download_files=False, analytics_enabled=False)
    answers = [client.predict("atrial_fibrillation", "normal ECG", api_name="/from_example")]
    record = simulate_record(["atrial_fibrillation"], seed=1, sampling_rate=100)
    write_wfdb(record, tmp_path / "one")
    files = [gradio_client.handle_file(str(tmp_path / name)) for name in ("one.hea", "one.dat")]
    answers.append(client.predict(files, "", "", None, "normal ECG", api_name="/from_files"))
    return answers


@pytest.mark.asks  # the client does, not the page
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_nobody_is_called_and_nothing_is_left(server, tmp_path, how):
    answers = json.dumps(in_use(server, tmp_path))
    assert answers.count("normal ECG") >= 2 and " %" in answers
    (folder,) = [path for path in server.temporary.iterdir() if path.name.startswith("cgdmer-app-")]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    held = [path.name for path in folder.rglob("*") if path.is_file()]
    assert "one.hea" in held and "one.dat" in held  # so that their removal below proves something
    outside = [path for path in server.temporary.rglob("one.*") if folder not in path.parents]
    assert not outside
    page = httpx.get(server.address)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "https:" not in page.headers["content-security-policy"]
    said = server.end(how)
    assert not folder.exists() and not list(server.temporary.rglob("one*"))
    assert server.process.returncode == 0 and "share" not in said and "Traceback" not in said
    assert server.noted.read_text() == ""


@pytest.mark.asks  # the client
def test_an_address_in_place_of_a_file_is_not_requested(server, tmp_path):
    client = gradio_client.Client(server.address, verbose=False, download_files=False, analytics_enabled=False)
    named = {"path": "https://example.com/one.hea", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="an address is not fetched"):
        client.predict([named], "", "", None, "normal ECG", api_name="/from_files")
    server.end(signal.SIGTERM)
    assert server.noted.read_text() == ""
