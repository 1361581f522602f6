#!/usr/bin/env python3
"""Writes tools/requirements-*.txt from tools/requirements-*.in: exact versions and checksums of every wheel that the
supported Python versions use on Linux x86-64. Run it to raise versions; needs the network.

    python3 tools/lock.py
"""

import json
import pathlib
import subprocess
import sys
import tempfile

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]  # the oldest first: it decides the versions
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
HERE = pathlib.Path(__file__).resolve().parent


def resolve(python, requirements, constraints, scratch):
    report = scratch / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
               "--only-binary=:all:", "--python-version", python, "--target", str(scratch / "target"),
               "--report", str(report), "-r", str(requirements)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    if constraints:
        file = scratch / "constraints.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in constraints))
        command += ["-c", str(file)]
    subprocess.run(command, check=True)
    for item in json.loads(report.read_text())["install"]:
        yield (item["metadata"]["name"].lower(), item["metadata"]["version"],
               item["download_info"]["archive_info"]["hashes"]["sha256"])


def main():
    for source in sorted(HERE.glob("requirements-*.in")):
        locked = {}
        with tempfile.TemporaryDirectory() as scratch:
            for python in PYTHONS:
                for name, version, sha256 in resolve(python, source, list(locked), pathlib.Path(scratch)):
                    locked.setdefault((name, version), set()).add(sha256)
        lines = [f"# Made by tools/lock.py from {source.name}; Python {PYTHONS[0]} to {PYTHONS[-1]}, Linux x86-64.\n"]
        for (name, version), hashes in sorted(locked.items()):
            lines.append(f"{name}=={version}" + "".join(f" \\\n    --hash=sha256:{h}" for h in sorted(hashes)) + "\n")
        source.with_suffix(".txt").write_text("".join(lines))
        print(f"{source.with_suffix('.txt').name}: {len(locked)} packages")


if __name__ == "__main__":
    main()
