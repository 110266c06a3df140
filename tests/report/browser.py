"""Opens a page in a headless Chromium, without a network, and uses it as a person would."""

import json
import re
import shutil
import subprocess
import threading

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needed = pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium")

# Runs a test's steps once the page has loaded, and says what they return on the console.
_STEPS = """
<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(event.message));
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
const $ = (name) => document.querySelector(name);
const $$ = (name) => [...document.querySelectorAll(name)];
const shown = (node) => node.getClientRects().length > 0;
const click = (node) => { node.scrollIntoView(); node.click(); };
const texts = (nodes) => [...nodes].map((one) => one.textContent);
const set = (node, value) => { node.value = value; node.dispatchEvent(new Event("input", { bubbles: true })); };
const until = async (done) => { while (!done()) await new Promise((go) => setTimeout(go, 20)); };
addEventListener("load", async () => {
  const answer = await (async () => { STEPS })().catch((error) => { wrong.push(String(error)); return null; });
  const resources = performance.getEntriesByType("resource").map((one) => one.name);
  const loaded = resources.filter((name) => !name.startsWith("data:"));
  console.log("answer", JSON.stringify({ answer, wrong, loaded }));
});
</script>
"""


def use(path, steps, folder, site=None, query=""):
    """What JavaScript steps return after they were run in a page that needs no network.

    Args:
        path: of the HTML file.
        steps: see `prepared`.
        folder: for a copy of the page and the browser's own files.
        site: None, or the folder below which the page may load files; the copy then lies beside the page.
        query: what follows the address, with its question mark.
    """
    copy = (path.parent if site else folder) / "used.html"
    copy.write_text(prepared(path.read_text(encoding="utf-8"), steps), encoding="utf-8")
    answer, loaded = opened(f"file://{copy}{query}", folder)
    assert [one for one in loaded if not (site and one.startswith(f"file://{site}/"))] == []
    return answer


def prepared(text, steps):
    """A page that runs steps.

    Args:
        text: of the page.
        steps: the body of an asynchronous function; `$`, `$$`, `texts`, `click`, `set`, `shown` and `until` are at
            hand.
    """
    # The page's own scripts stand before.
    return re.sub("<body[^>]*>", lambda body: body[0] + _STEPS.replace("STEPS", steps), text, count=1)


def opened(address, folder, *flags):
    """Opens a prepared page.

    Args:
        address: of the page.
        folder: for the browser's own files.
        flags: more of the browser's.

    Returns:
        What its steps returned, and the addresses that it loaded.
    """
    browser = subprocess.Popen(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900",
         f"--user-data-dir={folder / 'browser'}", "--enable-logging=stderr", *flags, address],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    timer = threading.Timer(300, browser.kill)
    timer.start()
    lines = []
    for line in browser.stderr:
        lines.append(line)
        if found := re.search(r'CONSOLE.*?"answer (.*)", source: ', line):
            break
    timer.cancel()
    browser.kill()
    browser.wait()
    assert found, "".join(lines[-20:])
    outcome = json.loads(found[1])
    assert outcome["wrong"] == []
    return outcome["answer"], outcome["loaded"]
