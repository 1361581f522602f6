// explore_faults.cpp - a disk that fails, or is full, under a database in use. Real DuckDB works on a simulated machine;
// from one of its calls on the disk is full for a while, or one call fails, or all reads of one statement fail. Statements
// may be refused, with an error that says why; nothing that was acknowledged is lost, nothing that was refused is there, and
// the database goes on, after it was opened again where it had to be.
//
//   explore_faults [--seed N] [--runs N] [--transactions N] [--rows N] [--kind full|error|read --at N]
//
//   --runs N  of each kind, evenly spaced over the calls (0: one for every call)
//   --at N    one run: the failure begins with call N (read: with statement N)
//   --transactions N, --rows N  of the workload: 14, and loads of at most 20 rows
#include "sim/explore_workload.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace {

enum Failure { FULL, ERROR, READ, FAILURES };
const char *const failure_names[FAILURES] = {"full", "error", "read"};
const unsigned FULL_STATEMENTS = 30; // so long is the disk full
const unsigned TRIES = 3;            // of opening: the failure may come then

uint64_t transactions = 14, rows_max = 20; // of the workload

struct Count {
	uint64_t runs, refused, unknown, reopened, wrong;
};

struct Reach { // of a run without a failure
	uint64_t calls = 0, statements = 0;
};

class FaultRun {
public:
	FaultRun(uint64_t seed, Failure failure, uint64_t at, Count &count)
	    : failure(failure), at(at), count(count), world(seed), random{seed} {}

	~FaultRun() {
		Quiet();
		database.reset();
		od_volume_close(volume);
	}

	Reach Run() {
		try {
			return RunAll();
		} catch (const std::exception &problem) {
			throw std::runtime_error(std::string(problem.what()) + " (call: " + where + ")");
		}
	}

private:
	// Throws what is wrong.
	Reach RunAll() {
		if (!TryOpen(true))
			throw std::runtime_error("it does not open: " + why);
		for (auto &sql : SetupStatements())
			if (Statement(sql) != OD_OK)
				throw std::runtime_error(sql + ": " + text);
		reach = {};
		world.host.before_change = [](void *self, const char *what, const char *path) {
			static_cast<FaultRun *>(self)->Before(what, path);
		};
		world.host.before_change_context = this;
		armed = true;
		for (uint64_t id = 1; id <= transactions; id++) {
			Do({id, KindOf(id), 1 + sim_random_below(&random, KindOf(id) == Transaction::LOAD ? rows_max : 20)});
			Maintain(id);
		}
		armed = false;
		const auto result = reach;
		Quiet();
		End();
		return result;
	}

	static Transaction::Kind KindOf(uint64_t id) {
		static const Transaction::Kind kinds[] = {Transaction::SINGLE, Transaction::SMALL,  Transaction::LOAD,
		                                          Transaction::UPDATE, Transaction::CREATE, Transaction::DELETE,
		                                          Transaction::ALTER};
		return kinds[id % 7];
	}

	// With the world's lock held, before a call.
	void Before(const char *what, const char *path) {
		if (++reach.calls == at)
			where = std::string(what) + " " + path;
		if (failure == FULL && reach.calls == at)
			world.host.disk_full = true;
		if (failure == ERROR) {
			const unsigned chance = reach.calls == at ? 1000 : 0;
			auto &faults = world.host.faults;
			faults.write_error = faults.sync_error = faults.name_error = chance;
			faults.object_unknown = faults.row_unknown = chance;
		}
	}

	void Quiet() { // and there is room again
		pthread_mutex_lock(&world.lock);
		world.host.before_change = nullptr;
		world.host.disk_full = false;
		world.host.faults = {};
		pthread_mutex_unlock(&world.lock);
	}

	od_code Statement(const std::string &sql, const std::string &request = "") {
		if (armed && failure == READ)
			world.host.faults.read_error = ++reach.statements == at ? 1000 : 0;
		else
			reach.statements++;
		if (world.host.disk_full && ++full_statements > FULL_STATEMENTS)
			world.host.disk_full = false;
		const auto rc = database->Run(0, sql, &text, request);
		world.host.faults.read_error = 0;
		if (rc != OD_OK)
			Explained(sql + ": " + text);
		return rc;
	}

	// The error says what happened to the disk, or that the database has to be opened again.
	static void Explained(const std::string &error) {
		for (auto part : {"simulated", "reopened", "since a failure", "takes no changes", "try again", "no answer"})
			if (error.find(part) != std::string::npos)
				return;
		throw std::runtime_error("an error that does not say why: " + error);
	}

	void Do(const Transaction &transaction) {
		const auto statements = transaction.Statements();
		started.insert(transaction.id);
		for (size_t i = 0; i < statements.size(); i++) {
			const bool last = i + 1 == statements.size();
			const auto rc = Statement(statements[i], last ? transaction.Request() : "");
			if (rc == OD_OK && !last)
				continue;
			if (rc == OD_OK) {
				acknowledged.insert(transaction.id);
			} else if (rc == OD_OUTCOME_UNKNOWN) {
				count.unknown++;
			} else {
				count.refused++;
				started.erase(transaction.id);
			}
			if (rc != OD_OK)
				AfterFailure();
			return;
		}
	}

	// Reads go on, or the database is opened again.
	void AfterFailure() {
		if (Healthy() && database->Run(0, "ROLLBACK", nullptr) == OD_OK && Healthy()) // the transaction is over
			return Readable();
		if (!Healthy())
			return Reopen();
		Readable();
	}

	void Readable() {
		if (failure != READ && database->Run(0, "SELECT count(*) FROM commits", &text) != OD_OK)
			throw std::runtime_error("reads do not go on: " + text);
	}

