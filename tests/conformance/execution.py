"""One file in one process."""

import json
import os
import re
import time

import subjects
from compare import Mismatch, check_query, is_regex, matches_regex, shorten
from dialect import Loop, Parser, Simple, Skip, Statement, condition_holds

VERIFICATION = re.compile(
    r"\s*PRAGMA\s+(enable_verification|disable_verification|(disable_)?verify_\w+|(enable|disable)_verify_\w+)\s*;?\s*",
    re.IGNORECASE,
)


class Run:
    """Executes the commands of one file on a database in which `r` is attached."""

    def __init__(self, engine, name, setup, workdir, environment, options, note):
        self.engine, self.name, self.options, self.note = engine, name, options, note
        self.workdir, self.environment = workdir, environment
        self.labels, self.hash_threshold, self.connections = {}, 0, {}
        self.database = engine.Database(":memory:")
        self.setup = setup
        self.main = self.database.connect()
        for sql in ["SET secret_directory='%s/secrets'" % workdir] + setup + ["USE r"]:
            self._must(self.main, sql)

    @staticmethod
    def _must(connection, sql):
        result = connection.query(sql)
        error = result.error
        result.close()
        if error:
            raise subjects.SubjectError("%s: %s" % (sql, error))

    def replace(self, text):
        for key, value in self.environment.items():
            text = text.replace("${%s}" % key, value).replace("{%s}" % key, value)
        for key, value in (
            ("{TEST_DIR}", self.workdir),
            ("__TEST_DIR__", self.workdir),
            ("{TEST_NAME}", self.name),
            ("{BASE_TEST_NAME}", self.name.replace("/", "_")),
            ("{UUID}", "00000000-0000-4000-8000-000000000000"),
            ("__WORKING_DIRECTORY__", os.getcwd()),
        ):
            text = text.replace(key, value)
        return text

    def _with_loops(self, text, loops):
        for name, value in loops.items():
            value = self.replace(value)
            names, values = (name.split(","), value.split(",")) if "," in name else ([name], [value])
            for one, replacement in zip(names, values):
                text = text.replace("${%s}" % one, replacement).replace("{%s}" % one, replacement)
        return text

    def _connection(self, label):
        if not label:
            return self.main
        if label not in self.connections:
            self.connections[label] = self.database.connect()
            self._must(self.connections[label], "USE r")
        return self.connections[label]

    def execute(self, commands, loops):
        """True if a `continue` ended this pass through a loop body."""
        for command in commands:
            if isinstance(command, Loop):
                for value in command.values:
                    self.execute(command.body, {**loops, command.variable: value})
                continue
            if not all(condition_holds(condition, loops) for condition in command.conditions):
                continue
            if isinstance(command, Simple):
                if command.what == "continue":
                    return True
                self._simple(command)
                continue
            sql = self._with_loops(self.replace(command.sql), loops)
            if VERIFICATION.fullmatch(sql) and not self.options.verification:
                continue
            try:
                self._one(command, sql, loops)
            except Mismatch as fault:
                self.note(False, {
                    "line": command.line, "sql": shorten(sql, 200), "kind": fault.kind,
                    "detail": shorten(fault.detail),
                })
            except subjects.SubjectError as fault:
                self.note(False, {
                    "line": command.line, "sql": shorten(sql, 200), "kind": "new connection",
                    "detail": shorten(str(fault)),
                })
            else:
                self.note(True, None)
        return False

    def _simple(self, command):
        if command.what == "seed":
            self.main.query("SELECT setseed(%s)" % command.argument).close()
        elif command.what == "reset":
            self.labels.pop(command.argument, None)
        elif command.what == "sleep":
            time.sleep(command.argument)
        elif command.what == "hash-threshold":
            self.hash_threshold = command.argument
        elif command.what == "reconnect":
            self.main.close()
            self.main = self.database.connect()
            self._must(self.main, "USE r")

    def _one(self, command, sql, loops):
        result = self._connection(command.connection).query(sql)
        try:
            if isinstance(command, Statement):
                self._check_statement(command, result)
            elif result.error:
                raise Mismatch("error", result.error)
            else:
                expected = command.values
                if len(expected) == 1 and expected[0].startswith("<FILE>:"):
                    path = self._with_loops(self.replace(expected[0][len("<FILE>:") :]), loops)
                    expected = self._expected_file(path, len(result.types))
                try:
                    values = self.engine.text_of(result)
                except RuntimeError as fault:
                    raise Mismatch("error", str(fault)) from fault
                check_query(command, result, values, expected, self)
        finally:
            result.close()

    def _expected_file(self, path, width):
        connection = self.engine.Database(":memory:", threads="1").connect()
        columns = ", ".join("'c%d': 'VARCHAR'" % i for i in range(width))
        sql = "SELECT * FROM read_csv('%s', header=1, sep='|', columns={%s}, auto_detect=false)" % (path, columns)
        result = connection.query(sql)
        if result.error:
            raise Mismatch("error", "expected result: " + result.error)
        values = ["NULL" if value is None else value.decode() for row in result.rows() for value in row]
        result.close()
        return values

    def _check_statement(self, command, result):
        if command.expected == "ok":
            if result.error:
                raise Mismatch("error", result.error)
            return
        if not result.error:
            if command.expected == "error":
                raise Mismatch("error expected, none came", command.error)
            return
        if "INTERNAL" in result.error or "differs from original result!" in result.error:
            raise Mismatch("internal error", result.error)
        wanted = command.error
        if not wanted or wanted in result.error or self.replace(wanted) in result.error:
            return
        if is_regex(wanted) and matches_regex(result.error + "\n", wanted):
            return
        raise Mismatch("other error than expected", "%s, expected %s" % (shorten(result.error, 180), shorten(wanted, 110)))


def read_commands(path, name):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        lines = [line.rstrip("\n").replace("\r", "") for line in file]
    here = os.getcwd()
    environment = {"WORKING_DIR": here, "DATA_DIR": here + "/data", "TEST_UUID": "conformance"}
    return Parser(lines, environment).parse(), environment


def run_file(engine, kind, name, options, workdir, counters, report):
    """In the child: runs one file and writes what there is to say to the open file `report`."""
    first_fault = []

    def note(passed, fault):
        counters[0 if passed else 1] += 1
        if not passed and not first_fault:
            first_fault.append(fault)
            report.write(json.dumps(fault) + "\n")
            report.flush()
            if options.stop_at_first:
                raise StopIteration

    os.chdir(options.corpus)
    subject = kind(options.subject_options, workdir, engine)
    try:
        commands, environment = read_commands(name, name)
        environment.update(TEMP_DIR=workdir, CATALOG_DIR=workdir + "/catalog")
        Run(engine, name, subject.start(), workdir, environment, options, note).execute(commands, {})
    except StopIteration:
        pass
    except Skip as reason:
        report.write(json.dumps({"skip": str(reason)}) + "\n")
    except subjects.SubjectError as reason:
        report.write(json.dumps({"setup": shorten(str(reason))}) + "\n")
    finally:
        report.flush()
        subject.stop()
