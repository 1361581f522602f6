// transaction.cpp - what version of the catalog a transaction sees, and how that is written down.
//
// DuckDB numbers committed catalog changes of a database from 0 with each opening, and gives a transaction with own
// uncommitted changes a number of a range far above, which no other transaction ever gets. The text form starts with
// random characters of this opening, so that a number of an earlier one never matches.
#include "engine/engine_internal.hpp"

#include "duckdb/transaction/duck_transaction.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

using namespace duckdb;

namespace openduck {

bool CatalogVersion::Committed() const {
	return number < TRANSACTION_ID_START;
}

std::string CatalogVersion::Text(const struct od_engine &engine) const {
	return engine.opening +
	       (Committed() ? "." + std::to_string(number) : ".u" + std::to_string(number - TRANSACTION_ID_START));
}

CatalogVersion TransactionVersion(struct od_engine &engine, ClientContext &context) {
	CatalogVersion version;
	auto &transaction = Transaction::Get(context, *engine.attached);
	version.number = DuckTransactionManager::Get(*engine.attached).GetCatalogVersion(transaction);
	return version;
}

} // namespace openduck

// The number itself is private to DuckDB's transaction manager; a read-only transaction is the way to see it (2 us).
openduck::CatalogVersion od_engine::CommittedVersion() {
	std::lock_guard<std::mutex> guard(internal_lock);
	auto &context = *internal->context;
	context.transaction.BeginTransaction();
	openduck::CatalogVersion version;
	try {
		context.transaction.SetReadOnly();
		version = openduck::TransactionVersion(*this, context);
	} catch (...) {
		context.transaction.Rollback(nullptr);
		throw;
	}
	context.transaction.Rollback(nullptr);
	return version;
}

void od_engine_catalog_version(struct od_engine *engine, char *out) {
	std::string text;
	if (openduck::Guarded(nullptr, [&] { text = engine->CommittedVersion().Text(*engine); }) != OD_OK) {
		text.clear(); // an invalidated database: matches nothing
	}
	snprintf(out, OD_CATALOG_VERSION_BYTES, "%s", text.c_str());
}
