// engine_internal.hpp - the two structs behind engine.h and what the engine's C++ files share.
//
// Rules: no exception leaves an extern "C" function (Guarded); a DuckDB error becomes an od_error with its class; errors
// of our own rules are thrown as EngineError and keep their code.
#ifndef OD_ENGINE_INTERNAL_HPP
#define OD_ENGINE_INTERNAL_HPP

#include "duckdb.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context_state.hpp"

#include "base/error.h"
#include "duck/convert.hpp"
#include "engine/engine.h"
#include "engine/result.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <unordered_map>

namespace openduck {

class Run;

//! An error with a code of ours, raised where DuckDB's code is between us and our caller.
struct EngineError : public std::exception {
	struct od_error error {};
	const char *what() const noexcept override {
		return error.message;
	}
};
[[noreturn]] void Fail(od_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));
//! Throws what a C function of ours reported.
void Check(od_code code, const struct od_error &error);

//! Turns the exception in flight into *err.
od_code CurrentException(struct od_error *err) noexcept;

template <class BODY>
od_code Guarded(struct od_error *err, BODY &&body) noexcept {
	try {
		body();
		return OD_OK;
	} catch (...) {
		return CurrentException(err);
	}
}

//! The uploads of one engine by id.
class UploadRegistry {
public:
	std::mutex lock;
	std::unordered_map<std::string, struct od_upload *> uploads; // one reference each
};

//! Catalog versions as text: "OPENING.NUMBER" when committed, "OPENING.uNUMBER" for a transaction's own changes.
struct CatalogVersion {
	duckdb::idx_t number = 0;
	bool Committed() const;
	std::string Text(const struct od_engine &engine) const;
};

} // namespace openduck

struct od_engine {
	std::string path;
	std::string catalog_name;
	std::string opening; // random, differs with each opening
	bool external_access = false;
	struct od_budget *budget = nullptr;
	struct od_volume *volume = nullptr; // borrowed
	bool read_only = false;
	//! What DuckDB has in memory is no longer what is on disk, or cannot get there: nothing may be changed any more.
	std::atomic<bool> stop{false};
	openduck::UploadRegistry uploads;
	duckdb::unique_ptr<duckdb::DuckDB> db;
	//! The database itself. Kept as a reference: DETACH cannot take it away under a running statement.
	duckdb::shared_ptr<duckdb::AttachedDatabase> attached;
	//! For reading the committed catalog version; internal_lock serializes its use.
	std::mutex internal_lock;
	duckdb::unique_ptr<duckdb::Connection> internal;

	std::string claimed_file; // in the process-wide list of open files (instance.cpp)

	~od_engine();
	openduck::CatalogVersion CommittedVersion();
};

struct od_connection {
	struct od_engine *engine = nullptr;
	duckdb::unique_ptr<duckdb::Connection> con;
	std::mutex lock; // guards running
	bool running = false;
	std::atomic<bool> interrupted{false}; // of the running statement
	bool snapshot = false;                // inside od_connection_begin_snapshot
	std::atomic<bool> has_state{false};
	openduck::Run *run = nullptr; // the running statement; only its own thread and DuckDB's binder on that thread look
	//! Committed catalog version when the open transaction began on the database
	bool transaction_has_version = false;
	openduck::CatalogVersion transaction_version;

	duckdb::ClientContext &Context() {
		return *con->context;
	}
};

namespace openduck {

// ---- transaction.cpp
//! The version that the context's transaction sees; starts its transaction on the database.
CatalogVersion TransactionVersion(struct od_engine &engine, duckdb::ClientContext &context);

// ---- policy.cpp
//! Called once at opening. Without external access: refuses statements and functions that reach outside.
void InstallPolicy(struct od_engine &engine, duckdb::ClientContext &context);
void ApplyConnectionPolicy(struct od_engine &engine, duckdb::ClientContext &context);
//! Before a statement is bound: SET and RESET get the meaning they have in a session of a server.
void PrepareSetStatement(struct od_engine &engine, duckdb::unique_ptr<duckdb::SQLStatement> &statement);
//! May it be set by a session, or for a statement?
bool SessionSettingAllowed(const std::string &name);
const duckdb::vector<std::string> &SessionSettings();

// ---- catalog_functions.cpp, upload.cpp
void RegisterCatalogFunctions(struct od_engine &engine, duckdb::ClientContext &context);
void RegisterUploadFunction(struct od_engine &engine, duckdb::ClientContext &context);
//! Hash of the definition of an object as openduck_catalog() reports it; empty when there is no such object.
std::string DefinitionHash(duckdb::ClientContext &context, struct od_engine &engine, const std::string &kind,
                           const std::string &schema, const std::string &name);
//! Columns of openduck_catalog() and openduck_catalog_entry().
void CatalogColumns(duckdb::vector<duckdb::LogicalType> &types, duckdb::vector<std::string> &names);
//! Rows of these for the objects that the context's transaction sees; hashes are not looked at.
duckdb::unique_ptr<duckdb::ColumnDataCollection> CatalogEntries(duckdb::ClientContext &context,
                                                                struct od_engine &engine,
                                                                const struct od_catalog_object *objects, size_t count);

// ---- parameters.cpp
//! Decodes the parameters' two IPC messages into values for the statement's parameters.
void DecodeParameters(duckdb::ClientContext &context, const struct od_statement &statement,
                      const duckdb::case_insensitive_map_t<duckdb::idx_t> &names,
                      duckdb::case_insensitive_map_t<duckdb::BoundParameterData> &values);

} // namespace openduck

#endif
