#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real documents of every format: each ends ready, or failed with the true reason.

Prints a table of formats. The documents are found under XIN_SHARED_DATA (or
../shared/data); without them the test is skipped by name (exit 77)."""
import collections
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from formats import Upload  # noqa: E402
from xin_process import ROOT, Xin  # noqa: E402

BRAND = "default"
FOLDERS = ["ingest/markitdown", "ingest/unstructured", "ingest/fastapi_docs"]
NOT_DOCUMENTS = {"LICENSE", "SOURCE.md", "LICENSE.md", "README.md"}
OLD_OFFICE = "before 2007"
NO_TEXT = "no text in it"
# What cannot become knowledge, and why: refused at once (415), or failed.
EXPECTED = {
    "markitdown/random.bin": ("415", "cannot be read"),
    "markitdown/test.xls": ("415", OLD_OFFICE),
    "markitdown/test_outlook_msg.msg": ("415", "Outlook message"),
    "unstructured/duplicate-paragraphs.doc": ("415", OLD_OFFICE),
    "unstructured/fake-doc-emphasized-text.doc": ("415", OLD_OFFICE),
    "unstructured/fake.doc": ("415", OLD_OFFICE),
    "unstructured/simple.doc": ("415", OLD_OFFICE),
    "unstructured/tests-example.xls": ("415", OLD_OFFICE),
    "unstructured/simple.zip": ("failed", "one by one"),
    "unstructured/empty.txt": ("400", "the file is empty"),
    "unstructured/empty.xlsx": ("failed", NO_TEXT),
    "unstructured/fake-text-all-whitespace.txt": ("failed", NO_TEXT),
    "unstructured/password_protected.xlsx": ("failed", "encrypted with a password"),
    "unstructured/picture.pptx": ("failed", NO_TEXT),
    "unstructured/test-image-jpg-mime.pptx": ("failed", NO_TEXT),
    "unstructured/eml/empty.eml": ("failed", NO_TEXT),
    "unstructured/eml/fake-encrypted.eml": ("failed", "encrypted"),
    "unstructured/pdf/password.pdf": ("failed", "encrypted with a password"),
}
# A word of each format that must be found, with the document that has it.
FOUND = {
    "markitdown/test.docx": "AutoGen multi-agent conversation",
    "markitdown/test_mskanji.csv": "名前 年齢",
    "unstructured/stanley-cups.xlsx": "Maple Leafs",
    "unstructured/eml/mime-word-encoded-subject.eml": "Unicode subject",
    "markitdown/movie-theater-booking-2024.pdf": "theater booking",
}


def data_folder():
    for folder in (os.environ.get("XIN_SHARED_DATA"), ROOT / "../shared/data"):
        if folder and (pathlib.Path(folder) / FOLDERS[0]).is_dir():
            return pathlib.Path(folder)
    return None


def documents(data):
    for folder in FOLDERS:
        for path in sorted((data / folder).rglob("*")):
            name = str(path.relative_to(data / "ingest"))
            if path.is_file() and path.name not in NOT_DOCUMENTS:
                yield name, path


def outcomes(upload, data):
    """{name: (outcome, reason)}, {name: id}"""
    found, names = {}, {}
    for name, path in documents(data):
        status, body = upload.send(name, path.read_bytes())
        if status in (200, 202):
            names.setdefault(body["id"], []).append(name)
        else:
            found[name] = (str(status), body["error"]["message"])
    for source, body in upload.settle(names.keys()).items():
        for name in names[source]:
            reason = body["error"]["message"] if body["error"] else ""
            found[name] = (body["status"], reason)
    return found, {name: source for source, mine in names.items() for name in mine}


def table(found):
    rows = collections.defaultdict(collections.Counter)
    for name, (outcome, _) in found.items():
        outcome = outcome if outcome in ("ready", "failed") else "refused"
        rows[pathlib.Path(name).suffix][outcome] += 1
    print(f"{'format':10}{'ready':>7}{'failed':>8}{'refused':>9}")
    for suffix, row in sorted(rows.items()):
        print(f"{suffix:10}{row['ready']:7}{row['failed']:8}{row['refused']:9}")
    for name, (outcome, reason) in sorted(found.items()):
        if outcome != "ready":
            print(f"  {outcome:7}{name}: {reason}")


def compare(found):
    wrong = []
    for name, (outcome, reason) in found.items():
        wanted, words = EXPECTED.get(name, ("ready", ""))
        if outcome != wanted or words not in reason:
            wrong.append(f"{name}: {outcome} ({reason}), expected {wanted} ({words})")
    wrong += [f"{name}: was not there" for name in EXPECTED if name not in found]
    assert not wrong, "\n".join(wrong)


def lies_do_not_hurt(upload, data):
    """The same bytes under wrong names and types."""
    for path, name, kind in (
            ("unstructured/pdf/fake-memo.pdf", "lie.txt", "text/plain"),
            ("unstructured/simple.docx", "lie.pdf", "application/pdf"),
            ("unstructured/stanley-cups.xlsx", "lie", "image/png"),
            ("unstructured/fake-text.txt", "lie.docx", "application/vnd.openxmlformats-"
             "officedocument.wordprocessingml.document"),
            ("unstructured/fake-html.html", "lie2.txt", "text/plain")):
        content = (data / "ingest" / path).read_bytes() + b"\n"
        status, body = upload.send(name, content, kind)
        assert status == 202, (name, body)
        ended = upload.settle({body["id"]})[body["id"]]
        assert ended["status"] == "ready", (name, ended["error"])


def hits_point_into_documents(xin, ids):
    for name, words in FOUND.items():
        status, body = xin.ask("POST", f"/v1/brands/{BRAND}/search", {"query": words, "top_k": 20})
        assert status == 200, body
        assert any(hit["source_id"] == ids[name] for hit in body["hits"]), f"{words}: {name} not found"
    _, body = xin.ask("POST", f"/v1/brands/{BRAND}/search", {"query": "theater booking", "top_k": 20})
    assert any(hit["metadata"].get("page") for hit in body["hits"]), "no hit knows its page"


def main():
    data = data_folder()
    if data is None:
        print("formats_test: no shared data (XIN_SHARED_DATA): skipped")
        return 77
    xin = Xin().start(wait=60)
    upload = Upload(xin, BRAND)
    try:
        found, ids = outcomes(upload, data)
        table(found)
        compare(found)
        hits_point_into_documents(xin, ids)
        lies_do_not_hurt(upload, data)
        ready = sum(outcome == "ready" for outcome, _ in found.values())
        print(f"formats_test: {len(found)} documents, {ready} ready, the others say why")
    finally:
        xin.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
