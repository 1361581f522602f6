// snapshot.cpp - several connections that read exactly the same state.
//
// DuckDB takes a commit's number and publishes it as "last commit" under one lock, and starts transactions under the
// same lock. So if the last commit is the same before the first start and after the last one, no commit lies between
// them. Commits that keep coming are held off, as the last resort, with the lock that each of them needs to write.
#include "engine/engine_internal.hpp"

#include "duckdb/storage/storage_manager.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "duckdb/transaction/transaction.hpp"

using namespace duckdb;

namespace {

constexpr int OPTIMISTIC_TRIES = 32;

void Begin(struct od_connection &connection) {
	auto &context = connection.Context();
	context.transaction.SetAutoCommit(false); // begins
	connection.snapshot = true;
	context.transaction.SetReadOnly();
	(void)Transaction::Get(context, *connection.engine->attached);
}

void End(struct od_connection &connection) {
	if (!connection.snapshot) {
		return;
	}
	connection.snapshot = false;
	auto &transaction = connection.Context().transaction;
	if (transaction.HasActiveTransaction()) {
		transaction.Rollback(nullptr);
	}
	transaction.SetAutoCommit(true);
}

// True when no commit came between the transactions' starts.
bool TryBegin(struct od_connection *const *connections, size_t n) {
	auto &manager = DuckTransactionManager::Get(*connections[0]->engine->attached);
	auto before = manager.GetLastCommit();
	try {
		for (size_t i = 0; i < n; i++) {
			Begin(*connections[i]);
		}
		if (manager.GetLastCommit() == before) {
			return true;
		}
	} catch (...) {
		for (size_t i = 0; i < n; i++) {
			End(*connections[i]);
		}
		throw;
	}
	for (size_t i = 0; i < n; i++) {
		End(*connections[i]);
	}
	return false;
}

} // namespace

od_code od_connection_begin_snapshot(struct od_connection *const *connections, size_t n, struct od_error *err) {
	return openduck::Guarded(err, [&] {
		for (size_t i = 0; i < n; i++) {
			if (connections[i]->running || !connections[i]->Context().transaction.IsAutoCommit() ||
			    connections[i]->engine != connections[0]->engine) {
				openduck::Fail(OD_INVALID, "a snapshot needs idle connections of one database");
			}
		}
		if (n == 0) {
			return;
		}
		for (int i = 0; i < OPTIMISTIC_TRIES; i++) {
			if (TryBegin(connections, n)) {
				return;
			}
		}
		auto &storage = connections[0]->engine->attached->GetStorageManager();
		auto no_commits = storage.Cast<SingleFileStorageManager>().GetWALLock();
		if (!TryBegin(connections, n)) {
			openduck::Fail(OD_BUSY, "too many commits while %zu transactions were to begin together", n);
		}
	});
}

void od_connection_end_snapshot(struct od_connection *connection) {
	(void)openduck::Guarded(nullptr, [&] { End(*connection); });
}
