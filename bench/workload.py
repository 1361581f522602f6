"""The SQL that every subject runs. {r} becomes the prefix of the remote catalog."""

TABLES = "region nation supplier customer part partsupp orders lineitem".split()

SUM = ("SELECT count(*), sum(l_extendedprice) FROM {r}lineitem"
       " WHERE l_shipdate >= DATE '1998-09-01'")
JOIN = ("SELECT o_orderpriority, count(*), sum(l_extendedprice)"
        " FROM {r}lineitem JOIN {r}orders ON l_orderkey = o_orderkey"
        " WHERE l_shipdate >= DATE '1998-09-01' GROUP BY 1 ORDER BY 1")
LOOKUP = "SELECT * FROM {r}orders WHERE o_orderkey = %d"
HYBRID = "SELECT count(*), sum(l_extendedprice) FROM {r}lineitem JOIN keys ON l_orderkey = k"
KEYS = "SELECT (range * 187 * 32 + 1)::BIGINT AS k FROM range(1000)"
UPLOAD = ("SELECT range AS id, (range % 1000)::INTEGER AS k, (range * 0.01)::DECIMAL(15,2) AS price,"
          " DATE '1992-01-01' + (range % 2500)::INTEGER AS d, 'row number ' || range AS s"
          " FROM range(1000000)")
