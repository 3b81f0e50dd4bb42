"""Writes a folder as a container image: what `scripts/image` does after the files are laid out.

    image.py CONTAINERFILE FOLDER VERSION ARCHITECTURE ARCHIVE

The archive is an OCI image layout that also has the `manifest.json` of Docker, as `docker save` writes them: Docker, Podman,
containerd and Skopeo read it. Its bytes depend on the files, their modes and SOURCE_DATE_EPOCH, and on nothing else.
"""

import datetime, gzip, hashlib, io, json, os, re, shlex, sys, tarfile

containerfile, folder, version, architecture, archive = sys.argv[1:]
epoch = int(os.environ["SOURCE_DATE_EPOCH"])
created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
NANOSECONDS = {"s": 10**9, "m": 60 * 10**9}


def settings():
    """What the last stage says about the image, in the words of the OCI specification and, for the health check, of Docker."""
    found = {"Env": [], "Labels": {}, "ExposedPorts": {}, "Volumes": {}}
    lines = open(containerfile).read().rpartition("\nFROM scratch\n")[2].splitlines()
    for word, value in (line.split(" ", 1) for line in lines if line and not line.startswith("#")):
        if word == "ENV":
            found["Env"] += shlex.split(value)
        elif word == "LABEL":
            found["Labels"] |= dict(label.split("=", 1) for label in shlex.split(value))
        elif word == "EXPOSE":
            found["ExposedPorts"][value + "/tcp"] = {}
        elif word == "VOLUME":
            found["Volumes"][value] = {}
        elif word in ("ENTRYPOINT", "CMD"):
            found[word.capitalize()] = json.loads(value)
        elif word in ("USER", "WORKDIR", "STOPSIGNAL"):
            found[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[word]] = value
        elif word == "HEALTHCHECK":
            flags, _, command = value.partition(" CMD ")
            check = {"Test": ["CMD", *json.loads(command)]}
            for name, number, unit in re.findall(r"--([a-z-]+)=(\d+)([sm]?)", flags):
                check[name.title().replace("-", "")] = int(number) * NANOSECONDS.get(unit, 1)
            found["Healthcheck"] = check
        elif (word, value) != ("COPY", "--from=build /image /"):
            sys.exit(f"{containerfile} says {word}, which scripts/lib/image.py cannot do")
    return {name: value for name, value in found.items() if value}


def as_root(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = epoch
    return entry


def layer():
    """The files as a tar archive. Its entries are sorted by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(os.path.join(folder, name), arcname=name, filter=as_root)
    return buffer.getvalue()


blobs = {}


def blob(content, kind):
    """Keeps a blob. Returns its descriptor."""
    digest = hashlib.sha256(content).hexdigest()
    blobs["blobs/sha256/" + digest] = content
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(content)}


def text(value):
    return json.dumps(value, sort_keys=True).encode()


def place(descriptor):
    return "blobs/" + descriptor["digest"].replace(":", "/")


files = layer()
config = settings()
config["Labels"] |= {"org.opencontainers.image.version": version, "org.opencontainers.image.created": created}
platform = {"architecture": architecture, "os": "linux"}
diff_id = "sha256:" + hashlib.sha256(files).hexdigest()
about = {"created": created, "config": config, "rootfs": {"type": "layers", "diff_ids": [diff_id]}} | platform
about["history"] = [{"created": created, "created_by": "scripts/image"}]
about = blob(text(about), "config.v1+json")
packed = blob(gzip.compress(files, compresslevel=6, mtime=0), "layer.v1.tar+gzip")
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
manifest |= {"config": about, "layers": [packed], "annotations": config["Labels"]}
manifest = blob(text(manifest), "manifest.v1+json") | {"platform": platform}
manifest["annotations"] = {
    "org.opencontainers.image.ref.name": version,
    "io.containerd.image.name": "docker.io/library/countersign:" + version,
}
tags = ["countersign:" + version, "countersign:latest"]
members = blobs | {
    "oci-layout": text({"imageLayoutVersion": "1.0.0"}),
    "index.json": text({"schemaVersion": 2, "manifests": [manifest]}),
    "manifest.json": text([{"Config": place(about), "RepoTags": tags, "Layers": [place(packed)]}]),
}
with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
    for name, content in sorted(members.items()):
        entry = as_root(tarfile.TarInfo(name))
        entry.size, entry.mode = len(content), 0o644
        tar.addfile(entry, io.BytesIO(content))
