#!/usr/bin/env python3
"""tidy.py - the house rules that a compiler does not check. `make lint` and tests/test_tidy.py run it.

    python3 tools/tidy.py [ROOT]        prints path:line: [rule] message; exit status 1 when anything is found

A line that must break a rule says so and why in a comment: `tidy: allow(rule) reason`.
"""

import os
import pathlib
import re
import subprocess
import sys

# [include] Which folders' headers a folder may include, besides its own. Arrows point down: never add one upwards.
INCLUDES = {
    "src/base": set(),
    "src/os": {"base"},
    "src/plan": {"base"},
    "src/arrow": {"base"},
    "src/duck": {"arrow", "base"},
    "src/rpc": {"arrow", "os", "base"},
    "src/objstore": {"os", "base"},
    "src/metastore": {"os", "base"},
    "src/storage": {"objstore", "metastore", "os", "base"},
    "src/engine": {"storage", "duck", "arrow", "os", "base"},
    "src/client": {"rpc", "arrow", "os", "base"},
    "src/server": {"engine", "storage", "objstore", "metastore", "rpc", "arrow", "os", "base"},
    "src/cli": {"client", "server", "engine", "storage", "objstore", "metastore", "duck", "rpc", "arrow", "os", "base"},
    "extension": {"client", "duck", "arrow", "plan", "base"},
}
FOLDERS = {folder.removeprefix("src/") for folder in INCLUDES}

# [foreign] The owners of foreign headers: pattern of the header, prefixes of the files that may include it.
FOREIGN = [
    (r"grpc/(?!health/).*", ["src/rpc/"]),
    (r"nanoarrow/.*|nanoarrow.*\.h|flatcc/.*", ["src/arrow/"]),
    (r"duckdb\.(h|hpp)|duckdb/.*|duckdb_extension\.h",
     ["src/duck/", "src/engine/", "extension/", "src/cli/render", "src/cli/script"]),
    (r"protobuf-c/.*|.*\.pb-c\.h", ["src/rpc/"]),
    (r"ini\.h", ["src/os/"]),
    (r"openssl/.*", ["src/rpc/", "src/server/", "src/os/", "src/objstore/"]),
    (r"curl/.*", ["src/objstore/"]),
    (r"lz4.*\.h|zstd.*\.h", ["src/arrow/"]),
    (r"sqlite3\.h|libpq-fe\.h", ["src/metastore/"]),
]

# [banned] Functions, and what to call instead.
BANNED = {
    "strcpy": "od_buf_append_text or memcpy with a known length",
    "strcat": "od_buf_append_text",
    "sprintf": "snprintf or od_buf_printf",
    "vsprintf": "vsnprintf",
    "strtok": "a loop over strchr",
    "atoi": "strtol, with its errors checked",
    "atol": "strtol, with its errors checked",
    "gets": "fgets",
    "localtime": "localtime_r",
    "gmtime": "gmtime_r",
    "rand": "src/os randomness",
    "system": "posix_spawn",
    "alloca": "od_alloc",
}
HEAP = {"malloc", "calloc", "realloc", "free", "strdup", "strndup", "aligned_alloc", "posix_memalign"}
HEAP_OWNER = "src/base/alloc.c"

C_FILES = (".c", ".h")
CPP_FILES = (".cpp", ".hpp")
TEXT_FILES = C_FILES + CPP_FILES + (".py", ".md", ".txt", ".cmake", ".json", ".proto", ".sql", ".sh", ".js", ".in")
NOT_OURS = {"build", "node_modules", "openduck-data", "__pycache__"}  # folders to pass by when git cannot list files
TOP_COMMENT_LINES = 150  # a .c file longer than this starts with what it is for

