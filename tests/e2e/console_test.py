#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The console in a real browser against the real binary: one process on embedded
back ends, or with --cluster three processes on the cluster's.

XIN_E2E_PICTURES=<folder> keeps a picture of each view."""
import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
from cluster import Cluster, Missing  # noqa: E402
from webdriver import Browser, missing  # noqa: E402
from xin_process import Xin  # noqa: E402

DOCUMENT = """# Returns

You can return a jacket within 30 days of delivery. Keep the label on it.

## Refunds

A refund reaches your account within five working days after we receive the parcel.
"""
LAST = "const b = [...document.querySelectorAll('.bubble.bot')].at(-1);"
PICTURES = os.environ.get("XIN_E2E_PICTURES")


CLUSTER = None


def serve():
    """What the page is a part of."""
    if not CLUSTER:
        return Xin().start()
    orchestrator = CLUSTER.role("orchestrator")
    CLUSTER.role("worker")
    CLUSTER.role("gateway", XIN_ORCHESTRATOR_URL=orchestrator.url)
    return orchestrator


class Console(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.xin = serve()
        cls.browser = Browser()
        cls.browser.size(1280, 860)
        cls.browser.open(cls.xin.url + "/")
        cls.browser.wait("brands", "return document.querySelectorAll('#brand option').length > 1")

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        if CLUSTER:
            CLUSTER.close()
        else:
            cls.xin.stop()

    def tearDown(self):
        self.assertIsNone(self.xin.last_words(), self.xin.last_words())

    def picture(self, name):
        if PICTURES:
            self.browser.picture(f"{PICTURES}/{name}.png")

    def pick(self, brand):
        self.browser.run(
            "const b = document.getElementById('brand'); b.value = arguments[0];"
            "b.dispatchEvent(new Event('change'))", brand)

    def say(self, text, by_keys=False):
        seen = self.browser.run("return document.querySelectorAll('.bubble.bot').length")
        if by_keys:
            self.browser.keys("#message", text + "\ue007")
        else:  # headless Chromium drops typed keys after a modal dialog was closed
            self.browser.run(
                "const m = document.getElementById('message'); m.value = arguments[0];"
                "m.dispatchEvent(new Event('input'))", text)
            self.browser.click("#send")
        try:
            self.browser.wait(
                "an answer", "return document.querySelectorAll('.bubble.bot').length > arguments[0]"
                " && !document.querySelector('.bubble.busy')", seen)
        except AssertionError as error:
            state = self.browser.run(
                "return [arguments[0], document.querySelectorAll('.bubble.bot').length,"
                " document.getElementById('log').textContent, document.getElementById('message').value,"
                " document.activeElement.id, document.getElementById('problem').textContent]", seen)
            raise AssertionError(f"{error}; the page: {state}") from None

    def upload(self, name, text):
        path = self.xin.home / name
        path.write_text(text)
        self.browser.keys("#files", str(path))
        self.browser.wait(
            f"{name} to be ready",
            "return [...document.querySelectorAll('#source-list li')].some(li =>"
            " li.dataset.status === 'ready' && (li.textContent.includes(arguments[0]) || li.textContent.includes(arguments[1])))",
            text.split("\n")[0].lstrip("# "), name)

    def test_1_a_document_becomes_ready_and_is_cited(self):
        self.pick("default")
        self.upload("returns.md", DOCUMENT)
        self.say("Within how many days can I return a jacket?", by_keys=True)
        self.assertIn("30 days", self.browser.run(LAST + "return b.querySelector('.text').textContent"))
        self.assertGreater(self.browser.run(LAST + "return b.querySelectorAll('.chip').length"), 0)
        self.picture("answer")
        self.browser.run(LAST + "b.querySelector('.chip').click()")
        self.assertIn("30 days", self.browser.run(
            "return document.querySelector('dialog[open] blockquote').textContent"))
        self.picture("passage")
        self.browser.click("#sheet-close")

    def test_2_every_answer_shows_its_guards_and_generation(self):
        self.browser.run(LAST + "b.querySelector('.ledger summary').click()")
        table = self.browser.run(LAST + "return b.querySelector('.ledger table').textContent")
        self.assertIn("prompt_injection", table)
        self.assertIn("input", table)
        self.picture("ledger")
        self.assertTrue(self.browser.run(LAST + "return b.querySelector('.badge').textContent"))

    def test_3_feedback_is_taken(self):
        self.browser.run(LAST + "b.querySelector('.feedback button').click()")
        self.browser.wait("the pressed button", LAST + "return b.querySelector("
                          "'.feedback button').getAttribute('aria-pressed') === 'true'")

    def test_4_explain_says_why_a_document_is_where_it_is(self):
        self.browser.run("[...document.querySelectorAll('#source-list button')]"
                         ".find(b => b.textContent === 'Explain').click()")
        self.assertIn("Ready", self.browser.wait(
            "the sheet", "return document.querySelector('dialog[open] .lead')?.textContent"))
        self.browser.click("#sheet-close")

    def test_5_markup_in_messages_and_documents_stays_text(self):
        self.upload("evil.md", "# <img src=x onerror=\"window.bad=1\">\n\nA zebra costs 70 coins.\n")
        self.say("<script>window.bad = 1</script><img src=x onerror='window.bad=1'>")
        self.assertFalse(self.browser.run("return Boolean(window.bad)"))
        self.assertEqual(0, self.browser.run("return document.querySelectorAll('main img').length"))

    def test_6_persian_is_laid_out_from_right_to_left(self):
        rtl = self.browser.run(
            "return fetch('/v1/brands').then(r => r.json()).then(d =>"
            " d.brands.find(b => b.direction === 'rtl')?.id)")
        self.assertIsNotNone(rtl, "no right-to-left brand among lua/brands")
        self.pick(rtl)
        self.browser.wait("the direction", "return document.getElementById('chat').dir === 'rtl'")
        self.upload("bargasht.md", "# شرایط بازگشت\n\nکالا را تا ۷ روز پس از تحویل می‌توانید پس بدهید.\n")
        self.say("کالا را تا چند روز می‌توانم پس بدهم؟")
        box = self.browser.run(
            "const log = document.getElementById('log').getBoundingClientRect();"
            "const u = [...document.querySelectorAll('.bubble.user')].at(-1);"
            "const r = u.getBoundingClientRect();"
            "return {dir: getComputedStyle(u.querySelector('.text')).direction,"
            " left: r.left - log.left, right: log.right - r.right}")
        self.assertEqual("rtl", box["dir"])
        self.assertLess(box["left"], box["right"], "the user's bubble belongs to the left")
        self.picture("persian")

    def test_7_a_phone_shows_everything_without_scrolling_sideways(self):
        self.browser.size(360, 740)
        for tab in ("sources", "scripts", "chat"):
            self.browser.click(f"#tab-{tab}")
            self.assertLessEqual(
                self.browser.run("return document.documentElement.scrollWidth"), 360, tab)
            self.picture(f"phone-{tab}")
        self.browser.size(1280, 860)

    def test_8_it_works_from_the_keyboard(self):
        unnamed = self.browser.run(
            "return [...document.querySelectorAll('button, select, input, textarea')].filter(e =>"
            " e.offsetParent && !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length")
        self.assertEqual(0, unnamed)
        self.browser.run("document.getElementById('brand').focus()")
        self.browser.keys("#brand", "\ue004")
        self.assertNotEqual("brand", self.browser.run("return document.activeElement.id"))

    def test_9_the_page_breaks_no_policy_and_dark_mode_is_dark(self):
        self.browser.cdp("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        self.assertIn("rgb(20, 23, 26)", self.browser.run(
            "return getComputedStyle(document.body).backgroundColor"))
        self.picture("dark")
        self.browser.open(self.xin.url + "/docs")
        self.browser.wait("the routes", "return document.querySelectorAll('.route').length > 20")
        self.picture("docs")
        self.assertEqual([], self.browser.complaints())


class ConsoleWithKeys(unittest.TestCase):
    def test_it_asks_for_a_key_and_then_works(self):
        key = "xin_" + "k" * 43
        xin = Xin().start(XIN_AUTH="keys", XIN_ADMIN_KEY=key)
        browser = Browser()
        try:
            browser.open(xin.url + "/")
            browser.wait("the key field", "return !document.getElementById('key-form').hidden")
            if PICTURES:
                browser.picture(f"{PICTURES}/key.png")
            browser.keys("#key", key + "\ue007")
            browser.wait("brands", "return document.querySelectorAll('#brand option').length > 1")
            self.assertTrue(browser.run("return document.getElementById('key-form').hidden"))
        finally:
            browser.close()
            xin.stop()


if __name__ == "__main__":
    if missing():
        print("console_test: skipped:", ", ".join(missing()), "cannot be had here")
        sys.exit(77)
    if "--cluster" in sys.argv:
        sys.argv.remove("--cluster")
        try:
            CLUSTER = Cluster(XIN_AUTH="open")
        except Missing as missing_server:
            print("console_test: skipped:", missing_server)
            sys.exit(77)
    unittest.main(verbosity=2, warnings="ignore")
