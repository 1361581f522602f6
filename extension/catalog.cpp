// catalog.cpp - the attached catalog: reading its snapshots from the server and keeping them fresh.
//
// Freshness. Every reply names the catalog's version; a version other than the current snapshot's makes the next look-up
// read a new one. The first hit of a statement outside a transaction asks the server when it was silent for longer than
// CONTACT_TRUST. A miss does not ask (DuckDB looks for every built-in function in the search path), but a statement
// that then fails to bind is bound again after asking (bind.cpp). What a plan was bound to is checked by the server
// before it runs anything, so that trust never decides about correctness.
#include "catalog.hpp"

#include "change.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/create_schema_info.hpp"
#include "duckdb/storage/database_size.hpp"
#include "duckdb/transaction/duck_transaction.hpp"
#include "entries.hpp"
#include "state.hpp"
#include "text.hpp"

namespace openduck {

static constexpr auto CONTACT_TRUST = std::chrono::milliseconds(100);

optional_ptr<CatalogItem> CatalogSnapshot::Find(const string &schema, EntrySet set, const string &name) {
	auto entry = items.find(schema);
	if (entry == items.end()) {
		return nullptr;
	}
	auto &map = entry->second.sets[static_cast<idx_t>(set)];
	auto item = map.find(name);
	return item == map.end() ? nullptr : &item->second;
}

OdCatalog::OdCatalog(AttachedDatabase &db, shared_ptr<Remote> remote_p)
    : DuckCatalog(db), remote(std::move(remote_p)) {}

optional_ptr<OdCatalog> OdCatalog::From(Catalog &catalog) {
	if (catalog.GetCatalogType() != "openduck") {
		return nullptr;
	}
	return reinterpret_cast<OdCatalog *>(&catalog);
}

void OdCatalog::Initialize(bool load_builtin) {
	// No local entries at all: schemas are made from the server's list.
}

string OdCatalog::GetDBPath() {
	return "openduck:" + remote->Options().database;
}

OdTransactionManager &OdCatalog::Manager() {
	return static_cast<OdTransactionManager &>(db.GetTransactionManager());
}

shared_ptr<TransactionState> OdCatalog::State(ClientContext &context) {
	return Manager().StateOf(context);
}

OdSchema &OdCatalog::SchemaFor(const string &name) {
	std::lock_guard<std::mutex> guard(lock);
	auto &schema = schemas[name];
	if (!schema) {
		CreateSchemaInfo info;
		info.schema = name;
		info.internal = StringUtil::CIEquals(name, DEFAULT_SCHEMA);
		schema = make_uniq<OdSchema>(*this, info);
	}
	return *schema;
}

idx_t OdCatalog::LocalOid(const CatalogItem &item) {
	static constexpr idx_t SERVER_BITS = 32;
	return (GetOid() << SERVER_BITS) + item.oid;
}

//===--------------------------------------------------------------------===//
// Freshness
//===--------------------------------------------------------------------===//
bool OdCatalog::IsCurrent(ClientContext &context) {
	RemoteRequest request;
	request.sql = "SELECT 1";
	request.describe_only = true;
	auto query = remote->Execute(request, nullptr);
	auto version = query->CatalogVersion();
	std::lock_guard<std::mutex> guard(lock);
	last_contact = std::chrono::steady_clock::now();
	seen_version = version;
	return current && current->version == version;
}

void OdCatalog::SawVersion(const string &version) {
	if (version.empty()) {
		return;
	}
	std::lock_guard<std::mutex> guard(lock);
	last_contact = std::chrono::steady_clock::now();
	seen_version = version;
}

string OdCatalog::KnownVersion() {
	std::lock_guard<std::mutex> guard(lock);
	return seen_version;
}

bool OdCatalog::Refresh(ClientContext &context) {
	auto state = State(context);
	idx_t before = state->snapshot ? state->snapshot->number : 0;
	if (InExplicitTransaction(context) && !state->began) {
		// DuckDB fixes what a transaction sees at its first look, be it in vain.
		SessionFor(context);
	}
	if (state->began) {
		// Inside the server's transaction only it knows what we see.
		auto snapshot = Read(context, state->session.get());
		state->snapshot = snapshot;
		state->kept.push_back(snapshot);
		return true;
	}
	state->verified = false;
	{
		std::lock_guard<std::mutex> guard(lock);
		last_contact = std::chrono::steady_clock::time_point();
	}
	return Snapshot(context, true)->number != before;
}

void OdCatalog::DefinitionsChanged(ClientContext &context) {
	auto state = State(context);
	if (state->began) {
		state->own_definitions = true;
		state->snapshot = nullptr;
		state->base_version.clear();
	}
}

void OdCatalog::DefinitionChanged(ClientContext &context, const DefinitionChange &change, const string &before,
                                  const vector<vector<Value>> &told, const RemoteQuery &query) {
	auto state = State(context);
	auto after = query.CatalogVersion();
	if (after == before && (state->began || change.conditional)) {
		SawVersion(state->began ? string() : after);
		return; // it was there, or was not, already
	}
	shared_ptr<CatalogSnapshot> base = state->snapshot, changed;
	if (!state->began) {
		std::lock_guard<std::mutex> guard(lock);
		base = current;
	}
	if (base && base->version == before && after != before) {
		changed = ChangedSnapshot(*base, change, told, after, next_number++);
	}
	if (changed && change.set == EntrySet::NONE) {
		SchemaFor(change.name);
	}
	if (state->began) {
		if (!changed) {
			DefinitionsChanged(context);
			return;
		}
		if (!state->own_definitions) {
			state->base_version = before;
		}
		state->own_definitions = true;
		state->snapshot = changed;
		state->kept.push_back(changed);
		return;
	}
	std::lock_guard<std::mutex> guard(lock);
	last_contact = std::chrono::steady_clock::now();
	if (changed && current == base) {
		current = changed;
	}
	// Where others' changes came between, the server names the version before: what is known is no longer true.
	seen_version = after == before ? string() : after;
}

void OdCatalog::TransactionCommitted(const TransactionState &state, const string &version) {
	std::lock_guard<std::mutex> guard(lock);
	last_contact = std::chrono::steady_clock::now();
	if (!state.own_definitions) {
		seen_version = version.empty() ? seen_version : version;
		return;
	}
	if (!state.base_version.empty() && state.snapshot && current && current->version == state.base_version &&
	    version != state.base_version) {
		current = CopySnapshot(*state.snapshot, version, next_number++);
	}
	// Others' changes that came between hide ours: what is known is no longer true.
	seen_version = state.base_version.empty() || version == state.base_version ? string() : version;
}

shared_ptr<CatalogSnapshot> OdCatalog::Snapshot(CatalogTransaction transaction, bool verify) {
	return Snapshot(transaction.GetContext(), verify);
}

shared_ptr<CatalogSnapshot> OdCatalog::Snapshot(ClientContext &context, bool verify) {
	auto state = State(context);
	if (state->making_past) {
		return state->making_past;
	}
	if (state->began && state->snapshot) {
		return state->snapshot;
	}
	if (state->began && state->own_definitions) {
		state->snapshot = Read(context, state->session.get());
		state->kept.push_back(state->snapshot);
		return state->snapshot;
	}
	bool ask;
	{
		std::lock_guard<std::mutex> guard(lock);
		auto now = std::chrono::steady_clock::now();
		bool stale = !current || current->version != seen_version;
		if (!stale && state->snapshot == current && (!verify || state->verified)) {
			return current;
		}
		if (!stale && now - last_contact <= CONTACT_TRUST) {
			verify = false;
		}
		if (!stale && !verify) {
			// A snapshot that look-ups of this statement have used stays, unless it was never verified.
			if (!state->snapshot || state->snapshot != current) {
				state->snapshot = current;
				state->kept.push_back(current);
			}
			return state->snapshot;
		}
		ask = !stale;
	}
	if (!ask || !IsCurrent(context)) {
		auto snapshot = Read(context, nullptr);
		std::lock_guard<std::mutex> guard(lock);
		current = snapshot;
		seen_version = snapshot->version;
		last_contact = std::chrono::steady_clock::now();
	}
	std::lock_guard<std::mutex> guard(lock);
	state->verified = true;
	if (state->snapshot != current) {
		state->snapshot = current;
		state->kept.push_back(current);
	}
	return state->snapshot;
}

//===--------------------------------------------------------------------===//
// Look-up
//===--------------------------------------------------------------------===//
optional_ptr<SchemaCatalogEntry> OdCatalog::LookupSchema(CatalogTransaction transaction,
                                                         const EntryLookupInfo &schema_lookup,
                                                         OnEntryNotFound if_not_found) {
	auto &name = schema_lookup.GetEntryName();
	if (!transaction.context) {
		return &SchemaFor(name);
	}
	auto at = schema_lookup.GetAtClause();
	auto snapshot = at ? PastSnapshot(transaction.GetContext(), *at) : Snapshot(transaction, false);
	auto entry = snapshot->schemas.find(name);
	if (entry == snapshot->schemas.end()) {
		OdContextState::Get(transaction.GetContext())->Missed(*this, *snapshot);
		if (if_not_found == OnEntryNotFound::THROW_EXCEPTION) {
			throw CatalogException(schema_lookup.GetErrorContext(), "Schema with name %s does not exist!", name);
		}
		return nullptr;
	}
	auto &schema = SchemaFor(entry->first);
	schema.comment = entry->second;
	return &schema;
}

void OdCatalog::ScanSchemas(ClientContext &context, std::function<void(SchemaCatalogEntry &)> callback) {
	auto snapshot = Snapshot(context, true);
	vector<string> names;
	for (auto &entry : snapshot->schemas) {
		names.push_back(entry.first);
	}
	std::sort(names.begin(), names.end());
	for (auto &name : names) {
		callback(SchemaFor(name));
	}
}

optional_idx OdCatalog::GetCatalogVersion(ClientContext &context) {
	return Snapshot(context, true)->number;
}

optional_ptr<DependencyManager> OdCatalog::GetDependencyManager() {
	return DuckCatalog::GetDependencyManager();
}

string OdCatalog::ServerName(ClientContext &context) {
	return Snapshot(context, false)->catalog_name;
}

void OdCatalog::AddCatalogCheck(ClientContext &context, RemoteRequest &request, const vector<ObjectVersion> &objects) {
	auto snapshot = Snapshot(context, false);
	request.catalog_version = snapshot->version;
	request.objects = objects;
}

DatabaseSize OdCatalog::GetDatabaseSize(ClientContext &context) {
	DatabaseSize result;
	result.free_blocks = result.total_blocks = result.used_blocks = result.block_size = result.wal_size = 0;
	RemoteRequest request;
	request.sql = "SELECT block_size, total_blocks, used_blocks, free_blocks FROM pragma_database_size() WHERE "
	              "database_name = " +
	              TextLiteral(ServerName(context));
	auto rows = remote->Collect(context, request, nullptr);
	if (!rows.empty()) {
		auto number = [&](idx_t i) {
			return rows[0][i].IsNull() ? 0 : NumericCast<idx_t>(rows[0][i].GetValue<int64_t>());
		};
		result.block_size = number(0);
		result.total_blocks = number(1);
		result.used_blocks = number(2);
		result.free_blocks = number(3);
		result.bytes = result.block_size * result.total_blocks;
	}
	return result;
}

vector<MetadataBlockInfo> OdCatalog::GetMetadataInfo(ClientContext &context) {
	return {};
}

void OdCatalog::OnDetach(ClientContext &context) {
	OdContextState::Get(context)->DropSession(*this);
	DuckCatalog::OnDetach(context);
}

bool OdCatalog::HasConflictingAttachOptions(const string &path, const AttachOptions &options) {
	return true; // ATTACH OR REPLACE always connects anew
}

optional_ptr<CatalogEntry> OdCatalog::CreateSchema(CatalogTransaction, CreateSchemaInfo &) {
	ThrowNotShipped("CREATE SCHEMA");
}

void OdCatalog::DropSchema(ClientContext &, DropInfo &) {
	ThrowNotShipped("DROP SCHEMA");
}

PhysicalOperator &OdCatalog::PlanDelete(ClientContext &, PhysicalPlanGenerator &, LogicalDelete &, PhysicalOperator &) {
	ThrowNotShipped("DELETE");
}

PhysicalOperator &OdCatalog::PlanUpdate(ClientContext &, PhysicalPlanGenerator &, LogicalUpdate &, PhysicalOperator &) {
	ThrowNotShipped("UPDATE");
}

PhysicalOperator &OdCatalog::PlanMergeInto(ClientContext &, PhysicalPlanGenerator &, LogicalMergeInto &,
                                           PhysicalOperator &) {
	ThrowNotShipped("MERGE INTO");
}

} // namespace openduck
