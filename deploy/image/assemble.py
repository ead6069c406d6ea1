#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian packages and our programs as one image, byte for byte the same again.

Nothing is unpacked on the disk and no package script is run: the files of the
signed packages go from archive to layer, sorted, with one time. The result is
an OCI layout that is a `docker save` archive as well.
https://github.com/opencontainers/image-spec (v1.1), SPDX 2.3, SLSA v1.
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time

USER = 65532  # as distroless images have it
DATA = "var/lib/xin"
# No shell, no package manager: of the folders of programs these only.
PROGRAMS = {"usr/bin/pdftotext"}
DROPPED = re.compile(
    r"usr/share/(man|locale|lintian|info|bug|bash-completion|zsh|pkgconfig)(/|$)"
    r"|usr/share/doc/[^/]+/(?!copyright$)"
    r"|usr/(s?bin|games|include)/|etc/(init|cron|default|profile|update|ld\.so|skel|issue|dpkg|ghostscript|motd|apt)"
    r"|(boot|dev|home|media|mnt|opt|proc|root|run|srv|sys|var)(/|$)"
    r"|usr/lib/[^/]+/(pkgconfig|audit|perl|libmemusage|libpcprofile)"
    r"|usr/share/(base-files|poppler/cMap/.*\.old)")
PASSWD = (f"root:x:0:0:root:/:/sbin/nologin\n"
          f"xin:x:{USER}:{USER}:xin:/{DATA}:/sbin/nologin\n")
GROUP = f"root:x:0:\nxin:x:{USER}:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"
ENVIRONMENT = {
    "PATH": "/usr/bin",
    "LC_ALL": "C.UTF-8",
    "XIN_DATA_DIR": f"/{DATA}",
    "XIN_LUA_DIR": "/etc/xin/lua",
    # A container's loopback is nobody's: `xin serve` listens outside, and so
    # asks for keys and a secret.
    "XIN_ORCHESTRATOR_LISTEN": "0.0.0.0:8000",
    "XIN_GATEWAY_LISTEN": "0.0.0.0:8080",
}
PORTS = (8000, 8080, 9102, 9103)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Layer:
    """Files by path; the last one of a path is the one that stays."""

    def __init__(self, epoch):
        self.epoch, self.entries = epoch, {}

    def put(self, path, data=b"", mode=0o644, kind=tarfile.REGTYPE, link="",
            owner=0):
        info = tarfile.TarInfo(path)
        info.mode, info.type, info.linkname = mode, kind, link
        info.uid = info.gid = owner
        info.mtime, info.size = self.epoch, len(data)
        self.entries[path] = (info, data)
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.put(parent, mode=0o755, kind=tarfile.DIRTYPE)

    def blob(self):
        """The layer compressed, and the digest of what is in it."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(self.entries):
                info, data = self.entries[path]
                tar.addfile(info, io.BytesIO(data))
        plain = out.getvalue()
        return gzip.compress(plain, 9, mtime=0), "sha256:" + sha256(plain)


class Deb:
    """A Debian package: its control fields and its files."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.sha256 = sha256(file.read())
        self.files = self.read("--fsys-tarfile", path)
        control = self.read("--ctrl-tarfile", path)
        self.control = control.extractfile("./control").read().decode()
        names = control.getnames()
        self.md5sums = (control.extractfile("./md5sums").read()
                        if "./md5sums" in names else b"")
        fields = re.findall(r"^(\S+): *(.*)$", self.control, re.M)
        self.fields = dict(fields)
        self.name, self.version = self.fields["Package"], self.fields["Version"]

    @staticmethod
    def read(what, path):
        # Through Python's own reader: an ar archive of two tar files.
        data = subprocess.run(["dpkg-deb", what, path], check=True,
                              stdout=subprocess.PIPE).stdout
        return tarfile.open(fileobj=io.BytesIO(data))

    def unpack(self, layer):
        for member in self.files:
            path = member.name.removeprefix("./").rstrip("/")
            if not path or path not in PROGRAMS and DROPPED.match(path):
                continue
            data = (self.files.extractfile(member).read()
                    if member.isreg() or member.islnk() else b"")
            if member.isdir():
                if path not in layer.entries:
                    layer.put(path, mode=0o755, kind=tarfile.DIRTYPE)
            elif member.issym():
                layer.put(path, mode=0o777, kind=tarfile.SYMTYPE,
                          link=member.linkname)
            elif member.isreg() or member.islnk():
                # Nobody changes rights in an image: no set-user-id either.
                layer.put(path, data, 0o755 if member.mode & 0o111 else 0o644)
            else:
                sys.exit(f"assemble: {self.name}: {path} is no file")
        # Where scanners look in an image without dpkg.
        layer.put(f"var/lib/dpkg/status.d/{self.name}", self.control.encode())
        layer.put(f"var/lib/dpkg/status.d/{self.name}.md5sums", self.md5sums)


