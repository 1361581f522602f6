"""`make install`: the tree it makes works from any folder - the program, the extension, and the C library for a stranger's
program, which is the one in docs/reference/c-api.md."""
import os
import re
import shutil
import subprocess

import duckdb
import pytest
from conftest import ROOT, TOKEN


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    build = ROOT / "build" / "release"
    if not (build / "cmake_install.cmake").exists():
        pytest.skip("installs the release build, which is not there")
    first, moved = (tmp_path_factory.mktemp("install") / name for name in ("first", "moved"))
    subprocess.run(["cmake", "--install", build, "--prefix", first], check=True, capture_output=True, timeout=120)
    shutil.move(first, moved)  # nothing in it may know where it was
    return moved


def test_the_program_and_the_extension_find_what_they_need(prefix, server):
    version = subprocess.run([prefix / "bin" / "openduck", "--version"], capture_output=True, text=True, timeout=60)
    assert version.returncode == 0 and re.search(r"\d+\.\d+\.\d+", version.stdout)
    con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    con.execute(f"LOAD '{prefix / 'lib' / 'openduck' / 'openduck.duckdb_extension'}'")
    con.execute(f"ATTACH 'openduck:main?endpoint={server.endpoint}&token={TOKEN}' AS r")
    assert con.sql("FROM openduck_query('r', 'SELECT 6 * 7 AS n')").fetchall() == [(42,)]


def test_the_library_serves_a_program_of_others(prefix, server, tmp_path):
    page = (ROOT / "docs" / "reference" / "c-api.md").read_text()
    text = page.split("## A complete program")[1].split("\n## ")[0]
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ") or not line]
    (tmp_path / "program.c").write_text("\n".join(lines).replace("127.0.0.1:7878", server.endpoint))
    environment = os.environ | {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "openduck"], env=environment, check=True, text=True,
                           capture_output=True).stdout.split()
    subprocess.run(["cc", "-Wall", "-Werror", "program.c", *flags, "-o", "program"], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"LD_LIBRARY_PATH": str(prefix / "lib"), "OPENDUCK_TOKEN": TOKEN})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "1", "2"]


def test_the_library_shows_only_its_interface(prefix):
    listed = subprocess.run(["nm", "-D", "--defined-only", prefix / "lib" / "libopenduck.so"], check=True, text=True,
                            capture_output=True).stdout
    names = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
    header = (prefix / "include" / "openduck" / "client.h").read_text()
    declared = set(re.findall(r"OD_API[^;(]*?(\w+)\(", header))
    assert declared and declared <= names
    assert {name for name in names if name.startswith("od_")} == declared
