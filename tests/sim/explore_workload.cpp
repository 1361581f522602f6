// explore_workload.cpp - see explore_workload.hpp.
//
// A transaction is known by its row in commits(id, kind, n), or, a bulk load being one statement, by its table's name.
#include "sim/explore_workload.hpp"

#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <thread>

using std::string;
using std::to_string;

namespace {

struct Client {
	size_t stage = 0; // of the transaction's statements; 0 and no transaction: idle
	bool busy = false;
	Transaction transaction;
	std::vector<string> statements;
};

class Shop {
public:
	Shop(World &world, Oracle &oracle, const WorkloadOptions &options)
	    : world(world), oracle(oracle), options(options), random{options.seed} {}

	void Run() {
		Open(true);
		for (auto &sql : SetupStatements())
			Must(sql);
		while (started < options.transactions || Busy()) {
			if (sim_random_chance(&random, 90))
				Beside();
			if (restarts < 1 && started > options.transactions / 2 && !Busy())
				Restart();
			Step((unsigned)sim_random_below(&random, CLIENTS));
		}
		Close();
	}

	~Shop() {
		if (beside.joinable())
			beside.join();
	}

private:
	static const unsigned CLIENTS = Database::CONNECTIONS - 1;

	void Must(const string &sql) {
		string text;
		if (database->Run(CLIENTS, sql, &text) != OD_OK)
			throw std::runtime_error(sql + ": " + text);
	}

	void Open(bool first) {
		od_error err = {};
		string why;
		if (world.Open(first, &volume, &err) != OD_OK)
			throw std::runtime_error(string("the volume does not open: ") + err.message);
		oracle.Watch(volume);
		database = std::make_unique<Database>();
		if (!database->Open(volume, false, why))
			throw std::runtime_error("the database does not open: " + why);
	}

	void Close() {
		if (beside.joinable())
			beside.join();
		database.reset();
		od_volume_close(volume);
		oracle.Watch(nullptr);
		world.CloseStore();
	}

	void Restart() {
		restarts++;
		Close();
		Open(false);
		Must(SetupStatements()[0]); // a setting, not kept
	}

	bool Busy() const {
		for (auto &client : clients)
			if (client.busy)
				return true;
		return false;
	}

	// A checkpoint, a roll, publishing or a snapshot, while the clients go on.
	void Beside() {
		const auto what = sim_random_below(&random, 8);
		const auto name = "s" + to_string(++snapshots);
		if (beside.joinable())
			beside.join();
		auto work = [this, what, name] {
			od_error err = {};
			od_meta_snapshot row;
			if (what < 4) {
				(void)database->Run(CLIENTS, "CHECKPOINT"); // refused while somebody writes
			} else if (what < 5) {
				Check(od_volume_flush(volume, &err), "flush", err);
			} else if (what < 7) {
				Check(od_volume_roll(volume, &err), "roll", err);
				Check(od_volume_publish(volume, &err), "publish", err);
			} else {
				const auto rc =
				    od_store_snapshot_create(world.store, EXPLORE_DATABASE, name.c_str(), volume, &row, &err);
				if (rc == OD_BUSY) // a statement is between two barriers
					return;
				Check(rc, "snapshot", err);
				oracle.SnapshotMade(row);
			}
		};
		if (options.alone)
			work();
		else
			beside = std::thread(work);
	}

	static void Check(od_code rc, const char *what, const od_error &err) {
		if (rc != OD_OK) {
			fprintf(stderr, "%s: %s\n", what, err.message);
			abort();
		}
	}

	void Step(unsigned number) {
		auto &client = clients[number];
		if (!client.busy && started >= options.transactions)
			return;
		if (!client.busy)
			Begin(client);
		const bool last = client.stage + 1 == client.statements.size();
		const auto rc =
		    database->Run(number, client.statements[client.stage++], nullptr, last ? client.transaction.Request() : "");
		if (last)
			return End(client, rc);
		if (rc != OD_OK) {
			(void)database->Run(number, "ROLLBACK");
			End(client, rc);
		}
	}

