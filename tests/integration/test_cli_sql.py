"""`openduck sql`, `ping` and `db` as a person or a script uses them: output, exit statuses, interruption."""
import json
import os
import signal
import subprocess
import sys
import time

import duckdb
import pyarrow.ipc
import pytest
from conftest import server_program


@pytest.fixture
def sql(server):
    """Runs `openduck sql ...` in a database of its own."""
    name = f"cli_{os.getpid()}_{time.monotonic_ns()}"
    assert server.run("db", "create", name).returncode == 0

    def run(*arguments, **more):
        return server.run("sql", "--database", name, *arguments, **more)
    yield run
    server.run("db", "drop", name)


def test_a_table_is_printed_as_duckdb_prints_it(sql):
    query = "SELECT 42 AS answer, NULL AS nothing, 'ü' AS t, 1.50::DECIMAL(9,2) AS d FROM range(3)"
    done = sql(query)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(duckdb.sql(query)).strip()


@pytest.mark.parametrize("query", [
    "SELECT DATE '2024-02-29' AS d, INTERVAL '1 month 2 days' AS i, 1.50::DECIMAL(9,2) AS n",
    "SELECT [1, NULL, 3] AS l, {'a': 'x\"y', 'b': NULL} AS s, MAP {'k': 1} AS m",
    "SELECT 'a,b' AS c, E'line\\nbreak' AS n, '' AS empty, NULL AS nothing, true AS b",
    "SELECT range AS n, 'row ' || range AS s FROM range(5000)",
    "SELECT 1 AS n WHERE false",
])
def test_files_hold_what_duckdb_would_write(sql, tmp_path, query):
    for form, options in {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY", "jsonl": "FORMAT json"}.items():
        theirs, ours = tmp_path / f"theirs.{form}", tmp_path / f"ours.{form}"
        duckdb.sql(f"COPY ({query}) TO '{theirs}' ({options})")
        assert sql(query, "--format", form, "--output", str(ours)).returncode == 0
        assert ours.read_text() == theirs.read_text(), form
        assert sql(query, "--format", form).stdout == theirs.read_text(), form


def test_parquet_and_arrow_files_can_be_read(sql, tmp_path):
    query = "SELECT range AS n, range::VARCHAR AS s, [range] AS l FROM range(50000)"
    assert sql(query, "--format", "parquet", "-o", str(tmp_path / "t.parquet")).returncode == 0
    rows = duckdb.sql(f"SELECT count(*), sum(n), sum(l[1]), max(s) FROM '{tmp_path}/t.parquet'").fetchone()
    assert rows == (50000, 1249975000, 1249975000, "9999")
    assert sql(query, "--format", "arrow", "-o", str(tmp_path / "t.arrow")).returncode == 0
    with pyarrow.ipc.open_stream(str(tmp_path / "t.arrow")) as stream:
        assert stream.read_all().num_rows == 50000


def test_statements_share_a_session_and_stop_at_the_first_error(sql):
    done = sql("""CREATE TEMP TABLE q AS SELECT ';' AS a; -- a comment; with a semicolon
                  SELECT a FROM q; SELECT nope; SELECT 'never'""", "--format", "csv")
    assert done.returncode == 1
    assert done.stdout == "a\n;\n"
    assert "Binder Error" in done.stderr and "statement 3 of 4" in done.stderr


def test_a_transaction_of_a_failed_script_is_rolled_back(sql):
    assert sql("CREATE TABLE t (a INTEGER)").returncode == 0
    assert sql("BEGIN; INSERT INTO t VALUES (1); SELECT nope").returncode == 1
    assert sql("SELECT count(*) AS n FROM t", "--format", "csv").stdout == "n\n0\n"
    assert sql("BEGIN; INSERT INTO t VALUES (1); COMMIT").returncode == 0
    assert sql("SELECT count(*) AS n FROM t", "--format", "csv").stdout == "n\n1\n"


def test_changed_rows_are_counted(sql):
    done = sql("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2); DELETE FROM t WHERE a = 1")
    assert done.stdout == "INSERT: 2 rows changed\nDELETE: 1 row changed\n"


def test_sql_from_a_file_and_from_standard_input(sql, tmp_path, server):
    (tmp_path / "q.sql").write_text("SELECT 1 AS a;\n")
    assert sql("-f", str(tmp_path / "q.sql"), "--format", "csv").stdout == "a\n1\n"
    done = subprocess.run([server_program(), "sql", "--endpoint", server.endpoint, "--token", server.token, "--format",
                           "csv"], input="SELECT 2 AS a", capture_output=True, text=True, timeout=60)
    assert done.stdout == "a\n2\n"


@pytest.mark.parametrize("value,kind,text", [
    ("42", "INTEGER", "42"), ("'42'", "VARCHAR", "42"), ("-1.5", "DECIMAL(2,1)", "-1.5"), ("NULL", '"NULL"', "NULL"),
    ("DATE '2024-02-29'", "DATE", "2024-02-29"), ("2024-02-29", "VARCHAR", "2024-02-29"), ("TRUE", "BOOLEAN", "true"),
    ("[1, 2]", "INTEGER[]", "[1, 2]"), ("it's", "VARCHAR", "it's"), ("", "VARCHAR", ""),
    ("read_text('/etc/passwd')", "VARCHAR", "read_text('/etc/passwd')"), ("(SELECT 1)", "VARCHAR", "(SELECT 1)"),
])
def test_parameters_have_the_type_of_their_literal(sql, value, kind, text):
    done = sql("SELECT typeof($1) AS kind, $1::VARCHAR AS text", f"--param={value}", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"kind": kind, "text": None if text == "NULL" else text}


def test_parameters_by_name(sql):
    done = sql("SELECT $b || $a AS t", "-p", "a='x'", "-p", "b=y", "--format", "csv")
    assert done.stdout == "t\nyx\n", done.stderr


# ---- exit statuses


def test_exit_statuses(sql, server):
    run = lambda *arguments: subprocess.run([server_program(), *arguments], capture_output=True, text=True, timeout=60,
                                            stdin=subprocess.DEVNULL)
    assert sql("SELEC 1").returncode == 1
    assert sql("SELECT 1", "--format", "html").returncode == 2
    assert sql("SELECT 1", "SELECT 2").returncode == 2
    assert sql("SELECT 1", "--no-such-flag").returncode == 2
    assert run("sql", "SELECT 1", "--endpoint", "127.0.0.1:1").returncode == 3
    assert run("sql", "SELECT 1", "--endpoint", server.endpoint, "--token", "wrong").returncode == 4
    assert run("ping", server.endpoint, "--token", "wrong").returncode == 4
    assert run("ping", "127.0.0.1:1").returncode == 3
    assert run("ping", server.endpoint, "--token", server.token).returncode == 0
    for command in ["sql", "ping", "db", "serve"]:
        assert run(command, "--help").returncode == 0
    assert run("frobnicate").returncode == 2


def test_a_statement_that_is_not_there_in_time(sql):
    began = time.monotonic()
    done = sql("SELECT count(*) FROM range(10000000) a, range(10000000) b", "--timeout", "300ms")
    assert done.returncode == 1
    assert "time limit" in done.stderr
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("query", ["SELECT count(*) FROM range(10000000) a, range(10000000) b",
                                   "SELECT a.range FROM range(10000000) a, range(10000000) b"])
def test_ctrl_c_cancels_on_the_server(server, query):
    process = subprocess.Popen([server_program(), "sql", query, "--endpoint", server.endpoint, "--token", server.token,
                                "--format", "csv"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "interrupted" in process.stderr.read()
    process.stderr.close()
    for _ in range(100):  # the server is idle again
        before = server.cpu_s()
        time.sleep(0.2)
        if server.cpu_s() - before < 0.05:
            return
    pytest.fail("the server goes on computing")


# ---- databases


def test_databases_come_and_go(server, tmp_path):
    duckdb.connect(str(tmp_path / "old.duckdb")).execute("CREATE TABLE t AS SELECT range AS n FROM range(1000)").close()
    assert server.run("db", "create", "imported", "--from", str(tmp_path / "old.duckdb")).returncode == 0
    done = server.run("sql", "-d", "imported", "SELECT sum(n) AS n FROM t", "--format", "csv")
    assert done.stdout == "n\n499500\n", done.stderr
    assert server.run("db", "create", "imported").returncode == 1
    assert server.run("db", "create", "imported", "--if-not-exists").returncode == 0
    listed = [json.loads(line) for line in server.run("db", "list", "--json").stdout.splitlines()]
    assert {"main", "imported"} <= {entry["name"] for entry in listed}
    assert server.run("db", "drop", "imported").returncode == 0
    assert server.run("db", "drop", "imported").returncode == 1
    assert server.run("db", "drop", "imported", "--if-exists").returncode == 0


def test_a_file_that_is_no_database_is_refused(server, tmp_path):
    (tmp_path / "bad.duckdb").write_bytes(b"this is not a database" * 1000)
    done = server.run("db", "create", "bad", "--from", str(tmp_path / "bad.duckdb"))
    assert done.returncode == 1 and done.stderr
    assert '"bad"' not in server.run("db", "list", "--json").stdout


def test_a_database_is_made_from_a_file_with_a_log(server, tmp_path):
    """DuckDB was killed before it could take its write-ahead log into the file: the rows in it come along."""
    file = tmp_path / "killed.duckdb"
    code = f"""if True:
        import duckdb, os, signal
        con = duckdb.connect({str(file)!r})
        con.execute("SET wal_autocheckpoint = '1GB'")
        con.execute("CREATE TABLE t AS SELECT range AS i FROM range(1000)")
        con.execute("CHECKPOINT")
        con.execute("INSERT INTO t SELECT range FROM range(500)")
        os.kill(os.getpid(), signal.SIGKILL)"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / "killed.duckdb.wal").stat().st_size > 0
    before = file.read_bytes(), (tmp_path / "killed.duckdb.wal").read_bytes()
    done = server.run("db", "create", "killed", "--from", str(file))
    assert done.returncode == 2 and "write-ahead log beside it" in done.stderr  # one file is sent
    run = lambda *arguments: subprocess.run([server_program(), *arguments, "--data", str(tmp_path / "data")],
                                            capture_output=True, text=True, timeout=60)
    done = run("db", "create", "killed", "--from", str(file))
    assert done.returncode == 0, done.stderr
    assert run("export", "killed", str(tmp_path / "out.duckdb")).returncode == 0
    with duckdb.connect(str(tmp_path / "out.duckdb")) as con:
        assert con.execute("SELECT count(*), sum(i) FROM t").fetchone() == (1500, 624250)
    assert before == (file.read_bytes(), (tmp_path / "killed.duckdb.wal").read_bytes())


def test_a_data_directory_without_a_server(tmp_path, server):
    run = lambda *arguments: subprocess.run([server_program(), "db", *arguments, "--data", str(tmp_path / "data")],
                                            capture_output=True, text=True, timeout=60)
    assert run("create", "offline").returncode == 0
    assert "offline" in run("list").stdout
    assert run("drop", "offline").returncode == 0
    held = subprocess.run([server_program(), "db", "list", "--data", str(server.folder / "data")], capture_output=True,
                          text=True, timeout=60)
    assert held.returncode == 1 and "--endpoint" in held.stderr
