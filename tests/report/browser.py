"""Opens a page in a headless Chromium, without a network, and uses it as a person would."""

import json
import re
import shutil
import subprocess

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needed = pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium")

# Runs a test's steps once the page has loaded, and leaves what they return in the document.
_STEPS = """
<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(event.message));
const $ = (name) => document.querySelector(name);
const $$ = (name) => [...document.querySelectorAll(name)];
const shown = (node) => node.getClientRects().length > 0;
const click = (node) => { node.scrollIntoView(); node.click(); };
const texts = (nodes) => [...nodes].map((one) => one.textContent);
const set = (node, value) => { node.value = value; node.dispatchEvent(new Event("input", { bubbles: true })); };
addEventListener("load", () => {
  let answer = null;
  try { answer = (() => { STEPS })(); } catch (error) { wrong.push(String(error)); }
  const resources = performance.getEntriesByType("resource").map((one) => one.name);
  const loaded = resources.filter((name) => !name.startsWith("data:"));
  const node = document.body.appendChild(document.createElement("pre"));
  node.id = "answer";
  node.textContent = JSON.stringify({ answer, wrong, loaded });
});
</script>
"""


def dom(address, folder):
    """The document of a page after its scripts have run for two seconds.

    Args:
        address: of the page.
        folder: for the browser's own files.
    """
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900",
         f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=2000", "--dump-dom", address],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout, done.stderr[-2000:]
    return done.stdout


def use(path, steps, folder, site=None):
    """What JavaScript steps return after they were run in a page.

    Args:
        path: of the HTML file.
        steps: the body of a function; `$`, `$$`, `texts`, `click`, `set` and `shown` are at hand.
        folder: for a copy of the page and the browser's own files.
        site: None, or the folder below which the page may load files; the copy then lies beside the page.
    """
    copy = (path.parent if site else folder) / "used.html"
    text = path.read_text(encoding="utf-8")
    # The page's own scripts stand before.
    copy.write_text(
        re.sub("<body[^>]*>", lambda body: body[0] + _STEPS.replace("STEPS", steps), text, count=1), encoding="utf-8"
    )
    found = re.search(r'<pre id="answer">(.*?)</pre>', dom(f"file://{copy}", folder), re.DOTALL)
    assert found
    outcome = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    outside = [one for one in outcome["loaded"] if not (site and one.startswith(f"file://{site}/"))]
    assert outcome["wrong"] == [] and outside == []
    return outcome["answer"]
