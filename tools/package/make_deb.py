#!/usr/bin/python3
"""`make deb`: makes a Debian package of what `make install` has put into a folder, with the control files of etc/debian.

dpkg-shlibdeps says which packages the programs need, strip takes the debugging symbols out, dpkg-deb writes the package.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = ("postinst", "prerm", "postrm")
LICENSE_TITLE_LINES = 2     # of LICENSE, which the copyright file says in its own way


def output_of(*words, **options):
    """What a program prints; a program that fails ends this one with a sentence."""
    try:
        return subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True, check=True, **options).stdout
    except FileNotFoundError:
        sys.exit(f"make_deb: the program {words[0]} is missing: install the package dpkg-dev")
    except subprocess.CalledProcessError as error:
        sys.exit(f"make_deb: {words[0]} failed with status {error.returncode}: see its own words above")


def filled(path, values):
    """A template with @NAME@ replaced."""
    text = path.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def programs(stage):
    """The files that are programs of the processor, as opposed to scripts."""
    found = []
    for path in sorted(stage.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with open(path, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    found.append(path)
    return found


def dependencies(stage, binaries):
    """The packages that hold the shared libraries, as a Depends field; dpkg-shlibdeps wants to see a source package around the stage, and a
    package that is being built in it."""
    (stage / "DEBIAN").mkdir(exist_ok=True)
    (stage.parent / "control").write_text("Source: millrace\n\nPackage: millrace\nArchitecture: any\n", encoding="utf-8")
    top = stage.parent.parent
    line = output_of("dpkg-shlibdeps", "-O", *[f"-e{path.relative_to(top)}" for path in binaries], cwd=top)
    return line.strip().removeprefix("shlibs:Depends=")


def compress(path):
    """As Debian wants it: gzip, without a name and a time in it."""
    with open(path, "rb") as source, open(f"{path}.gz", "wb") as target:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=target, mtime=0) as packed:
            shutil.copyfileobj(source, packed)
    path.unlink()


def licence_paragraph(path):
    """The text of LICENSE as a field of the copyright file: indented, a dot for an empty line."""
    lines = path.read_text(encoding="utf-8").strip().split("\n")[LICENSE_TITLE_LINES:]
    return "".join(f" {line.strip() or '.'}\n" for line in lines)


def place(source, target, text=None):
    """Puts a file, or a text, where the package has it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source.read_text(encoding="utf-8") if text is None else text, encoding="utf-8")
    target.chmod(0o644)


def make(source, stage, folder, version, maintainer):
    """Completes the folder and gives the path of the package made of it."""
    rules = source / "etc" / "debian"
    architecture = output_of("dpkg", "--print-architecture").strip()
    binaries = programs(stage)
    output_of("strip", "--strip-unneeded", "--remove-section=.comment", "--remove-section=.note", *binaries)
    documents = stage / "usr" / "share" / "doc" / "millrace"
    values = {"VERSION": version, "ARCHITECTURE": architecture, "MAINTAINER": maintainer,
              "DATE": time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))),
              "DEPENDS": dependencies(stage, binaries)}
    place(source / "etc" / "millrace.conf", stage / "etc" / "millrace" / "millrace.conf")
    place(source / "etc" / "millrace.logrotate", stage / "etc" / "logrotate.d" / "millrace")
    place(None, documents / "copyright", filled(rules / "copyright.in", values) + licence_paragraph(source / "LICENSE"))
    place(None, documents / "changelog", filled(rules / "changelog.in", values))
    for path in [documents / "changelog", *sorted((stage / "usr" / "share" / "man").rglob("*.[0-9]"))]:
        compress(path)
    for path in stage.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    values["SIZE"] = sum(path.lstat().st_size for path in stage.rglob("*") if path.is_file()) // 1024 + 1
    control = stage / "DEBIAN"
    place(None, control / "control", filled(rules / "control.in", values))
    place(rules / "conffiles", control / "conffiles")
    for name in SCRIPTS:
        place(rules / name, control / name)
        (control / name).chmod(0o755)
    sums = [output_of("md5sum", path.relative_to(stage), cwd=stage) for path in sorted(stage.rglob("*"))
            if path.is_file() and control not in path.parents]
    place(None, control / "md5sums", "".join(sums))
    package = folder / f"millrace_{version}_{architecture}.deb"
    output_of("dpkg-deb", "--root-owner-group", "-Zxz", "--build", stage, package)
    return package


def main():
    parser = argparse.ArgumentParser(description="Makes a Debian package of an installed folder (make deb).", allow_abbrev=False)
    parser.add_argument("--source", type=Path, required=True, help="the source tree")
    parser.add_argument("--stage", type=Path, required=True, help="what `make install PREFIX=/usr` was given as DESTDIR: a folder debian/millrace")
    parser.add_argument("--into", type=Path, required=True, help="the folder for the package")
    parser.add_argument("--version", required=True)
    parser.add_argument("--maintainer", required=True, help="NAME <ADDRESS>")
    args = parser.parse_args()
    print(make(args.source, args.stage, args.into, args.version, args.maintainer))


if __name__ == "__main__":
    main()
