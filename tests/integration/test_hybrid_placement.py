"""Where the parts of a plan are placed, and how that is shown: golden accounts of the main shapes.

golden/placement.txt has for each query the placement as openduck_placement() tells it, without estimates. After a change
that is meant, write it anew: OPENDUCK_GOLDEN=write python -m pytest tests/integration/test_hybrid_placement.py
"""
import os
import re
from pathlib import Path

import duckdb
import pytest
from conftest import connect

GOLDEN = Path(__file__).with_name("golden") / "placement.txt"

QUERIES = {
    "a small local table joins a large remote one, grouped":
        "SELECT count(*), sum(b.v) FROM r1.big b JOIN few f ON b.i = f.k",
    "a large local table joins a small remote one":
        "SELECT count(*), sum(l.v) FROM large l JOIN r1.dim d ON l.g = d.g",
    "tables of one server meet first, whatever stands between them":
        "SELECT d.name, sum(b.v) FROM r1.big b, few f, r1.dim d WHERE b.i = f.k AND b.g = d.g GROUP BY d.name",
    "two servers":
        "SELECT count(*), max(o.v) FROM r1.big b JOIN r2.other o ON b.i = o.i WHERE b.g = 3",
    "the first rows of a large remote table, with names from here":
        "SELECT b.*, f.k FROM (SELECT * FROM r1.big ORDER BY v DESC, i LIMIT 10) b LEFT JOIN few f ON f.k = b.i",
    "rows with a partner here":
        "SELECT count(*) FROM r1.big WHERE i IN (SELECT k FROM few)",
    "groups of a remote table joined with local rows":
        "SELECT l.v, q.n FROM large l JOIN (SELECT g, count(*) n FROM r1.big GROUP BY g) q ON l.g = q.g",
    "remote and local rows together":
        "SELECT g, sum(v) FROM (SELECT g, v FROM r1.big UNION ALL SELECT g, v FROM large) GROUP BY g",
    "filters alone go into the scan":
        "SELECT b.p FROM r1.big b, few f WHERE b.i > 199990 AND f.k = 199",
}


@pytest.fixture(scope="module")
def attached(server, new_database):
    con = connect()
    for alias in ("r1", "r2"):
        # Written so, it is an endpoint that nothing was measured of yet.
        endpoint = f"{server.endpoint},{server.endpoint}"
        con.execute(f"ATTACH 'openduck:{new_database()}?endpoint={endpoint}&token={server.token}' AS {alias}")
    con.execute("CREATE TABLE r1.big AS SELECT range i, (range % 10)::INTEGER g, (range * 7 % 1000)::INTEGER v, "
                "repeat('x', 100) p FROM range(200000)")
    con.execute("CREATE TABLE r1.dim AS SELECT range::INTEGER g, 'name ' || range AS name FROM range(10)")
    con.execute("CREATE TABLE r2.other AS SELECT range i, range % 100 v FROM range(300)")
    con.execute("CREATE TABLE few AS SELECT range * 199 k FROM range(200)")
    con.execute("CREATE TABLE large AS SELECT range i, (range % 10)::INTEGER g, range v FROM range(200000)")
    golden = {title: account(con, query) for title, query in QUERIES.items()}  # before anything is measured
    yield con, golden
    con.close()


@pytest.fixture
def sides(attached):
    return attached[0]


def account(con, query):
    con.execute("EXPLAIN " + query).fetchall()
    lines = []
    for depth, operator, site, reason, bridge, reduction in con.execute(
            "SELECT depth, operator, site, reason, bridge, reduction FROM openduck_placement()").fetchall():
        line = f"{'  ' * depth}{operator} @{site} ({reason})"
        lines.append(line + (f" {bridge}" if bridge else "") + (f" by {reduction}" if reduction else ""))
    return "\n".join(lines)


def test_golden_placements(attached):
    found = "\n\n".join(f"-- {title}\n-- {QUERIES[title]}\n{lines}" for title, lines in attached[1].items()) + "\n"
    if os.environ.get("OPENDUCK_GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


@pytest.mark.parametrize("title", QUERIES)
def test_placed_anywhere_the_answer_is_the_same(sides, title):
    query = QUERIES[title]
    answers = set()
    for placement in ("auto", "local", "remote", "random:1", "random:2", "random:3"):
        sides.execute(f"SET openduck_placement = '{placement}'")
        answers.add(tuple(sorted(map(repr, sides.execute(query).fetchall()))))
    sides.execute("SET openduck_placement = 'auto'")
    assert len(answers) == 1


def test_explain_shows_sites_and_bridges(sides):
    query = "SELECT count(*), sum(b.v) FROM r1.big b JOIN few f ON b.i = f.k"
    plan = sides.execute("EXPLAIN " + query).fetchall()[0][1]
    for text in ("OPENDUCK_PLACEMENT", "OPENDUCK_UPLOAD", "Why:", "Expected:", "@r1", "@here"):
        assert text in plan, (text, plan)
    plan = sides.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query).fetchall()[0][1]
    assert re.search(r'"Received": "1 rows, \d+ B in 1 batches, [\d.]+ ms"', plan), plan
    assert re.search(r'"Sent": "od_input_1: 200 rows, [\d.]+ K?B"', plan), plan
    # A statement that is not explained has no trace of it.
    assert "OPENDUCK_PLACEMENT" not in sides.execute("EXPLAIN SELECT count(*) FROM few").fetchall()[0][1]


def test_rows_seen_before_correct_the_estimate(sides):
    sides.execute("CREATE OR REPLACE TABLE r1.skewed AS SELECT 1 i, range v FROM range(50000)")
    query = "SELECT q.i, q.n FROM (SELECT i % 7 i, count(*) n FROM r1.skewed GROUP BY ALL) q JOIN large l ON l.i = q.n"

    def rows():
        account(sides, query)
        return [row[0] for row in sides.execute("SELECT estimated_rows FROM openduck_placement() WHERE operator "
                                                "LIKE 'AGG%'").fetchall()]

    assert rows()[0] > 100  # a guess
    assert sides.execute(query).fetchall() == [(1, 50000)]
    assert rows() == [1]


def test_a_table_with_a_placement_of_its_own(sides):
    query = "SELECT count(*), sum(b.v) FROM r1.big b JOIN few f ON b.i = f.k"
    for value in ("big=local", "r1.main.big = LOCAL", "main.big=local, few=remote,"):
        sides.execute(f"SET openduck_placement_tables = '{value}'")
        lines = account(sides, query).splitlines()
        assert [line.strip() for line in lines if "SCAN big" in line] and "JOIN INNER @here" in "\n".join(lines), lines
    sides.execute("SET openduck_placement_tables = 'big=remote'")
    assert "JOIN INNER @r1 (forced)" in account(sides, "SELECT b.p, l.v FROM r1.big b JOIN large l ON b.g = l.g")
    for value in ("big", "big=there", "=local"):
        with pytest.raises(duckdb.Error, match="openduck_placement_tables"):
            sides.execute(f"SET openduck_placement_tables = '{value}'")
    sides.execute("RESET openduck_placement_tables")
