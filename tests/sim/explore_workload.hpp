// explore_workload.hpp - random work on the database "shop" through the engine, and what must be found there afterwards.
#ifndef OD_TESTS_SIM_EXPLORE_WORKLOAD_HPP
#define OD_TESTS_SIM_EXPLORE_WORKLOAD_HPP

#include "sim/explore_oracle.hpp"

#include <memory>

// What one request does: its statements, of which the last carries the request's id.
struct Transaction {
	enum Kind { SMALL, BULK, UPDATE, CREATE, DELETE, ALTER, ACTIONS, SINGLE = 9, LOAD = 10 };
	uint64_t id;
	Kind kind;
	uint64_t n; // rows; of a DELETE, whose rows

	std::vector<std::string> Statements() const;
	std::string Request() const;
};

// The tables that transactions work on.
std::vector<std::string> SetupStatements();

struct WorkloadOptions {
	uint64_t seed;
	unsigned transactions;
	bool alone; // nothing runs beside the clients' statements: the same seed gives the same calls
};

// Three clients whose statements take turns as the seed says: DDL, inserts, bulk loads, updates, deletes, as single
// statements and as transactions that overlap; beside them checkpoints, rolls, publishing, snapshots; a clean restart. Every
// transaction is a request "tN" that writes its number and what it did. Throws when something fails that must not.
void RunShop(World &world, Oracle &oracle, const WorkloadOptions &options);

enum class Finding { WELL, REFUSED, LOST_COMMIT, HALF_COMMIT, LEDGER, FILES, FINDINGS };
// What DuckDB finds in a database that was opened again. `why` says what is wrong.
Finding CheckShop(Database &database, od_volume *volume, const std::set<uint64_t> &started,
                  const std::set<uint64_t> &acknowledged, std::string &why);

#endif
