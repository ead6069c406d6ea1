#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Documents made to hurt: none takes the server's memory, time or files.

Each ends within its time, ready or failed with a reason; the server goes on
serving; the children's peak memory stays under a bound (read from /proc)."""
import base64
import io
import os
import pathlib
import struct
import sys
import threading
import time
import zipfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from formats import Upload  # noqa: E402
from xin_process import Xin  # noqa: E402

CHILD_MIB = 512    # XIN_EXTRACT_HEAP_BYTES, which bounds address space
SERVER_MIB = 700   # of growth, while several end at once
SECONDS = 150
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx(body, head="", extra=(), compression=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in extra:
            archive.writestr(name, content)
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml",
                         f'<?xml version="1.0"?>{head}<w:document xmlns:w="{W}"><w:body>{body}'
                         "</w:body></w:document>")
    return out.getvalue()


def paragraph(text):
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def zip_bomb():
    """A document part of 2 GiB that is 2 MB packed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            part.write(f'<w:document xmlns:w="{W}"><w:body><w:p><w:r><w:t>'.encode())
            piece = b" " * (1 << 20)
            for _ in range(2048):
                part.write(piece)
    return out.getvalue()


def overlapping_bomb():
    """Many entries that share one stream of bytes, as 42.zip's successors do."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(b"x" * (32 << 20)) + packer.flush()
    names = [b"word/document.xml", b"word/styles.xml", b"word/footnotes.xml"]
    names += [b"word/%d.xml" % i for i in range(2000)]
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, 0, len(stream), 32 << 20,
                        len(names[0]), 0) + names[0] + stream
    central = b"".join(
        struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 0, 0, len(stream), 32 << 20,
                    len(name), 0, 0, 0, 0, 0, 0) + name for name in names)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(names), len(names), len(central), len(local), 0)
    return local + central + end


def nested_zips():
    inner = docx(paragraph("inside"))
    for _ in range(6):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(16):
                archive.writestr(f"{i}.zip", inner)
        inner = out.getvalue()
    return inner


def million_entries():
    """Written by hand: zipfile would take minutes."""
    count = 1_000_000
    one = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    central = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
                          0, 0) + b"a"
    size = len(central) * count
    end64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, len(one))
    locator = struct.pack("<IIQI", 0x07064B50, 0, len(one) + size, 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return one + central * count + end64 + locator + end


def encrypted_docx():
    """The flag of an encrypted entry, set by hand."""
    data = bytearray(docx(paragraph("secret")))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := data.find(mark, start)) >= 0:
            data[start + at] |= 1
            start += 4
    return bytes(data)


def pdf(text="Hello", damage=None):
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources"
               b"<</Font<</F1 5 0 R>>>>>>",
               b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
               b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, content)
    xref = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % at for at in places)
    return out + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % xref


