#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Large uploads against `xin serve` with objects on S3: they stream from end to
end, so that no process grows with them. `--full` takes 1 GiB (minutes, and four
times that on disk); without it a tenth under half the ceiling.

large_file_test.py [--full]; exit 77 when the S3 server cannot be had."""
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from s3_server import S3Server  # noqa: E402
from xin_process import Xin  # noqa: E402

MIB = 1 << 20
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
WORDS = [f"{a}{b}" for a in ("kar", "lon", "mir", "tas", "vel", "dun", "sor", "pel")
         for b in ("ado", "ine", "uth", "eri", "ola", "ant", "ism", "oru")]


def text_of(size, seed=7):
    """Paragraphs of words, `size` bytes in all."""
    chance, out, total = random.Random(seed), [], 0
    while total < size:
        line = " ".join(chance.choices(WORDS, k=60)) + "."
        out.append(line)
        total += len(line)
    return out


def make_docx(path, text_bytes, image_bytes):
    body = "".join(f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p>" for line in text_of(text_bytes))
    block = random.Random(1).randbytes(4 * MIB)
    with zipfile.ZipFile(path, "w") as docx:
        docx.writestr("[Content_Types].xml", '<?xml version="1.0"?><Types xmlns='
                      '"http://schemas.openxmlformats.org/package/2006/content-types"/>')
        with docx.open("word/media/image1.png", "w", force_zip64=True) as image:
            for _ in range(image_bytes // len(block)):
                image.write(block)
        docx.writestr("word/document.xml", '<?xml version="1.0"?><w:document xmlns:w='
                      '"http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
                      f"{body}</w:body></w:document>", zipfile.ZIP_DEFLATED)


def make_page(path, text_bytes, image_bytes):
    """A page as browsers save it, its picture inside of it."""
    block = b"iVBORw0KGgoAAAANSUhEUgAA" * (MIB // 24)
    with open(path, "wb") as page:
        page.write(b'<html><body><img alt="a picture" src="data:image/png;base64,')
        for _ in range(image_bytes // len(block)):
            page.write(block)
        page.write(b'">')
        for line in text_of(text_bytes):
            page.write(f"<p>{line}</p>".encode())
        page.write(b"</body></html>")


def upload(xin, path, content_type=DOCX, stop_after=None):
    """A multipart body straight from the file; (None, link) when cut by us."""
    edge = "xin-edge-7d1"
    head = (f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
            f"Content-Type: {content_type}\r\n\r\n").encode()
    tail = f"\r\n--{edge}--\r\n".encode()
    size = path.stat().st_size
    where = urllib.parse.urlsplit(xin.url)
    link = http.client.HTTPConnection(where.hostname, where.port, timeout=300)
    link.putrequest("POST", "/v1/brands/default/knowledge")
    link.putheader("Content-Type", f"multipart/form-data; boundary={edge}")
    link.putheader("Content-Length", str(len(head) + size + len(tail)))
    link.endheaders()
    sent = 0
    try:
        link.send(head)
        with open(path, "rb") as file:
            while piece := file.read(MIB):
                link.send(piece)
                sent += len(piece)
                if stop_after and sent >= stop_after:
                    return None, link
        link.send(tail)
    except OSError:
        pass  # refused while we sent: the answer is there to be read
    answer = link.getresponse()
    return answer.status, json.loads(answer.read())


class PssWatch(threading.Thread):
    """The largest Pss of a process and of each of its children, by program."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, {}, threading.Event()

    def run(self):
        while not self.over.wait(0.005):
            for pid, name in self.family(self.pid, "xin serve"):
                self.look(pid, name)

    def family(self, pid, name):
        yield pid, name
        try:
            tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
            for task in tasks:
                for child in (task / "children").read_text().split():
                    comm = pathlib.Path(f"/proc/{child}/comm").read_text().strip()
                    yield from self.family(int(child), comm)
        except OSError:
            pass  # it ended

    def look(self, pid, name):
        try:
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pss = int(line.split()[1]) * 1024
                    self.peak[name] = max(self.peak.get(name, 0), pss)
        except OSError:
            pass

    def result(self):
        self.over.set()
        self.join()
        return self.peak


def until_ended(xin, source_id, seconds=300):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        status, body = xin.ask("GET", f"/v1/brands/default/knowledge/{source_id}")
        assert status == 200, body
        if body["status"] in ("ready", "failed"):
            return body
        time.sleep(0.1)
    raise AssertionError(f"the document did not end: {body}")


def names_in_spool(xin):
    return os.listdir(xin.home / "data" / "spool")