CALL = re.compile(r"(?<![\w.>])(?P<std>std::)?(?P<name>" + "|".join([*BANNED, *HEAP]) + r")\s*\(")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
ALLOW = re.compile(r"tidy: allow\((\w+)\) \S")
UNNUMBERED = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
CODE_NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.found = []
        self.paths = sorted(self.list_files())
        self.text = {}
        for path in self.paths:
            if path.endswith(TEXT_FILES) or path in ("Makefile", "tools/setup", "tools/demo"):
                self.text[path] = (self.root / path).read_text(errors="replace")

    def list_files(self):
        command = ["git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, text=True) if (self.root / ".git").exists() else None
        if listed and listed.returncode == 0:
            return {path for path in listed.stdout.split("\0") if path and (self.root / path).is_file()}
        paths = set()
        for folder, inside, files in os.walk(self.root):
            inside[:] = [name for name in inside if not name.startswith(".") and name not in NOT_OURS]
            paths |= {(pathlib.Path(folder) / name).relative_to(self.root).as_posix() for name in files}
        return paths

    def report(self, path, line, rule, message):
        lines = self.text.get(path, "").split("\n")
        allowed = ALLOW.search(lines[line - 1]) if 0 < line <= len(lines) else None
        if not (allowed and allowed.group(1) == rule):
            self.found.append(f"{path}:{line}: [{rule}] {message}")

    def sources(self, suffixes, *prefixes):
        for path, text in self.text.items():
            if path.endswith(suffixes) and path.startswith(prefixes):
                yield path, text


def check_includes(tree):
    for path, text in tree.sources(C_FILES + CPP_FILES, "src/", "extension/", "include/"):
        folder = "extension" if path.startswith("extension/") else "/".join(path.split("/")[:2])
        if folder.startswith("src/") and folder not in INCLUDES:
            tree.report(path, 1, "include", f"{folder} has no line in the include matrix of tools/tidy.py")
            continue
        for number, line in enumerate(text.split("\n"), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            header = match.group(1)
            top = header.split("/")[0]
            for pattern, owners in FOREIGN:
                if re.fullmatch(pattern, header) and not path.startswith(tuple(owners)):
                    tree.report(path, number, "foreign", f"{header} belongs to {', '.join(owners)}")
            if "/" not in header or top not in FOLDERS or header.startswith("duckdb/"):
                continue
            if folder == "include/openduck":
                tree.report(path, number, "include", f"a public header includes {header}")
            elif top != folder.removeprefix("src/") and top not in INCLUDES[folder]:
                tree.report(path, number, "include", f"{folder} may not include {header}")


def check_calls(tree):
    for path, text in tree.sources(C_FILES + CPP_FILES, "src/", "extension/", "include/"):
        code = CODE_NOISE.sub(blank, text)
        for match in CALL.finditer(code):
            name = match.group("name")
            line = code.count("\n", 0, match.start()) + 1
            if name in BANNED:
                tree.report(path, line, "banned", f"{name}: use {BANNED[name]}")
            elif path.endswith(C_FILES) and path != HEAP_OWNER:
                tree.report(path, line, "heap", f"{name}: the heap's door is base/alloc.h")


def check_layout(tree):
    for path, text in tree.text.items():
        if not text.endswith("\n") and text:
            tree.report(path, text.count("\n") + 1, "layout", "the last line has no end")
        tabs_are_wrong = path.endswith(C_FILES + (".py", ".proto", ".cmake", ".md", ".json"))
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                tree.report(path, number, "layout", "spaces at the end of the line")
            if tabs_are_wrong and "\t" in line:
                tree.report(path, number, "layout", "a tab")
            if "O" in line or "X" in line:
                match = UNNUMBERED.search(line)
                if match and path != "tools/tidy.py":
                    tree.report(path, number, "todo", f"{match.group(1)} without an issue: write {match.group(1)}(#123)")


def check_headers(tree):
    seen = {}
    for path, text in tree.sources((".h", ".hpp"), "src/", "extension/", "include/", "tests/"):
        code = CODE_NOISE.sub(blank, text).strip()
        guard = re.match(r"#ifndef (\w+)\s+#define (\w+)\b", code)
        if code.startswith("#pragma once"):
            continue
        if not guard or guard.group(1) != guard.group(2) or not code.endswith("#endif"):
            tree.report(path, 1, "guard", "no include guard (#ifndef, #define, ..., #endif)")
            continue
        name = re.sub(r"\W", "_", path.rpartition("/")[2]).upper()
        if not re.fullmatch(r"(OD|OPENDUCK|TESTS)_(\w+_)?" + name, guard.group(1)):
            tree.report(path, 1, "guard", f"the guard is {guard.group(1)}, not OD_..._{name}")
        if other := seen.get(guard.group(1)):
            tree.report(path, 1, "guard", f"{other} has the same guard, so one of the two would be empty")
        seen[guard.group(1)] = path


def check_comments(tree):
    for path, text in tree.sources((".c", ".cpp"), "src/", "extension/", "tests/"):
        if text.count("\n") > TOP_COMMENT_LINES and not text.lstrip().startswith(("//", "/*")):
            tree.report(path, 1, "comment", "a file of this length starts with a comment: what it is, what it keeps true")


def check_readmes(tree):
    folders = {}
    for path in tree.paths:
        folder, _, name = path.rpartition("/")
        if re.fullmatch(r"src/\w+|extension", folder) and name.endswith((".c", ".cpp")):
            folders.setdefault(folder, set()).add(name)
        if path.startswith("tests/") and path.count("/") > 1:
            folders.setdefault("tests", set()).add(path.split("/")[1] + "/")
    for folder, names in sorted(folders.items()):
        readme = f"{folder}/README.md"
        if readme not in tree.text:
            tree.report(readme, 0, "readme", f"{folder} has no README.md")
            continue
        for name in sorted(names):
            if not re.search(r"(?<![\w])" + re.escape(name), tree.text[readme]):
                tree.report(readme, 1, "readme", f"{name} is not named")


def check(root):
    tree = Tree(root)
    for rule in (check_includes, check_calls, check_layout, check_headers, check_comments, check_readmes):
        rule(tree)
    return tree.found


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    found = check(root)
    print("\n".join(found) if found else "tidy: nothing to say")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
