"""What the tests ask of a page in Chromium, which the fixture `chromium` starts."""

from contextlib import contextmanager

import pytest

CUT = """() => {
  const root = document.documentElement, found = [];
  if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide`);
  for (const e of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(e);
    if (style.display === "inline" || e.closest(".unseen, .items thead") || e.scrollWidth <= e.clientWidth + 1) continue;
    const cue = ["auto", "scroll"].includes(style.overflowX) && style.backgroundImage.includes("gradient") && e.tabIndex === 0;
    if (e.clientWidth && !cue) found.push(`${e.tagName} ${e.className}: ${e.scrollWidth} in ${e.clientWidth}`);
  }
  return found;
}"""
"""What is wider than where it stands, unless it scrolls, shows a shadow at the end that hides something, and takes the focus."""


@contextmanager
def browser_page(browser, **options):
    """A page in a context of its own; an error on it is one of the test."""
    page = browser.new_page(**options)
    page.set_default_timeout(20_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield page
    page.close()
    assert not problems


def violations(page):
    """What axe-core finds on a page, which was opened with `bypass_csp`: rule, impact and the first element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [(v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found]