def a_large_document_streams_through_every_process(xin, path, content_type, most_allowed):
    size = path.stat().st_size
    watch = PssWatch(xin.process.pid)
    watch.start()
    began = time.monotonic()
    status, body = upload(xin, path, content_type)
    stored = time.monotonic()
    assert status == 202, (status, body)
    body = until_ended(xin, body["id"])
    ended = time.monotonic()
    peak = watch.result()
    path.unlink()
    print(f"  {path.name} of {size // MIB} MiB: stored in {stored - began:.1f} s, "
          f"{body['status']} after {ended - stored:.1f} s; peak Pss "
          + ", ".join(f"{name} {most / MIB:.0f} MiB" for name, most in sorted(peak.items())))
    assert body["status"] == "ready", body
    assert len(peak) > 1, f"no child was seen: {peak}"
    for name, most in peak.items():
        assert most < most_allowed, f"{name} grew to {most / MIB:.0f} MiB"
    assert names_in_spool(xin) == []


def too_much_text_is_said(xin, folder):
    path = folder / "wordy.docx"
    make_docx(path, 6 * MIB, 0)
    status, body = upload(xin, path)
    assert status == 202, (status, body)
    body = until_ended(xin, body["id"])
    assert body["status"] == "failed", body
    assert "bytes of text" in json.dumps(body), body


def a_killed_process_leaves_nothing_in_the_spool(xin, folder, settings):
    path = folder / "cut.docx"
    make_docx(path, 1000, 64 * MIB)
    _, link = upload(xin, path, stop_after=48 * MIB)
    xin.kill()
    link.close()
    assert names_in_spool(xin) == []
    xin.start(**settings)
    assert names_in_spool(xin) == []
    status, body = upload(xin, path)
    assert status == 202, (status, body)


def tmpfs_command():
    """A prefix that gives a program a data folder of 48 MiB, or None."""
    script = 'mount -t tmpfs -o size=48m tmpfs "$XIN_DATA_DIR" && exec "$@"'
    for unshare in (["unshare", "-m"], ["unshare", "-Urm"]):
        command = [*unshare, "sh", "-c", script, "sh"]
        with tempfile.TemporaryDirectory() as place:
            tried = subprocess.run([*command, "true"], env={**os.environ, "XIN_DATA_DIR": place},
                                   capture_output=True, check=False)
        if tried.returncode == 0:
            return command
    return None


def a_full_disk_is_507_and_leaves_nothing(settings, folder):
    prefix = tmpfs_command()
    if prefix is None:
        print("  SKIPPED: a full disk: no tmpfs can be mounted here")
        return
    large, small = folder / "large.docx", folder / "small.docx"
    make_docx(large, 1000, 64 * MIB)
    make_docx(small, 1000, 20 * MIB)
    xin = Xin()
    try:
        (xin.home / "data").mkdir()
        xin.start(prefix=prefix, **settings)
        for _ in range(2):  # what was freed is free
            status, body = upload(xin, large)
            assert status == 507, (status, body)
            assert body["error"]["code"] == "disk_full", body
        status, body = upload(xin, small)
        assert status == 202, (status, body)
        assert until_ended(xin, body["id"])["status"] == "ready"
    finally:
        xin.stop()


def main():
    full = "--full" in sys.argv
    try:
        s3 = S3Server()
    except LookupError as missing:
        print(f"SKIPPED: large files: {missing}")
        return 77
    settings = s3.settings | {
        "XIN_MAX_UPLOAD_BYTES": str(2048 * MIB),
        "XIN_MAX_TEXT_BYTES": str(4 * MIB),
        "XIN_EXTRACT_CPU_MS": "300000",  # builds for debugging are slow
    }
    xin = Xin()
    with tempfile.TemporaryDirectory(prefix="xin-large-") as name:
        folder = pathlib.Path(name)
        try:
            s3.start()
            xin.start(**settings)
            print("a large document streams through every process")
            size, most = (1024 * MIB, 128 * MIB) if full else (96 * MIB, 64 * MIB)
            make_docx(folder / "large.docx", MIB, size)
            a_large_document_streams_through_every_process(xin, folder / "large.docx", DOCX, most)
            make_page(folder / "large.html", MIB, size)
            a_large_document_streams_through_every_process(
                xin, folder / "large.html", "text/html", most)
            print("too much text is said")
            too_much_text_is_said(xin, folder)
            print("a killed process leaves nothing in the spool")
            a_killed_process_leaves_nothing_in_the_spool(xin, folder, settings)
            print("a full disk is 507 and leaves nothing")
            a_full_disk_is_507_and_leaves_nothing(settings, folder)
        finally:
            xin.stop()
            s3.stop()
    print("large files: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
