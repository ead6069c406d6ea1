#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ingestion goes on where it was interrupted: the steps' attempts show it.

Needs a build with XIN_FAULTS (debug)."""
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from xin_process import Xin  # noqa: E402

BRAND = "default"
LEASE = "3000"  # long enough for a busy machine to renew it
FILLER = "This section tells a plain story of ferries and their timetables. " * 14
# Fails the first time, where the metadata says so.
FLAKY = """-- SPDX-License-Identifier: Apache-2.0
local M = { api = 1, name = "flaky" }

function M.run(document)
  local key = "flaky_" .. document.id
  local calls = tonumber(xin.kv.get(key) or "0")
  xin.kv.set(key, tostring(calls + 1), 600)
  local count, err = xin.search.put(xin.document.chunks())
  if not count then
    return nil, err
  end
  if calls < 1 and document.metadata.fails then
    return nil, { code = document.metadata.fails, reason = "the flaky step fails once" }
  end
  return document
end

return M
"""
PIPELINE = """-- SPDX-License-Identifier: Apache-2.0
return {
  api = 1,
  name = "standard",
  steps = { "extract", "clean", "chunk", "guard", "embed", "flaky" },
}
"""


def document(sections):
    return "\n\n".join(f"## Part {i}\n\nThe word zanzibar{i} stands here. {FILLER}"
                       for i in range(sections))


def view(xin, source):
    status, body = xin.ask("GET", f"/v1/brands/{BRAND}/knowledge/{source}")
    assert status == 200, body
    return body


def settle(xin, source, seconds=60, wanted=("ready", "failed")):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        body = view(xin, source)
        if body["status"] in wanted:
            return body
        time.sleep(0.1)
    raise AssertionError(f"not settled: {body}")


def attempts(body):
    return {step["name"]: step["attempt"] for step in body["steps"]}


def killed_at(xin, point, text):
    """Upload, wait for the kill, start again; the document as it ended."""
    xin.stop_quietly()
    xin.start(wait=60, XIN_LEASE_MS=LEASE, XIN_FAULT=f"{point}:kill")
    assert xin.last_words() is None, xin.last_words()
    status, body = xin.upload(BRAND, f"{point}.md", f"# {point}\n\n{text}")
    assert status == 202, body
    until = time.monotonic() + 60
    while xin.process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert xin.process.poll() is not None, f"{point} was not reached"
    xin.start(wait=60, XIN_LEASE_MS=LEASE)
    assert xin.last_words() is None, xin.last_words()
    return settle(xin, body["id"])


def events(xin, name, source):
    return [line for line in xin.events() if line["event"] == name and line.get("source_id") == source]


def kept(xin):
    folder = xin.home / "data"
    return [str(path) for path in folder.rglob("checkpoints/*/*") if path.is_file()]


def after_extraction(xin):
    body = killed_at(xin, "ingest.extracted", document(20))
    assert body["status"] == "ready", body
    made = attempts(body)
    assert made.pop("extract") == 1 and min(made.values()) >= 2, attempts(body)
    assert not kept(xin), kept(xin)


def in_the_middle_of_the_index(xin):
    sections = 3000
    body = killed_at(xin, "ingest.half_indexed", document(sections))
    assert body["status"] == "ready", body
    made = attempts(body)
    assert made.pop("index") >= 2 and made.pop("embed") >= 2, attempts(body)
    assert set(made.values()) == {1}, attempts(body)
    assert events(xin, "document.resumed", body["id"])
    from_chunk = body["steps"][-1]["from"]
    assert from_chunk >= 512, body["steps"][-1]
    assert body["chunks"] >= sections, body["chunks"]
    for number in (1, sections // 2, sections - 1):
        status, found = xin.ask("POST", f"/v1/brands/{BRAND}/search",
                                {"query": f"zanzibar{number}", "top_k": 5})
        assert status == 200 and found["hits"], (number, found)
    assert not kept(xin), kept(xin)
    return from_chunk


def with_flaky(xin):
    xin.stop_quietly()
    (xin.home / "lua/pipelines/steps/flaky.lua").write_text(FLAKY)
    (xin.home / "lua/pipelines/standard.lua").write_text(PIPELINE)
    (xin.home / "lua/pipelines/standard_spec.lua").unlink(missing_ok=True)
    xin.start(wait=60, XIN_LEASE_MS=LEASE)


def upload_failing(xin, name, code):
    status, body = xin.ask("POST", f"/v1/brands/{BRAND}/knowledge",
                           {"title": name, "content": f"# {name}\n\n{document(5)}",
                            "metadata": {"fails": code}})
    assert status == 202, body
    return body["id"]


def a_retry_by_request(xin):
    source = upload_failing(xin, "by request", "internal")
    body = settle(xin, source)
    assert body["status"] == "failed", body
    assert kept(xin), "no checkpoint was kept for the retry"
    began = body["steps"][0]["started_at"]
    status, answer = xin.ask("POST", f"/v1/brands/{BRAND}/knowledge/{source}/retry")
    assert status in (200, 202), answer
    body = settle(xin, source, wanted=("ready",))
    assert body["steps"][0]["started_at"] == began, "it was extracted again"
    assert not kept(xin), kept(xin)


def generation(xin):
    return xin.ask("GET", "/v1/scripts")[1]["active"]["hash"]


def with_new_scripts_from_the_start(xin):
    source = upload_failing(xin, "new scripts", "internal")
    body = settle(xin, source)
    began = body["steps"][0]["started_at"]
    before = generation(xin)
    step = xin.home / "lua/pipelines/steps/clean.lua"
    step.write_text(step.read_text() + "\n-- another generation\n")
    until = time.monotonic() + 30
    while generation(xin) == before and time.monotonic() < until:
        time.sleep(0.1)
    xin.ask("POST", f"/v1/brands/{BRAND}/knowledge/{source}/retry")
    body = settle(xin, source, wanted=("ready",))
    assert body["steps"][0]["started_at"] != began, "old results under new scripts"
    assert events(xin, "checkpoint.outdated", source)
    assert not kept(xin), kept(xin)


def a_deleted_document_leaves_nothing(xin):
    source = upload_failing(xin, "deleted", "internal")
    settle(xin, source)
    assert kept(xin)
    status, _ = xin.ask("DELETE", f"/v1/brands/{BRAND}/knowledge/{source}")
    assert status in (200, 204), status
    assert not kept(xin), kept(xin)


def main():
    xin = Xin()
    try:
        after_extraction(xin)
        put = in_the_middle_of_the_index(xin)
        with_flaky(xin)
        a_retry_by_request(xin)
        with_new_scripts_from_the_start(xin)
        a_deleted_document_leaves_nothing(xin)
        print(f"resume_test: goes on after kills and failures; the index from chunk {put}")
    finally:
        xin.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