def pdf_bomb():
    """A stream of 1 GiB of page content in 1 MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"0 0 m " * (1 << 17)) for _ in range(1400)) + packer.flush()
    head = (b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>"
            b"endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>endobj\n"
            b"4 0 obj<</Filter/FlateDecode/Length " + str(len(packed)).encode() + b">>stream\n")
    return head + packed + b"\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


def laughs():
    lines = ['<!ENTITY a0 "ha">'] + [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)]
    return "<!DOCTYPE x [" + "".join(lines) + "]>"


def deep_mime(depth):
    lines = ["Subject: deep"]
    for i in range(depth):
        lines += [f"Content-Type: multipart/mixed; boundary=b{i}", "", f"--b{i}"]
    return "\r\n".join(lines + ["", "the bottom of it", ""]).encode()


def many_parts(count):
    part = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    return ("Subject: many\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * count).encode()


def cases():
    """name, bytes (made when asked), wanted status, words of the reason"""
    good = docx("".join(paragraph(f"sentence {i * i * 7919} of a document") for i in range(400)))
    yield "bomb.docx", zip_bomb, "failed", "unpacks to more"
    yield "overlap.docx", overlapping_bomb, "failed", ""
    yield "nested.zip.docx", nested_zips, "failed", "one by one"
    yield "million.docx", million_entries, "failed", "entries"
    yield "laughs.docx", lambda: docx(paragraph("&a11;"), laughs()), "failed", "entity"
    yield "laughs.xml", lambda: f'<?xml version="1.0"?>{laughs()}<x>&a11;</x>'.encode(), "failed", "entity"
    yield ("outside.xml", lambda: b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
           b"<x>&f;</x>", "failed", "entity")
    yield "cut.docx", lambda: good[:len(good) // 2], "failed", "cut off"
    hole = len(good) // 4
    yield "holes.docx", lambda: good[:hole] + b"\xff" * 100 + good[hole + 100:], "failed", "damaged"
    yield "encrypted.docx", encrypted_docx, "failed", "encrypted"
    yield ("paths.docx", lambda: docx(paragraph("a good text"), extra=[
        ("../../../../tmp/xin_was_here", "x"), ("/etc/xin_was_here", "x"), ("a\\..\\b", "x")]), "ready", "")
    yield "deep.docx", lambda: docx("<w:tbl><w:tr><w:tc>" * 50000), "failed", "deep"
    yield "deep_tables.docx", lambda: docx(
        "<w:tbl><w:tr><w:tc>" * 300 + paragraph("bottom") + "</w:tc></w:tr></w:tbl>" * 300), "ready", ""
    yield "deep.xml", lambda: b"<?xml version='1.0'?>" + b"<a>" * 3_000_000, "failed", "deep"
    yield "deep.html", lambda: b"<html>" + b"<div>" * 1_000_000 + b"bottom", None, ""
    yield "deep.json", lambda: b"[" * 3_000_000, "failed", "JSON"
    yield "deep.rtf", lambda: b"{\\rtf1 " + b"{" * 3_000_000, "failed", "deep"
    yield "deep.eml", lambda: deep_mime(20000), None, ""
    yield "parts.eml", lambda: many_parts(200_000), "ready", ""
    yield "boundary.eml", lambda: (b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
                                   + b"--" * 4_000_000), None, ""
    yield "header.eml", lambda: b"Subject: " + b"very long " * 3_000_000 + b"\r\n\r\nbody text", "ready", ""
    yield "paragraph.txt", lambda: b"one word after the other " * 200_000, "ready", ""
    yield ("base64.eml", lambda: b"Subject: x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64"
           b"\r\n\r\n" + base64.encodebytes(b"word " * 2_000_000), "ready", "")
    yield "line.csv", lambda: b"a,b\n" + b"x" * 100_000_000, "failed", "bytes of text"
    yield "quote.csv", lambda: b'a,b\n"' + b"1,2\n" * 2_000_000, "ready", ""
    yield "commas.csv", lambda: b"," * 20_000_000, "failed", "no text"
    yield "cut.pdf", lambda: pdf()[:200], "failed", ""
    yield "bomb.pdf", pdf_bomb, "failed", ""
    yield "loop.pdf", lambda: pdf().replace(b"/Kids[3 0 R]", b"/Kids[2 0 R]"), "failed", "Loop in Pages tree"
    yield "zeros.txt", lambda: b"\0" * 5_000_000, None, ""
    yield "marks.md", lambda: b"*a _b " * 600_000, None, ""
    yield "brackets.md", lambda: b"[" * 300_000, None, ""
    yield "good.pdf", lambda: pdf("A good text"), "ready", ""
    yield "good.docx", lambda: good, "ready", ""


class Watch(threading.Thread):
    """The peak memory of the server's children, and of the server."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.child, self.server, self.ending = pid, 0, 0, False

    def run(self):
        while not self.ending:
            self.server = max(self.server, pss(self.pid))
            for child in descendants(self.pid):
                self.child = max(self.child, pss(child))
            time.sleep(0.05)


def descendants(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child)] + descendants(int(child))
    except OSError:
        pass
    return found


def pss(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return 0


def main():
    only = sys.argv[1:]
    xin = Xin().start(wait=60, XIN_EXTRACT_CPU_MS="20000")
    upload = Upload(xin, "default")
    watch = Watch(xin.process.pid)
    watch.start()
    before, wrong = pss(xin.process.pid), []
    try:
        for name, make, wanted, words in cases():
            if only and name not in only:
                continue
            content, began = make(), time.monotonic()
            watch.child = 0
            status, body = upload.send(name, content)
            if status not in (200, 202):
                outcome, reason = str(status), body["error"]["message"]
            else:
                body = upload.settle({body["id"]}, SECONDS)[body["id"]]
                outcome, reason = body["status"], body["error"]["message"] if body["error"] else ""
            took = time.monotonic() - began
            print(f"{outcome:7}{took:6.1f} s {watch.child:5} MiB  {name}: {reason[:110]}", flush=True)
            if wanted is not None and (outcome != wanted or words not in reason):
                wrong.append(f"{name}: {outcome} ({reason}), expected {wanted} ({words})")
            if outcome == "failed" and not reason:
                wrong.append(f"{name}: failed without a reason")
            if watch.child > CHILD_MIB:
                wrong.append(f"{name}: a child held {watch.child} MiB")
            if xin.ask("GET", "/health")[0] != 200:
                wrong.append(f"{name}: the server does not serve")
        if watch.server > before + SERVER_MIB:
            wrong.append(f"the server grew from {before} to {watch.server} MiB")
        assert not os.path.exists("/tmp/xin_was_here") and not os.path.exists("/etc/xin_was_here")
        assert xin.last_words() is None, xin.last_words()
        assert not wrong, "\n".join(wrong)
        print(f"hostile_test: all ended with a reason; server {before} -> {watch.server} MiB")
    finally:
        watch.ending = True
        xin.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
