# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: drop a file, read scores, change findings, ask where one comes from, drop a bad file.

Needs the extra `app`, playwright (`pip install playwright`), and an installed Chromium.
"""

import json
import shutil

import numpy as np
import pytest

from cgdmer.inference.scorers import load_scorer
from cgdmer.simulation.cohort import simulate_record
from recordings import write_wfdb

pytest.importorskip("gradio", reason="the page needs the extra `app`")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)

pytestmark = pytest.mark.slow
PATIENCE = 120_000  # milliseconds; a loaded machine is slow


@pytest.fixture(scope="module")
def record():
    return simulate_record(["premature_ventricular_beats"], seed=3)


@pytest.fixture(scope="module")
def wfdb_pair(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    write_wfdb(record, folder / "one")
    return [str(folder / "one.hea"), str(folder / "one.dat")]


@pytest.fixture(scope="module")
def classify():
    return load_scorer()


@pytest.fixture(scope="module")
def address(classify):
    from cgdmer.app.page import build_page, launch_page

    page = build_page(classify)
    _, address, _ = launch_page(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address
    page.close()


@pytest.fixture
def browser_page(address):
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("#score")
        yield page
        browser.close()


def drop(page, *files: str) -> None:
    page.set_input_files("#files input[type=file]", list(files))


def test_from_drop_to_relevance(browser_page, wfdb_pair, record, classify):
    drop(browser_page, *wfdb_pair)
    browser_page.wait_for_selector("#bars .bars")
    shown = browser_page.inner_text("#bars")
    for row in classify(record, ["normal ECG", "premature ventricular beats"]):
        assert f"{row['label']}\n{100 * row['score']:.1f} %" in shown
    assert "Not a medical device" in shown and "not probabilities" in shown and "All twelve leads were used." in shown
    browser_page.wait_for_selector("#paper img")
    browser_page.click("#explain")
    browser_page.wait_for_selector("#relevance img")
    with browser_page.expect_download() as waiting:
        browser_page.click("#json")
    answer = json.loads(waiting.value.path().read_text())
    assert answer["label"] == "premature ventricular beats" and np.shape(answer["relevance"]) == (12, 25)
    browser_page.fill("#prompts textarea", "atrial flutter\n")
    browser_page.click("#score")
    browser_page.wait_for_function("document.querySelector('#bars').innerText.startsWith('atrial flutter')")


def test_a_bad_file_gets_a_message_and_the_page_still_works(browser_page, wfdb_pair, record, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"rubbish")
    drop(browser_page, str(tmp_path / "bad.npy"))
    browser_page.wait_for_selector("#message .message")
    message = browser_page.inner_text("#message")
    assert message == "bad.npy is not an NPY file of numbers. Write it with numpy.save."
    browser_page.click("#files button[aria-label*='emove'], #files button[aria-label*='lear']")
    np.save(tmp_path / "good.npy", record.signal[:2])
    drop(browser_page, str(tmp_path / "good.npy"))
    browser_page.wait_for_function("document.querySelector('#message').innerText.includes('does not state its rate')")
    browser_page.fill("#rate textarea, #rate input", "500")
    browser_page.fill("#leads textarea, #leads input", "I, II")
    browser_page.click("#unit input")
    browser_page.get_by_role("option", name="mV", exact=True).click()
    browser_page.click("#score")
    browser_page.wait_for_selector("#bars .bars")
    assert "Leads used: I, II. Derived from two of them: III, aVR" in browser_page.inner_text("#bars")


def test_on_a_phone_nothing_overflows_and_the_paper_scrolls(browser_page):
    browser_page.set_viewport_size({"width": 390, "height": 844})
    browser_page.click("#example input")
    browser_page.get_by_role("option").first.click()
    browser_page.wait_for_selector("#paper img")
    assert browser_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    left = browser_page.evaluate(
        "document.querySelector('#paper img').getBoundingClientRect().left - "
        "document.querySelector('#paper').getBoundingClientRect().left"
    )
    width = browser_page.evaluate("document.querySelector('#paper img').getBoundingClientRect().width")
    assert width >= 900 and left >= 0  # its left edge can be reached
