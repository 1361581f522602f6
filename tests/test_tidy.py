"""The house rules hold in this tree, and tools/tidy.py notices when they do not."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("tidy", ROOT / "tools" / "tidy.py")
tidy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tidy)


def test_this_tree_is_tidy():
    found = tidy.check(ROOT)
    assert not found, "\n".join(found)


GUARDED = "#ifndef OD_BASE_X_H\n#define OD_BASE_X_H\n%s\n#endif\n"

BROKEN = [
    ("include", "src/base/x.c", '#include "server/server.h"\n'),
    ("include", "src/rpc/x.c", '#include "engine/engine.h"\n'),
    ("include", "src/nobody/x.c", '#include "base/buf.h"\n'),
    ("include", "include/openduck/x.h", '#ifndef OPENDUCK_X_H\n#define OPENDUCK_X_H\n#include "base/buf.h"\n#endif\n'),
    ("foreign", "src/server/x.c", "#include <grpc/grpc.h>\n"),
    ("foreign", "src/client/x.c", "#include <nanoarrow/nanoarrow.h>\n"),
    ("foreign", "src/server/x.c", '#include "duckdb.h"\n'),
    ("foreign", "src/arrow/x.cpp", '#include "duckdb/common/types.hpp"\n'),
    ("banned", "src/base/x.c", "void f(char *a)\n{\n    strcpy(a, a);\n}\n"),
    ("banned", "extension/x.cpp", "int f() {\n\treturn std::system(nullptr);\n}\n"),
    ("heap", "src/base/x.c", "void *p = malloc(3);\n"),
    ("layout", "src/base/x.c", "int a; \n"),
    ("layout", "src/base/x.c", "\tint a;\n"),
    ("layout", "src/base/x.c", "int a;"),
    ("todo", "src/base/x.c", "// TO" "DO later\n"),
    ("guard", "src/base/x.h", "int a;\n"),
    ("guard", "src/base/x.h", GUARDED.replace("OD_BASE_X_H", "OD_OTHER_H") % "int a;"),
    ("comment", "src/base/x.c", "int a;\n" * 151),
    ("readme", "src/base/y.c", "int a;\n"),
]

FINE = [
    ("src/engine/x.c", '#include "duckdb.h"\n#include "duck/convert.hpp"\n#include <stdio.h>\n'),
    ("src/base/x.c", '// strcpy(a, b) is banned\nconst char *text = "malloc(1)";\n'),
    ("src/base/alloc.c", "void *p = malloc(3);\n"),
    ("src/base/x.c", "void *p = malloc(3); // tidy: allow(heap) the host frees it\n"),
    ("src/base/x.c", "// TODO(#12) later\nint v = stream.free(1) + x->free(2) + my_free(3);\n"),
    ("src/base/x.h", GUARDED % "int a;"),
    ("src/base/x.c", "// what it is\n" + "int a;\n" * 151),
]


def tree_with(tmp_path, path, text):
    folder = (tmp_path / path).parent
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("x.c, x.cpp, alloc.c: files.\n")
    (tmp_path / path).write_text(text)
    return tidy.check(tmp_path)


@pytest.mark.parametrize("rule,path,text", BROKEN)
def test_a_broken_rule_is_reported(tmp_path, rule, path, text):
    found = tree_with(tmp_path, path, text)
    assert found and all(f"[{rule}]" in line and line.startswith(path.rpartition("/")[0]) for line in found)


@pytest.mark.parametrize("path,text", FINE)
def test_what_is_fine_is_left_alone(tmp_path, path, text):
    assert tree_with(tmp_path, path, text) == []
