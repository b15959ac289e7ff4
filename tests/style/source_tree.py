"""The files of the source tree, for the checks beside this file: what git knows or would add, not what was built."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = ("build", "instance", ".git")


def tree_files():
    """Every file as a path from the root."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if listed.returncode == 0:
        names = filter(None, listed.stdout.decode().split("\0"))
        return sorted(Path(name) for name in names if (ROOT / name).is_file())
    every = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(path for path in every if path.parts[0] not in BUILT and "__pycache__" not in path.parts)


def files_ending(*endings):
    return [path for path in tree_files() if path.suffix in endings]


def lines_of(path):
    """A file's lines; files that are not text have none."""
    try:
        return (ROOT / path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        return []