	bool Healthy() {
		od_error err = {};
		return od_engine_health(database->engine, &err) == OD_OK;
	}

	void Reopen() {
		count.reopened++;
		database.reset();
		od_volume_close(volume);
		volume = nullptr;
		for (unsigned i = 0; i < TRIES; i++) {
			if (TryOpen(false))
				return;
			Explained("opening: " + why);
			world.host.disk_full = false;
		}
		throw std::runtime_error("it does not open again: " + why);
	}

	bool TryOpen(bool create) {
		od_error err = {};
		if (world.Open(create, &volume, &err) != OD_OK) {
			why = err.message;
			volume = nullptr;
			return false;
		}
		database = std::make_unique<Database>();
		if (database->Open(volume, false, why))
			return true;
		database.reset();
		od_volume_close(volume);
		volume = nullptr;
		return false;
	}

	void Maintain(uint64_t id) {
		od_error err = {};
		od_meta_snapshot row;
		if (id % 4 == 2 && Statement("CHECKPOINT") != OD_OK)
			AfterFailure();
		if (id % 5 == 3)
			Allowed(od_volume_roll(volume, &err) == OD_OK ? od_volume_publish(volume, &err) : err.code, err);
		if (id % 6 == 4)
			Allowed(od_store_snapshot_create(world.store, EXPLORE_DATABASE, ("s" + std::to_string(id)).c_str(), volume,
			                                 &row, &err),
			        err);
		if (id % 7 == 6)
			Reopen();
		if (id % 3 == 1 && Statement("SELECT count(s), sum(i) FROM rows") != OD_OK)
			AfterFailure();
	}

	void Allowed(od_code rc, const od_error &err) {
		if (rc != OD_OK)
			Explained(err.message);
		if (!Healthy())
			Reopen();
	}

	void End() {
		if (!Healthy())
			Reopen();
		if (database->Run(0, "INSERT INTO commits VALUES (1000, 9, 1)", &text, "t1000") != OD_OK)
			throw std::runtime_error("it does not go on: " + text);
		started.insert(1000);
		acknowledged.insert(1000);
		Check("at the end");
		pthread_mutex_lock(&world.lock);
		world.host.off = true;
		pthread_mutex_unlock(&world.lock);
		database.reset();
		world.Crash(volume, (sim_crash)sim_random_below(&random, SIM_CRASHES));
		volume = nullptr;
		if (!TryOpen(false))
			throw std::runtime_error("it does not open after a crash: " + why);
		Check("after a crash");
		if (world.host.violation[0])
			throw std::runtime_error(world.host.violation);
	}

	void Check(const char *when) {
		if (CheckShop(*database, volume, started, acknowledged, why) != Finding::WELL)
			throw std::runtime_error(std::string(when) + ": " + why);
	}

	const Failure failure;
	const uint64_t at;
	Count &count;
	World world;
	sim_random random;
	od_volume *volume = nullptr;
	std::unique_ptr<Database> database;
	std::set<uint64_t> started, acknowledged;
	std::string text, why;
	std::string where; // the call at which the failure began
	Reach reach;
	unsigned full_statements = 0;
	bool armed = false;
};

bool Try(uint64_t seed, Failure failure, uint64_t at, Count &count, Reach *reach = nullptr) {
	count.runs++;
	try {
		const auto reached = FaultRun(seed, failure, at, count).Run();
		if (reach)
			*reach = reached;
		return true;
	} catch (const std::exception &problem) {
		count.wrong++;
		fprintf(stderr, "explore_faults --seed %llu --kind %s --at %llu: %s\n", (unsigned long long)seed,
		        failure_names[failure], (unsigned long long)at, problem.what());
		return false;
	}
}

} // namespace

int main(int argument_count, char **arguments) {
	uint64_t seed = 1, runs = 10, at = 0;
	int kind = -1;
	for (int i = 1; i + 1 < argument_count; i += 2) {
		const std::string name = arguments[i];
		const auto value = strtoull(arguments[i + 1], nullptr, 10);
		if (name == "--seed")
			seed = value;
		else if (name == "--runs")
			runs = value;
		else if (name == "--transactions")
			transactions = value;
		else if (name == "--rows")
			rows_max = value;
		else if (name == "--at")
			at = value;
		else if (name == "--kind")
			for (int k = 0; k < FAILURES; k++)
				kind = strcmp(arguments[i + 1], failure_names[k]) == 0 ? k : kind;
	}
	Count count = {};
	Reach reach;
	if (kind >= 0 && at)
		return Try(seed, (Failure)kind, at, count) ? 0 : 1;
	if (!Try(seed, ERROR, 0, count, &reach))
		return 1;
	printf(
	    "seed %llu: %llu calls, %llu statements\n| failure | runs | refused | outcome unknown | opened again | wrong "
	    "|\n|--|--:|--:|--:|--:|--:|\n",
	    (unsigned long long)seed, (unsigned long long)reach.calls, (unsigned long long)reach.statements);
	uint64_t wrong = 0;
	for (int k = 0; k < FAILURES; k++) {
		Count one = {};
		const auto all = k == READ ? reach.statements : reach.calls;
		const auto step = runs && runs < all ? all / runs : 1;
		for (at = 1 + seed % step; at <= all; at += step)
			(void)Try(seed, (Failure)k, at, one);
		printf("| %s | %llu | %llu | %llu | %llu | %llu |\n", failure_names[k], (unsigned long long)one.runs,
		       (unsigned long long)one.refused, (unsigned long long)one.unknown, (unsigned long long)one.reopened,
		       (unsigned long long)one.wrong);
		wrong += one.wrong;
	}
	return wrong == 0 ? 0 : 1;
}
