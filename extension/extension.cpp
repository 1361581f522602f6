// extension.cpp - the entry point DuckDB calls when it loads the extension, and what ATTACH calls.
#include "bind.hpp"
#include "catalog.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/connection_manager.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/parser/parsed_data/attach_info.hpp"
#include "duckdb/planner/extension_callback.hpp"
#include "duckdb/storage/storage_extension.hpp"
#include "functions.hpp"
#include "options.hpp"
#include "state.hpp"

namespace openduck {

static unique_ptr<Catalog> Attach(optional_ptr<StorageExtensionInfo>, ClientContext &context, AttachedDatabase &db,
                                  const string &name, AttachInfo &info, AttachOptions &options) {
	auto remote = make_shared_ptr<Remote>(ReadOptions(context, info.path, options));
	// The first request says whether the server is there, lets us in and has the database.
	RemoteRequest request;
	request.sql = "SELECT 1";
	request.describe_only = true;
	remote->Execute(request, nullptr);
	// The local storage stays empty and in memory, which DuckDB does not allow for read-only databases; that the
	// database is one has been noted by now.
	info.path = ":memory:";
	options.access_mode = AccessMode::READ_WRITE;
	if (!remote->Options().snapshot.empty()) {
		db.SetReadOnlyDatabase(); // the past does not change
	}
	return make_uniq<OdCatalog>(db, std::move(remote));
}

static unique_ptr<TransactionManager> CreateTransactionManager(optional_ptr<StorageExtensionInfo>, AttachedDatabase &db,
                                                               Catalog &catalog) {
	return make_uniq<OdTransactionManager>(db, static_cast<OdCatalog &>(catalog));
}

//! Each connection has its state from its start, so that it hears of every statement.
class Connections : public ExtensionCallback {
public:
	void OnConnectionOpened(ClientContext &context) override {
		OdContextState::Get(context);
	}
};

static void Load(ExtensionLoader &loader) {
	loader.SetDescription("Databases of an OpenDuck server, attached");
	auto &instance = loader.GetDatabaseInstance();
	auto &config = DBConfig::GetConfig(instance);
	auto storage = make_shared_ptr<StorageExtension>();
	storage->attach = Attach;
	storage->create_transaction_manager = CreateTransactionManager;
	StorageExtension::Register(config, "openduck", storage);
	StorageExtension::Register(config, "od", storage);
	ExtensionCallback::Register(config, make_shared_ptr<Connections>());
	for (auto &connection : ConnectionManager::Get(instance).GetConnectionList()) {
		OdContextState::Get(*connection);
	}
	RegisterPlannerHooks(config);
	RegisterFunctions(loader);
	RegisterSecret(loader);
}

} // namespace openduck

extern "C" {
DUCKDB_EXTENSION_API void openduck_duckdb_cpp_init(duckdb::ExtensionLoader &loader) {
	openduck::Load(loader);
}
}
