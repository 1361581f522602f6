// catalog.cpp - the attached catalog: reading its snapshots from the server and keeping them fresh.
//
// Freshness. Every reply names the catalog's version; a version other than the current snapshot's makes the next look-up
// read a new one. The first hit of a statement outside a transaction asks the server when it was silent for longer than
// CONTACT_TRUST. A miss does not ask (DuckDB looks for every built-in function in the search path), but a statement
// that then fails to bind is bound again after asking (bind.cpp). What a plan was bound to is checked by the server
// before it runs anything, so that trust never decides about correctness.
#include "catalog.hpp"

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
//! Entries whose definitions are fetched one by one; a listing of more gets them all at once.
static constexpr const char *CATALOG_QUERY = "SELECT kind, schema, name, table_name, definition, definition_hash, "
                                             "comment, estimated_rows, column_comments FROM openduck_catalog()";

optional_ptr<CatalogItem> CatalogSnapshot::Find(const string &schema, EntrySet set, const string &name) {
	auto entry = items.find(schema);
	if (entry == items.end()) {
		return nullptr;
	}
	auto &map = entry->second.sets[static_cast<idx_t>(set)];
	auto item = map.find(name);
	return item == map.end() ? nullptr : &item->second;
}

static EntrySet EntrySetOfKind(const string &kind) {
	if (kind == "table" || kind == "view") {
		return EntrySet::RELATION;
	}
	if (kind == "index") {
		return EntrySet::INDEX;
	}
	if (kind == "macro") {
		return EntrySet::FUNCTION;
	}
	if (kind == "table macro") {
		return EntrySet::TABLE_FUNCTION;
	}
	if (kind == "sequence") {
		return EntrySet::SEQUENCE;
	}
	if (kind == "type") {
		return EntrySet::TYPE;
	}
	return EntrySet::NONE;
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

//===--------------------------------------------------------------------===//
// Reading
//===--------------------------------------------------------------------===//
//! comments: a MAP of column name to comment, NULL when no column has one.
static void ReadColumnComments(const Value &comments, CatalogItem &item) {
	if (comments.IsNull()) {
		return;
	}
	for (auto &pair : MapValue::GetChildren(comments)) {
		auto &parts = StructValue::GetChildren(pair);
		item.column_comments.emplace_back(StringValue::Get(parts[0]), parts[1]);
	}
}

shared_ptr<CatalogSnapshot> OdCatalog::Read(ClientContext &context, optional_ptr<RemoteSession> session, bool own) {
	RemoteRequest request;
	request.sql = CATALOG_QUERY;
	request.read_only = true;
	string version, name;
	auto rows = remote->Collect(context, request, session, &version, &name);
	auto snapshot = make_shared_ptr<CatalogSnapshot>(own ? string() : version, next_number++);
	snapshot->catalog_name = name;
	shared_ptr<CatalogSnapshot> previous;
	{
		std::lock_guard<std::mutex> guard(lock);
		previous = current;
	}
	for (auto &row : rows) {
		auto text = [&](idx_t column) {
			return row[column].IsNull() ? string() : StringValue::Get(row[column]);
		};
		auto kind = text(0);
		auto schema_name = text(1);
		if (kind == "schema") {
			auto entry = snapshot->schemas.emplace(text(2).empty() ? schema_name : text(2), row[6]);
			SchemaFor(entry.first->first);
			continue;
		}
		auto set = EntrySetOfKind(kind);
		if (set == EntrySet::NONE) {
			continue; // a kind of a newer server: not usable by name here, and in nobody's way
		}
		CatalogItem item;
		item.kind = std::move(kind);
		item.schema = schema_name;
		item.name = text(2);
		item.table_name = text(3);
		item.has_definition = !row[4].IsNull();
		item.definition = text(4);
		item.hash = text(5);
		item.comment = row[6];
		ReadColumnComments(row[8], item);
		item.estimated_rows = row[7].IsNull() ? 0 : row[7].DefaultCastAs(LogicalType::UBIGINT).GetValue<uint64_t>();
		// Entries are shared with the previous snapshot where nothing they say can have changed. (A view's columns
		// depend on other objects.)
		if (previous && item.kind != "view" && item.kind != "index") {
			std::lock_guard<std::recursive_mutex> guard(previous->lock);
			auto old = previous->Find(item.schema, set, item.name);
			if (old && old->entry && old->kind == item.kind && old->hash == item.hash &&
			    Value::NotDistinctFrom(old->comment, item.comment) && old->estimated_rows == item.estimated_rows &&
			    previous->catalog_name == snapshot->catalog_name && set != EntrySet::RELATION) {
				item.entry = old->entry;
			}
		}
		if (snapshot->schemas.find(item.schema) == snapshot->schemas.end()) {
			snapshot->schemas.emplace(item.schema, Value());
			SchemaFor(item.schema);
		}
		auto item_name = item.name;
		auto item_schema = item.schema;
		snapshot->items[item_schema].sets[static_cast<idx_t>(set)].emplace(item_name, std::move(item));
		snapshot->size++;
	}
	if (snapshot->schemas.find(DEFAULT_SCHEMA) == snapshot->schemas.end()) {
		snapshot->schemas.emplace(DEFAULT_SCHEMA, Value());
		SchemaFor(DEFAULT_SCHEMA);
	}
	return snapshot;
}

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
		auto snapshot = Read(context, state->session.get(), true);
		bool changed = !state->snapshot || state->snapshot->version != snapshot->version || true;
		state->snapshot = snapshot;
		state->kept.push_back(snapshot);
		return changed;
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
	}
}