def base_layer(debs, epoch):
    layer = Layer(epoch)
    for deb in debs:
        deb.unpack(layer)
    authorities = b"".join(
        data for path, (info, data) in sorted(layer.entries.items())
        if path.startswith("usr/share/ca-certificates/") and path.endswith(".crt"))
    if not authorities:
        sys.exit("assemble: ca-certificates has no certificates")
    layer.put("etc/ssl/certs/ca-certificates.crt", authorities)
    # OpenSSL's own default, which libpq's sslrootcert=system takes.
    layer.put("usr/lib/ssl/cert.pem", kind=tarfile.SYMTYPE, mode=0o777,
              link="/etc/ssl/certs/ca-certificates.crt")
    layer.put("etc/passwd", PASSWD.encode())
    layer.put("etc/group", GROUP.encode())
    layer.put("etc/nsswitch.conf", NSSWITCH.encode())
    layer.put("tmp", mode=0o1777, kind=tarfile.DIRTYPE)
    for folder in ("dev", "proc", "sys", "run"):
        layer.put(folder, mode=0o755, kind=tarfile.DIRTYPE)
    return layer


def app_layer(args, sbom, epoch):
    layer = Layer(epoch)
    for program in ("xin", "xin-extract"):
        layer.put(f"usr/bin/{program}", read(args.built, program), 0o755)
    files = subprocess.run(["git", "-C", args.source, "ls-files", "lua"],
                           check=True, stdout=subprocess.PIPE, text=True).stdout
    for path in files.split():
        layer.put(f"etc/xin/{path}", read(args.source, path))
    layer.put("usr/share/doc/xin/copyright", read(args.source, "LICENSE"))
    layer.put("usr/share/doc/xin/sbom.spdx.json", sbom)
    # A volume that is new takes the owner from here.
    layer.put(DATA, mode=0o750, kind=tarfile.DIRTYPE, owner=USER)
    return layer


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def as_json(value):
    return json.dumps(value, sort_keys=True, indent=1).encode() + b"\n"


# ---- what is inside, and where it came from ----

def spdx_id(name):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def sbom_of(args, debs, created):
    def package(name, version, purl, **more):
        return {"SPDXID": spdx_id(name), "name": name, "versionInfo": version,
                "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
                "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER",
                                  "referenceType": "purl",
                                  "referenceLocator": purl}], **more}

    packages = [package("xin", args.version, f"pkg:generic/xin@{args.version}",
                        licenseDeclared="Apache-2.0", primaryPackagePurpose="CONTAINER",
                        sourceInfo=f"built from commit {args.commit}")]
    for deb in debs:
        arch, source = deb.fields["Architecture"], deb.fields.get("Source", deb.name)
        version = deb.version.replace(":", "%3A").replace("+", "%2B")
        packages.append(package(
            "deb-" + deb.name, deb.version,
            f"pkg:deb/debian/{deb.name}@{version}?arch={arch}&distro=debian-13",
            supplier="Organization: Debian",
            sourceInfo=f"built from the source package {source}",
            checksums=[{"algorithm": "SHA256", "checksumValue": deb.sha256}],
            licenseComments=f"/usr/share/doc/{deb.name}/copyright") | {"name": deb.name})
    related = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-xin")]
    related += [("SPDXRef-xin", "CONTAINS", p["SPDXID"]) for p in packages[1:]]
    return as_json({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT", "name": f"xin-{args.version}-{args.arch}",
        "documentNamespace": "https://spdx.org/spdxdocs/"
                             f"xin-{args.version}-{args.arch}-{args.commit}",
        "creationInfo": {"created": created,
                         "creators": ["Tool: xin-deploy-image-assemble"]},
        "packages": packages,
        "relationships": [{"spdxElementId": a, "relationshipType": how,
                           "relatedSpdxElement": b} for a, how, b in related]})


