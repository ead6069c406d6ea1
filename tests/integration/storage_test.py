#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`xin serve` with its objects on S3: refusals say what to set, and a storage that
goes away costs nothing but time. Exit 77 when the S3 server cannot be had."""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from s3_server import S3Server  # noqa: E402
from xin_process import BINARY, Xin  # noqa: E402

BRAND = "/v1/brands/default/knowledge"


def until_ended(xin, source_id, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        body = xin.ask("GET", f"{BRAND}/{source_id}")[1]
        if body["status"] == "failed":
            return body["error"]
        if body["status"] == "ready":
            return "ready"
        time.sleep(0.1)
    raise AssertionError(f"the document did not end: {body}")


def objects_in(s3):
    return [path for path in s3.root.rglob("*") if path.is_file() and ".sgwtmp" not in path.parts]


def some_settings_alone_are_refused_at_start(s3):
    settings = {name: value for name, value in s3.settings.items()
                if name not in ("STORAGE_REGION", "STORAGE_BUCKET")}
    ended = subprocess.run([str(BINARY), "serve"], env={"PATH": "/usr/bin:/bin", **settings},
                           cwd=s3.home, capture_output=True, text=True, timeout=30, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0, said
    assert "STORAGE_REGION" in said and "STORAGE_BUCKET" in said, said


def a_wrong_secret_is_named(s3):
    xin = Xin()
    try:
        xin.start(wait=3, **s3.settings | {"STORAGE_SECRET_KEY": "wrong"})
    except AssertionError:
        pass  # it listens, but its health is not good
    try:
        xin.wait_for_url()
        status, body = xin.ask("GET", "/health")
        assert status == 503, body
        assert "STORAGE_SECRET_KEY" in body["checks"]["objects"], body
        status, body = xin.upload("default", "a.md", "# A\n\nText.")
        assert status == 503, body
        said = json.dumps(body)
        assert "storage" in said and "STORAGE_SECRET_KEY" in said, body
    finally:
        xin.stop()


def documents_live_in_the_bucket_and_leave_it(s3, xin):
    status, body = xin.upload("default", "a.md", "# Hours\n\nWe open at nine.")
    assert status == 202, body
    assert until_ended(xin, body["id"]) == "ready"
    stored = objects_in(s3)
    assert [path.read_text() for path in stored] == ["# Hours\n\nWe open at nine."], stored
    status, answer = xin.ask("DELETE", f"{BRAND}/{body['id']}")
    assert status in (200, 202, 204), answer
    for _ in range(100):
        if not objects_in(s3):
            return
        time.sleep(0.1)
    raise AssertionError(f"left behind: {objects_in(s3)}")


def an_upload_while_storage_is_away_is_503(s3, xin):
    s3.kill()
    status, body = xin.upload("default", "b.md", "# B\n\nText of b.")
    assert status == 503, body
    assert "storage" in json.dumps(body), body
    assert xin.ask("GET", "/health/live")[0] == 200
    s3.start()
    status, body = xin.upload("default", "b.md", "# B\n\nText of b.")
    assert status == 202, body
    assert until_ended(xin, body["id"]) == "ready"


def ingestion_waits_for_a_storage_that_went_away(s3, xin):
    ids = []
    for i in range(20):
        status, body = xin.upload("default", f"c{i}.md", f"# C{i}\n\nText number {i}.")
        assert status == 202, body
        ids.append(body["id"])
    s3.kill()
    time.sleep(4)
    s3.start()
    ended = [until_ended(xin, source_id, 120) for source_id in ids]
    assert ended == ["ready"] * len(ids), ended


def main():
    try:
        s3 = S3Server()
    except LookupError as missing:
        print(f"SKIPPED: storage: {missing}")
        return 77
    xin = Xin()
    try:
        s3.start()
        print("some settings alone are refused at start")
        some_settings_alone_are_refused_at_start(s3)
        print("a wrong secret is named")
        a_wrong_secret_is_named(s3)
        xin.start(**s3.settings)
        for test in (documents_live_in_the_bucket_and_leave_it,
                     an_upload_while_storage_is_away_is_503,
                     ingestion_waits_for_a_storage_that_went_away):
            print(test.__name__.replace("_", " "))
            test(s3, xin)
    finally:
        xin.stop()
        s3.stop()
    print("storage: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
