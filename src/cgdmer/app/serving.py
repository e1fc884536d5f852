# SPDX-License-Identifier: Apache-2.0
"""Serves the page, and keeps what visitors drop to itself: no request to anybody, one private folder that goes away.

Gradio would ask its makers for its newest version, report what is used, keep uploads in a folder that all users of the
machine can read, and download any address that a visitor names instead of a file.
"""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware

# Set before the page is built, and by name: each part of Gradio reads its own.
_OFF = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "GRADIO_SHARE": "False"}
# The visitor's browser loads and sends nothing beyond this server.
_OWN_SOURCES = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; base-uri 'self'"


class PrivateFolder(tempfile.TemporaryDirectory):
    """A folder for uploads, pictures, and answers that only this user can read; removed with the page.

    It must exist before the page is built.
    """

    def __init__(self) -> None:
        super().__init__(prefix="cgdmer-app-", ignore_cleanup_errors=True)  # mode 700
        self.answers, uploads = (os.path.join(self.name, part) for part in ("answers", "uploads"))
        for folder in (self.answers, uploads):
            os.mkdir(folder, mode=0o700)
        os.environ.update(_OFF, GRADIO_TEMP_DIR=uploads)


def take_no_addresses(files: gr.File) -> None:
    """Refuse an address in place of a file: the server would request it."""
    moved = files.async_move_resource_to_block_cache

    async def only_files(path: Any) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("an address is not fetched. Drop the file itself.")
        return await moved(path)

    files.async_move_resource_to_block_cache = only_files


class _OwnSourcesOnly:
    """Adds headers that keep browsers from loading or naming anything outside."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _OWN_SOURCES
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self.app(scope, receive, with_headers)


def serve(page: gr.Blocks, folder: PrivateFolder, *, prevent_thread_lock: bool = False, **options: Any) -> Any:
    """Serve a page until Ctrl-C or SIGTERM; then its folder is removed.

    Args:
        prevent_thread_lock: return at once with what Gradio's `launch` returns; the folder is removed at the latest
            when the program ends.
        options: others of Gradio's `launch`.
    """
    options = {
        **{"quiet": True, "share": False, "run_history": False, "ssr_mode": False, "mcp_server": False},
        **options,
        "app_kwargs": {"middleware": [Middleware(_OwnSourcesOnly)]},
    }
    if prevent_thread_lock:
        return page.launch(prevent_thread_lock=True, **options)
    with _signals() as ended:
        try:
            _, address, _ = page.launch(prevent_thread_lock=True, **options)
            print(f"The page is at {address} until Ctrl-C.", flush=True)
            ended.wait()
        finally:
            try:
                page.close(verbose=False)
            finally:
                folder.cleanup()
    return None


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C, SIGTERM, and a closed terminal; otherwise the last two would end the program
    without removing anything."""
    ended = threading.Event()
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), lambda *_: ended.set()) for name in names}
    try:
        yield ended
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