shared_ptr<CatalogSnapshot> OdCatalog::Snapshot(CatalogTransaction transaction, bool verify) {
	return Snapshot(transaction.GetContext(), verify);
}

shared_ptr<CatalogSnapshot> OdCatalog::Snapshot(ClientContext &context, bool verify) {
	auto state = State(context);
	if (state->began && state->snapshot) {
		return state->snapshot;
	}
	if (state->began && state->own_definitions) {
		state->snapshot = Read(context, state->session.get(), true);
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
		auto snapshot = Read(context, nullptr, false);
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

void OdCatalog::FetchDefinitions(ClientContext &context, CatalogSnapshot &snapshot) {
	std::lock_guard<std::recursive_mutex> guard(snapshot.lock);
	idx_t missing = 0;
	for (auto &schema : snapshot.items) {
		for (auto &set : schema.second.sets) {
			for (auto &item : set) {
				missing += !item.second.has_definition;
			}
		}
	}
	if (missing == 0) {
		return;
	}
	RemoteRequest request;
	request.sql = "SELECT c.kind, c.schema, c.name, e.definition FROM openduck_catalog() c, LATERAL (SELECT definition "
	              "FROM openduck_catalog_entry(c.kind, c.schema, c.name)) e";
	auto rows = remote->Collect(context, request, State(context)->session.get());
	for (auto &row : rows) {
		auto item = snapshot.Find(row[1].ToString(), EntrySetOfKind(row[0].ToString()), row[2].ToString());
		if (item && !row[3].IsNull()) {
			item->definition = StringValue::Get(row[3]);
			item->has_definition = true;
		}
	}
}

optional_ptr<CatalogEntry> OdCatalog::EntryFor(ClientContext &context, CatalogSnapshot &snapshot, OdSchema &schema,
                                               CatalogItem &item) {
	std::lock_guard<std::recursive_mutex> guard(snapshot.lock);
	if (item.entry) {
		return item.entry.get();
	}
	if (item.making) {
		return nullptr; // its own definition names it: not there yet
	}
	if (!item.has_definition) {
		RemoteRequest request;
		request.sql = StringUtil::Format("SELECT definition, definition_hash, column_comments FROM "
		                                 "openduck_catalog_entry(%s, %s, %s)",
		                                 TextLiteral(item.kind), TextLiteral(item.schema), TextLiteral(item.name));
		auto rows = remote->Collect(context, request, State(context)->session.get());
		// A catalog too large to send whole is an index of names without hashes.
		if (rows.empty() || rows[0][0].IsNull() || (!item.hash.empty() && rows[0][1].ToString() != item.hash)) {
			throw TransactionException("The definition of %s \"%s\" changed on the server just now; run the statement "
			                           "again",
			                           item.kind, item.name);
		}
		item.definition = StringValue::Get(rows[0][0]);
		item.hash = rows[0][1].ToString();
		if (item.column_comments.empty()) {
			ReadColumnComments(rows[0][2], item);
		}
		item.has_definition = true;
	}
	item.making = true;
	try {
		auto entry = MakeEntry(context, *this, schema, snapshot, item);
		entry->comment = item.comment;
		item.entry = std::move(entry);
	} catch (...) {
		item.making = false;
		throw;
	}
	item.making = false;
	return item.entry.get();
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
	auto snapshot = Snapshot(transaction, false);
	auto entry = snapshot->schemas.find(name);
	if (entry == snapshot->schemas.end()) {
		OdContextState::Get(transaction.GetContext())->Missed(*this);
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