	void Begin(Client &client) {
		const auto draw = sim_random_below(&random, 100);
		auto &made = client.transaction;
		made.id = ++started;
		made.kind = draw < 40   ? Transaction::SINGLE
		            : draw < 46 ? Transaction::LOAD
		                        : (Transaction::Kind)sim_random_below(&random, Transaction::ACTIONS);
		made.n = 1 + sim_random_below(&random, 20);
		if (made.kind == Transaction::DELETE && inserts.empty())
			made.kind = Transaction::SMALL;
		if (made.kind == Transaction::BULK || made.kind == Transaction::LOAD)
			made.n = sim_random_chance(&random, 200) ? 130000 : 3000 + sim_random_below(&random, 20000);
		if (made.kind == Transaction::DELETE) {
			made.n = inserts.back();
			inserts.pop_back();
		}
		client.busy = true;
		client.stage = 0;
		client.statements = made.Statements();
		oracle.Started(made.id);
	}

	void End(Client &client, od_code rc) {
		client.busy = false;
		if (rc == OD_OK && client.transaction.kind <= Transaction::BULK)
			inserts.push_back(client.transaction.id);
		if (rc == OD_OK)
			oracle.Acknowledged(client.transaction.id);
		else
			oracle.Denied(client.transaction.id);
	}

	World &world;
	Oracle &oracle;
	WorkloadOptions options;
	sim_random random;
	od_volume *volume = nullptr;
	std::unique_ptr<Database> database;
	Client clients[CLIENTS];
	std::vector<uint64_t> inserts; // whose rows are there, for all to see
	std::thread beside;
	unsigned started = 0, snapshots = 0, restarts = 0;
};

std::vector<string> Lines(const string &text, char end = '\n') {
	std::vector<string> lines;
	std::istringstream in(text);
	for (string line; std::getline(in, line, end);)
		lines.push_back(line);
	return lines;
}

// The database's transactions as DuckDB finds them.
struct Found {
	std::set<uint64_t> ids;
	std::set<string> tables, columns; // without those of the setup
	std::vector<std::pair<string, uint64_t>> loads;
	bool has_commits = false;
};

string Query(Database &database, const string &sql) {
	string text;
	if (database.Run(0, sql, &text) != OD_OK)
		throw std::runtime_error(sql + ": " + text);
	return text;
}

void Collect(Database &database, Found &found) {
	for (auto &name : Lines(Query(database, "SELECT table_name FROM duckdb_tables() WHERE database_name = 'shop'"))) {
		if (name.rfind("b_", 0) == 0) {
			const auto parts = Lines(name, '_');
			found.ids.insert(std::stoull(parts[1]));
			found.loads.push_back({name, std::stoull(parts[2])});
		} else if (name.rfind("t_", 0) == 0) {
			found.tables.insert(name);
		}
		found.has_commits = found.has_commits || name == "commits";
	}
	for (auto &name : Lines(Query(database, "SELECT column_name FROM duckdb_columns() WHERE table_name = 'wide' AND "
	                                        "starts_with(column_name, 'c_')")))
		found.columns.insert(name);
}

Finding CheckDefinitions(Database &database, Found &found, string &why) {
	for (auto &line : Lines(Query(database, "SELECT id, kind FROM commits"))) {
		const auto parts = Lines(line, '|');
		const auto kind = std::stoull(parts[1]);
		found.ids.insert(std::stoull(parts[0]));
		if ((kind == Transaction::CREATE && !found.tables.erase("t_" + parts[0])) ||
		    (kind == Transaction::ALTER && !found.columns.erase("c_" + parts[0]))) {
			why = "the definition of transaction " + parts[0] + " is missing";
			return Finding::HALF_COMMIT;
		}
	}
	if (!found.tables.empty() || !found.columns.empty()) {
		why = "there are definitions of transactions that did not commit";
		return Finding::HALF_COMMIT;
	}
	return Finding::WELL;
}

Finding CheckRows(Database &database, const Found &found, string &why) {
	const auto halves = Query(
	    database, "SELECT (SELECT count(*) FROM (SELECT id, n FROM commits WHERE kind < 2 AND id NOT IN (SELECT n "
	              "FROM commits WHERE kind = 4)) c FULL JOIN (SELECT txn, count(*) AS n, count(s) AS texts FROM "
	              "rows GROUP BY txn) r ON c.id = r.txn WHERE c.n IS DISTINCT FROM r.n OR r.n IS DISTINCT FROM "
	              "r.texts), (SELECT coalesce(sum(n), 0) FROM commits WHERE kind = 2) - (SELECT sum(v) FROM "
	              "counters)");
	if (halves != "0|0") {
		why = "transactions are there in part (inserts|updates): " + halves;
		return Finding::HALF_COMMIT;
	}
	for (auto &load : found.loads) {
		const auto rows = Query(database, "SELECT count(*), count(*) FILTER (h = hash(i)) FROM " + load.first);
		if (rows != to_string(load.second) + "|" + to_string(load.second)) {
			why = load.first + " has " + rows + " rows";
			return Finding::HALF_COMMIT;
		}
	}
	return Finding::WELL;
}

} // namespace

