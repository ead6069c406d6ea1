#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The container image: built here, looked into, and run as a cluster would.

Takes minutes, root and the network, so it is no part of `make test`: `make
image-test`. IMAGE_BUILD_ROOT names a Debian 13 root that may be used again.
Exit 77 names what is missing."""
import contextlib
import gzip
import hashlib
import hmac
import io
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "build-image"
WORK = pathlib.Path(tempfile.mkdtemp(prefix="xin-image-"))
WORK.chmod(0o711)  # the image's user goes through it
RUN = WORK / "xin"
os.environ["XIN_BINARY"] = str(RUN)
sys.path.insert(0, str(ROOT / "tests/support"))
from xin_process import OPENER, Xin  # noqa: E402

USER = 65532
LIMIT = 80_000_000
SECRET = "image-secret"
ADMIN = "xin_" + "i" * 43
# The suites of the binary that mean something in a container; the others kill
# the process itself, which here is the container's runtime.
SPECS = ("10_gateway", "20_brands", "30_knowledge", "40_turns", "50_guardrails",
         "60_reload")


def build():
    words = [str(ROOT / "deploy/image/build"), "--out", str(OUT)]
    if "IMAGE_BUILD_ROOT" in os.environ:
        words += ["--root", os.environ["IMAGE_BUILD_ROOT"]]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 77:
        raise SystemExit(77)
    assert done.returncode == 0, done.stdout[-3000:]
    *_, said, digest = done.stdout.strip().split("\n")
    print("  " + said)
    return pathlib.Path(said.split(":")[0]), digest


class Image:
    """What a registry and a node would see of the archive."""

    def __init__(self, path):
        self.path = path
        self.tar = tarfile.open(path)
        self.index = json.loads(self.read("index.json"))
        self.digest = self.index["manifests"][0]["digest"]
        self.manifest = json.loads(self.blob(self.digest))
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]))
        self.layers = [gzip.decompress(self.blob(layer["digest"]))
                       for layer in self.manifest["layers"]]
        self.files = {}
        for layer in self.layers:
            for info in tarfile.open(fileobj=io.BytesIO(layer)):
                self.files[info.name] = info

    def read(self, name):
        return self.tar.extractfile(name).read()

    def blob(self, digest):
        data = self.read("blobs/sha256/" + digest.removeprefix("sha256:"))
        assert "sha256:" + hashlib.sha256(data).hexdigest() == digest, digest
        return data

    def unpack(self, folder):
        for layer in self.layers:
            subprocess.run(["tar", "-x", "-C", str(folder)], input=layer, check=True)


# ---- the archive ----

def the_archive_is_an_oci_layout_and_a_docker_archive(image):
    assert json.loads(image.read("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    docker, = json.loads(image.read("manifest.json"))
    config = image.read(docker["Config"])
    assert hashlib.sha256(config).hexdigest() == docker["Config"].rsplit("/")[-1]
    assert [layer.rsplit("/")[-1] for layer in docker["Layers"]] == [
        layer["digest"][7:] for layer in image.manifest["layers"]]
    for plain, diff_id in zip(image.layers, image.config["rootfs"]["diff_ids"], strict=True):
        assert "sha256:" + hashlib.sha256(plain).hexdigest() == diff_id
    if shutil.which("buildah"):
        for kind in ("oci-archive", "docker-archive"):
            subprocess.run(["buildah", "--storage-driver=vfs", f"--root={WORK}/storage",
                            f"--runroot={WORK}/run", "pull", f"{kind}:{image.path}"],
                           check=True, capture_output=True)
        shutil.rmtree(WORK / "storage")


def it_is_small(image):
    size = sum(layer["size"] for layer in image.manifest["layers"])
    assert size < LIMIT, size


def it_says_how_it_wants_to_be_run(image):
    config = image.config["config"]
    assert config["User"] == f"{USER}:{USER}" and config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["/usr/bin/xin"] and config["Cmd"] == ["serve"]
    assert set(config["ExposedPorts"]) == {"8000/tcp", "8080/tcp", "9102/tcp", "9103/tcp"}
    assert list(config["Volumes"]) == ["/var/lib/xin"]
    labels = config["Labels"]
    for name in ("title", "version", "revision", "created", "licenses", "description"):
        assert labels["org.opencontainers.image." + name], name


def there_is_no_shell_and_no_package_manager(image):
    programs = {name for name, info in image.files.items()
                if info.isreg() and info.mode & 0o111 and "/lib/" not in "/" + name}
    assert programs == {"usr/bin/xin", "usr/bin/xin-extract", "usr/bin/pdftotext"}, programs


def only_the_data_folder_and_tmp_can_be_written(image):
    for name, info in image.files.items():
        if name == "var/lib/xin":
            assert (info.uid, info.mode) == (USER, 0o750), name
            continue
        assert info.uid == 0 and info.gid == 0, name
        assert not info.mode & (stat.S_ISUID | stat.S_ISGID), name
        assert info.issym() or name == "tmp" or not info.mode & 0o022, name


def scanners_find_every_package(image):
    sbom = json.loads(image.path.with_suffix(".spdx.json").read_text())
    assert sbom["spdxVersion"] == "SPDX-2.3"
    xin, *debs = sbom["packages"]
    assert xin["name"] == "xin" and xin["versionInfo"] in image.path.name
    found = {name.removeprefix("var/lib/dpkg/status.d/") for name in image.files
             if name.startswith("var/lib/dpkg/status.d/") and not name.endswith(".md5sums")}
    assert {deb["name"] for deb in debs} == found and "libc6" in found
    for deb in debs:
        purl = deb["externalRefs"][0]["referenceLocator"]
        assert purl.startswith(f"pkg:deb/debian/{deb['name']}@"), purl
        assert len(deb["checksums"][0]["checksumValue"]) == 64
        folder = f"usr/share/doc/{deb['name']}"
        if folder in image.files and image.files[folder].issym():
            folder = "usr/share/doc/" + image.files[folder].linkname
        assert f"{folder}/copyright" in image.files, deb["name"]
    provenance = json.loads(image.path.with_suffix(".provenance.json").read_text())
    assert provenance["subject"][0]["digest"]["sha256"] == image.digest[7:]
    built_from = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert len(built_from) == len(debs) + 1


# ---- the container ----

def without_keys_it_says_what_to_set():
    done = subprocess.run([str(RUN)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "set XIN_ADMIN_KEY" in done.stdout + done.stderr, done.stdout + done.stderr


def asked(xin, method, path, body=None, headers=None):
    return xin.ask(method, path, body, {"Authorization": "Bearer " + ADMIN} | (headers or {}))


def ready(xin, name, kind, data):
    edge = "edge-of-parts"
    body = (f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n").encode() + data + f"\r\n--{edge}--\r\n".encode()
    status, source = asked(xin, "POST", "/v1/brands/default/knowledge", body,
                           {"Content-Type": f"multipart/form-data; boundary={edge}"})
    assert status == 202, source
    until = time.monotonic() + 60
    while source["status"] not in ("ready", "failed") and time.monotonic() < until:
        time.sleep(0.1)
        source = asked(xin, "GET", f"/v1/brands/default/knowledge/{source['id']}")[1]
    assert source["status"] == "ready", source


def webhook(xin, text):
    raw = json.dumps({"message_id": hashlib.sha256(text.encode()).hexdigest()[:16],
                      "user": {"id": "u1"}, "brand": "default", "text": text}).encode()
    signed = "sha256=" + hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    request = urllib.request.Request(
        xin.gateway_url + "/webchat/webhook", raw,
        {"Content-Type": "application/json", "X-Signature": signed})
    with OPENER.open(request, timeout=30) as response:
        return json.loads(response.read())


def process_of(xin):
    """The status of the one process that the runtime started."""
    pid = xin.process.pid
    child, = (pathlib.Path(f"/proc/{pid}/task/{pid}/children")).read_text().split()
    lines = pathlib.Path(f"/proc/{child}/status").read_text().split("\n")
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def it_has_no_rights(xin):
    status = process_of(xin)
    assert status["Uid"].split() == [str(USER)] * 4 and status["Gid"].split() == [str(USER)] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, (kind, status[kind])
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
    assert status["NSpid"].split()[-1] == "1"


def a_pdf(text):
    page = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET"
    objects = ["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
               "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
               "/Resources<</Font<</F1 5 0 R>>>>>>",
               f"<</Length {len(page)}>>stream\n{page}\nendstream",
               "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj{body}endobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    return out + (f"xref\n0 6\n0000000000 65535 f \n{table}trailer<</Size 6/Root 1 0 R>>\n"
                  f"startxref\n{len(out)}\n%%EOF\n").encode()


def documents_of_all_kinds_are_read(xin):
    ready(xin, "hours.md", "text/markdown", b"# Opening hours\n\nThe shop opens at nine.\n")
    ready(xin, "parking.pdf", "application/pdf", a_pdf("Parking costs seven euros a day."))
    # glibc's converters are modules that nothing links to.
    ready(xin, "cafe.txt", "text/plain; charset=windows-1252",
          "Le café du musée ferme à dix-huit heures. Où est l'entrée ?".encode("cp1252"))


def a_webhook_turn_is_answered_with_its_source(xin):
    for question, word in (("When does the shop open?", "nine"),
                           ("What does parking cost a day?", "seven")):
        said = json.dumps(webhook(xin, question), ensure_ascii=False)
        assert word in said and "citations" in said and "source_id" in said, said


def scripts_are_reloaded(xin):
    before = asked(xin, "GET", "/v1/scripts")[1]["active"]["generation"]
    script = xin.home / "lua/brands/default.lua"
    script.write_text(script.read_text() + "\n-- another generation\n")
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if asked(xin, "GET", "/v1/scripts")[1]["active"]["generation"] != before:
            return
        time.sleep(0.1)
    raise AssertionError("no new generation")


def the_data_is_in_the_volume_and_a_stop_is_clean(xin):
    assert (xin.home / "volume/xin.db").stat().st_uid == USER
    xin.process.send_signal(signal.SIGTERM)
    assert xin.process.wait(40) == 0, xin.last_words()
    xin.start()
    said = json.dumps(webhook(xin, "When will the shop open?"))
    assert "nine" in said, said


def the_suites_of_the_binary_pass_in_it():
    if not shutil.which("busted"):
        print("  busted cannot be had: skipped")
        return
    for spec in SPECS:
        done = subprocess.run(
            ["busted", "--lpath=tests/support/?.lua", f"--pattern={spec}_spec",
             "tests/integration"], cwd=ROOT, capture_output=True, text=True, check=False)
        print(f"  {spec}: {done.stdout.strip().splitlines()[-1:]}")
        assert done.returncode == 0, done.stdout + done.stderr


def run_container(image):
    (WORK / "rootfs").mkdir()
    image.unpack(WORK / "rootfs")
    (WORK / "image.json").write_text(json.dumps(image.config))
    RUN.write_text(f"#!/bin/sh\nXIN_IMAGE_ROOT={WORK} exec {ROOT}/tests/image/in_container \"$@\"\n")
    RUN.chmod(0o755)
    tell(without_keys_it_says_what_to_set)
    xin = Xin(XIN_ADMIN_KEY=ADMIN, GATEWAY_WEBHOOK_SECRET=SECRET, XIN_DATA_DIR="/var/lib/xin",
              XIN_SCRIPT_POLL_MS="200")
    try:
        xin.start()
        for test in (it_has_no_rights, documents_of_all_kinds_are_read,
                     a_webhook_turn_is_answered_with_its_source, scripts_are_reloaded,
                     the_data_is_in_the_volume_and_a_stop_is_clean):
            tell(test, xin)
    finally:
        xin.stop()
    tell(the_suites_of_the_binary_pass_in_it)


def tell(test, *arguments):
    began = time.monotonic()
    test(*arguments)
    print(f"ok   {test.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)


def clean():
    with contextlib.suppress(OSError):
        for state in (WORK / "state").iterdir():
            subprocess.run(["crun", f"--root={WORK / 'state'}", "delete", "--force", state.name],
                           capture_output=True, check=False)
    shutil.rmtree(WORK, ignore_errors=True)


def main():
    if os.getuid() != 0:
        print("image: skipped: building needs root (a chroot)")
        return 77
    for tool in ("mmdebstrap", "crun", "dpkg-deb", "unshare"):
        if not shutil.which(tool):
            print(f"image: skipped: {tool} cannot be had")
            return 77
    if not pathlib.Path("/usr/share/containers/seccomp.json").exists():
        print("image: skipped: golang-github-containers-common (its seccomp.json) cannot be had")
        return 77
    path, digest = build()
    image = Image(path)
    assert image.digest == digest, (image.digest, digest)
    for test in (the_archive_is_an_oci_layout_and_a_docker_archive, it_is_small,
                 it_says_how_it_wants_to_be_run, there_is_no_shell_and_no_package_manager,
                 only_the_data_folder_and_tmp_can_be_written, scanners_find_every_package):
        tell(test, image)
    run_container(image)
    assert build()[1] == digest, "the second build differs"
    print("ok   the same commit gives the same digest")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        clean()