def provenance_of(args, debs, digest, created):
    return as_json({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": args.name, "digest": {"sha256": digest[7:]}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "deploy/image/build",
                "externalParameters": {"arch": args.arch, "suite": "trixie",
                                       "mirror": args.mirror},
                "resolvedDependencies": [
                    {"uri": "git", "digest": {"gitCommit": args.commit}}] + [
                    {"uri": f"pkg:deb/debian/{deb.name}@{deb.version}",
                     "digest": {"sha256": deb.sha256}} for deb in debs]},
            "runDetails": {"builder": {"id": "deploy/image/build"},
                           "metadata": {"finishedOn": created}}}})


# ---- the image ----

class Layout:
    """The blobs of an OCI layout by their digest."""

    def __init__(self, epoch):
        self.tar = Layer(epoch)

    def add(self, data, media_type):
        digest = sha256(data)
        self.tar.put(f"blobs/sha256/{digest}", data)
        return {"mediaType": media_type, "digest": "sha256:" + digest,
                "size": len(data)}

    def write(self, path, index, docker):
        self.tar.put("oci-layout", as_json({"imageLayoutVersion": "1.0.0"}))
        self.tar.put("index.json", as_json(index))
        self.tar.put("manifest.json", as_json(docker))
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted(self.tar.entries):
                info, data = self.tar.entries[name]
                tar.addfile(info, io.BytesIO(data))


def labels_of(args, created):
    label = "org.opencontainers.image."
    return {label + "title": "xin", label + "version": args.version,
            label + "revision": args.commit, label + "created": created,
            label + "licenses": "Apache-2.0",
            label + "description": "Brand chatbots whose behaviour is Lua",
            label + "documentation": "docs/runbook.md",
            label + "base.name": "debian:trixie (packages only)"}


def config_of(args, created, diff_ids, labels):
    platform = {"architecture": args.arch, "os": "linux"}
    if args.arch == "arm64":
        platform["variant"] = "v8"
    return {**platform, "created": created, "config": {
        "User": f"{USER}:{USER}", "WorkingDir": "/",
        "Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
        "Entrypoint": ["/usr/bin/xin"], "Cmd": ["serve"],
        "ExposedPorts": {f"{port}/tcp": {} for port in PORTS},
        "Volumes": {f"/{DATA}": {}}, "StopSignal": "SIGTERM", "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": by} for by in
                    ("Debian 13 packages", "xin " + args.version)]}, platform


def write_image(args, layers, created, path):
    layout = Layout(args.epoch)
    kind = "application/vnd.oci.image."
    blobs = [layer.blob() for layer in layers]
    labels = labels_of(args, created)
    config, platform = config_of(args, created, [d for _, d in blobs], labels)
    described = [layout.add(data, kind + "layer.v1.tar+gzip") for data, _ in blobs]
    about = layout.add(as_json(config), kind + "config.v1+json")
    manifest = layout.add(as_json({
        "schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
        "config": about, "layers": described, "annotations": labels}),
        kind + "manifest.v1+json")
    tag = f"{args.name}:{args.version}"
    manifest |= {"platform": platform, "annotations": {
        "org.opencontainers.image.ref.name": args.version,
        "io.containerd.image.name": f"docker.io/library/{tag}"}}
    name_of = lambda blob: "blobs/sha256/" + blob["digest"][7:]
    layout.write(path, {"schemaVersion": 2, "manifests": [manifest],
                        "mediaType": kind + "index.v1+json"},
                 [{"Config": name_of(about), "RepoTags": [tag],
                   "Layers": [name_of(blob) for blob in described]}])
    return manifest["digest"], sum(blob["size"] for blob in described)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("built", "source", "out", "name", "version", "arch", "commit",
                   "mirror"):
        parser.add_argument("--" + option, required=True)
    args = parser.parse_args()
    args.epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(args.epoch))
    folder = os.path.join(args.built, "debs")
    debs = sorted((Deb(os.path.join(folder, name)) for name in os.listdir(folder)),
                  key=lambda deb: deb.name)
    sbom = sbom_of(args, debs, created)
    base = os.path.join(args.out, f"xin-{args.version}-{args.arch}")
    layers = [base_layer(debs, args.epoch), app_layer(args, sbom, args.epoch)]
    digest, size = write_image(args, layers, created, base + ".tar")
    with open(base + ".spdx.json", "wb") as file:
        file.write(sbom)
    with open(base + ".provenance.json", "wb") as file:
        file.write(provenance_of(args, debs, digest, created))
    for program in ("xin", "xin-extract"):
        with open(f"{base}.{program}.debug", "wb") as file:
            file.write(read(args.built, program + ".debug"))
    print(f"{base}.tar: {len(debs)} packages, {size / 1e6:.1f} MB compressed")
    print(digest)


if __name__ == "__main__":
    main()