std::vector<string> SetupStatements() {
	return {
	    "SET checkpoint_threshold = '512KB'",
	    "CREATE TABLE counters AS SELECT range AS id, 0::BIGINT AS v FROM range(20)",
	    "CREATE TABLE rows(txn BIGINT, i BIGINT, s VARCHAR)",
	    "CREATE TABLE wide(i BIGINT)",
	    "CREATE TABLE commits(id BIGINT PRIMARY KEY, kind BIGINT, n BIGINT)",
	};
}

string Transaction::Request() const {
	return "t" + to_string(id);
}

std::vector<string> Transaction::Statements() const {
	const auto number = to_string(id), count = to_string(n);
	const auto row = "INSERT INTO commits VALUES (" + number + ", " + to_string(kind) + ", " + count + ")";
	string action;
	switch (kind) {
	case SINGLE:
		return {row};
	case LOAD:
		return {"CREATE TABLE b_" + number + "_" + count + " AS SELECT range AS i, hash(range) AS h FROM range(" +
		        count + ")"};
	case UPDATE:
		action = "UPDATE counters SET v = v + 1 WHERE id < " + count;
		break;
	case CREATE:
		action = "CREATE TABLE t_" + number + " AS SELECT range AS i FROM range(" + count + ")";
		break;
	case DELETE:
		action = "DELETE FROM rows WHERE txn = " + count;
		break;
	case ALTER:
		action = "ALTER TABLE wide ADD COLUMN c_" + number + " BIGINT";
		break;
	default:
		action = "INSERT INTO rows SELECT " + number + ", range, md5(range::VARCHAR) FROM range(" + count + ")";
	}
	return {"BEGIN", row, action, "COMMIT"};
}

void RunShop(World &world, Oracle &oracle, const WorkloadOptions &options) {
	Shop(world, oracle, options).Run();
}

Finding CheckShop(Database &database, od_volume *volume, const std::set<uint64_t> &started,
                  const std::set<uint64_t> &acknowledged, string &why) {
	Found found;
	auto finding = Finding::WELL;
	try {
		Collect(database, found);
		if (found.has_commits)
			finding = CheckDefinitions(database, found, why);
		if (found.has_commits && finding == Finding::WELL)
			finding = CheckRows(database, found, why);
	} catch (const std::exception &failure) {
		why = failure.what();
		return Finding::REFUSED;
	}
	if (finding != Finding::WELL)
		return finding;
	for (auto id : acknowledged)
		if (!found.ids.count(id)) {
			why = "transaction " + to_string(id) + " is missing";
			return Finding::LOST_COMMIT;
		}
	for (auto id : found.ids)
		if (!started.count(id)) {
			why = "transaction " + to_string(id) + " is there, although it was denied";
			return Finding::HALF_COMMIT;
		}
	for (auto id : started) {
		od_ledger_entry entry;
		const auto request = Transaction{id, Transaction::SINGLE, 0}.Request();
		if (od_volume_ledger_find(volume, request.c_str(), &entry) != (found.ids.count(id) > 0)) {
			why = "request " + request + " is" + (found.ids.count(id) ? " not" : "") + " in the ledger";
			return Finding::LEDGER;
		}
	}
	return Finding::WELL;
}
