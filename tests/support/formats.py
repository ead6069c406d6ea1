# SPDX-License-Identifier: Apache-2.0
"""Uploading files of any type and waiting for their end, for the Python suites."""
import pathlib
import time
import uuid


class Upload:
    def __init__(self, xin, brand):
        self.xin, self.path = xin, f"/v1/brands/{brand}/knowledge"

    def send(self, name, content, kind="application/octet-stream"):
        edge = uuid.uuid4().hex
        head = (f'--{edge}\r\nContent-Disposition: form-data; name="external_id"\r\n\r\n{name}\r\n'
                f'--{edge}\r\nContent-Disposition: form-data; name="file"; '
                f'filename="{pathlib.Path(name).name}"\r\nContent-Type: {kind}\r\n\r\n').encode()
        return self.xin.ask("POST", self.path, head + content + f"\r\n--{edge}--\r\n".encode(),
                            {"Content-Type": f"multipart/form-data; boundary={edge}"}, timeout=120)

    def settle(self, ids, seconds=240):
        """{id: the document as it ended}"""
        ended, until = {}, time.monotonic() + seconds
        while len(ended) < len(ids) and time.monotonic() < until:
            for source in ids - ended.keys():
                _, body = self.xin.ask("GET", f"{self.path}/{source}")
                if body["status"] in ("ready", "failed"):
                    ended[source] = body
            time.sleep(0.1)
        assert len(ended) == len(ids), f"{len(ids) - len(ended)} documents did not end"
        return ended
