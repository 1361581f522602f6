// catalog_read.cpp - what the server says of a database, read into snapshots: whole catalogs, definitions that did not
// come with them, sequences as they stand, and the catalogs of the past.
#include "catalog.hpp"

#include "duckdb/common/types/date.hpp"
#include "duckdb/common/types/time.hpp"
#include "duckdb/common/types/timestamp.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/planner/tableref/bound_at_clause.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "entries.hpp"
#include "text.hpp"

namespace openduck {

#define DEFINITION_COLUMNS "definition, definition_hash, comment, estimated_rows, column_comments, oid"
const char *const CATALOG_COLUMNS = "kind, schema, name, table_name, " DEFINITION_COLUMNS;
//! Definitions that did not come with the catalog are fetched when they are needed; a listing's so many at a time.
static constexpr idx_t DEFINITIONS_AT_ONCE = 500;

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

//===--------------------------------------------------------------------===//
// Reading
//===--------------------------------------------------------------------===//
void ReadDefinition(CatalogItem &item, const vector<Value> &row, idx_t at) {
	item.has_definition = !row[at].IsNull();
	item.definition = row[at].IsNull() ? string() : StringValue::Get(row[at]);
	item.hash = row[at + 1].IsNull() ? string() : StringValue::Get(row[at + 1]);
	item.comment = row[at + 2];
	auto &rows = row[at + 3];
	item.estimated_rows = rows.IsNull() ? 0 : rows.DefaultCastAs(LogicalType::UBIGINT).GetValue<uint64_t>();
	item.oid = NumericCast<idx_t>(row[at + 5].GetValue<int64_t>());
	item.column_comments.clear();
	auto &comments = row[at + 4]; // a MAP of column name to comment, or NULL
	if (comments.IsNull()) {
		return;
	}
	for (auto &pair : MapValue::GetChildren(comments)) {
		auto &parts = StructValue::GetChildren(pair);
		item.column_comments.emplace_back(StringValue::Get(parts[0]), parts[1]);
	}
}

//! The same columns of one entry, to be selected.
static string DefinitionSource(const CatalogItem &item) {
	return DEFINITION_COLUMNS " FROM openduck_catalog_entry(" + TextLiteral(item.kind) + ", " +
	       TextLiteral(item.schema) + ", " + TextLiteral(item.name) + ")";
}

shared_ptr<CatalogSnapshot> OdCatalog::Read(ClientContext &context, optional_ptr<RemoteSession> session,
                                            const string &selector) {
	RemoteRequest request;
	request.sql = string("SELECT ") + CATALOG_COLUMNS + " FROM openduck_catalog()";
	request.snapshot = selector;
	request.read_only = true;
	string version, name;
	auto rows = remote->Collect(context, request, session, &version, &name);
	auto snapshot = make_shared_ptr<CatalogSnapshot>(version, next_number++);
	snapshot->catalog_name = name;
	snapshot->selector = selector;
	shared_ptr<CatalogSnapshot> previous;
	if (selector.empty()) {
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
		ReadDefinition(item, row, 4);
		// Entries are shared with the previous snapshot where nothing they say can have changed. (A view's columns
		// depend on other objects.)
		if (previous && item.kind != "view" && item.kind != "index") {
			std::lock_guard<std::recursive_mutex> guard(previous->lock);
			auto old = previous->Find(item.schema, set, item.name);
			if (old && old->entry && old->kind == item.kind && old->hash == item.hash &&
			    Value::NotDistinctFrom(old->comment, item.comment) && old->estimated_rows == item.estimated_rows && old->oid == item.oid &&
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

void OdCatalog::FetchDefinitions(ClientContext &context, CatalogSnapshot &snapshot) {
	std::lock_guard<std::recursive_mutex> guard(snapshot.lock);
	vector<reference<CatalogItem>> missing;
	for (auto &schema : snapshot.items) {
		for (auto &set : schema.second.sets) {
			for (auto &item : set) {
				if (!item.second.has_definition) {
					missing.push_back(item.second);
				}
			}
		}
	}
	auto session = snapshot.selector.empty() ? State(context)->session.get() : nullptr;
	for (idx_t first = 0; first < missing.size(); first += DEFINITIONS_AT_ONCE) {
		RemoteRequest request;
		request.snapshot = snapshot.selector;
		auto last = MinValue<idx_t>(first + DEFINITIONS_AT_ONCE, missing.size());
		for (idx_t i = first; i < last; i++) {
			request.sql += (i == first ? "SELECT " : " UNION ALL SELECT ") + std::to_string(i) + ", " +
			               DefinitionSource(missing[i].get());
		}
		for (auto &row : remote->Collect(context, request, session)) {
			auto &item = missing[NumericCast<idx_t>(row[0].GetValue<int64_t>())].get();
			if (!row[1].IsNull()) {
				ReadDefinition(item, row, 1);
			}
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
		request.sql = "SELECT " + DefinitionSource(item);
		request.snapshot = snapshot.selector;
		auto rows =
		    remote->Collect(context, request, snapshot.selector.empty() ? State(context)->session.get() : nullptr);
		// A catalog too large to send whole is an index of names without hashes.
		if (rows.empty() || rows[0][0].IsNull() || (!item.hash.empty() && rows[0][1].ToString() != item.hash)) {
			throw TransactionException("The definition of %s \"%s\" changed on the server just now; run the statement "
			                           "again",
			                           item.kind, item.name);
		}
		ReadDefinition(item, rows[0], 0);
	}
	item.making = true;
	try {
		auto entry = MakeEntry(context, *this, schema, snapshot, item);
		entry->comment = item.comment;
		entry->oid = LocalOid(item);
		item.entry = std::move(entry);
	} catch (...) {
		item.making = false;
		throw;
	}
	item.making = false;
	return item.entry.get();
}

vector<reference<CatalogEntry>> OdCatalog::Sequences(ClientContext &context, CatalogSnapshot &snapshot,
                                                     OdSchema &schema) {
	vector<reference<CatalogEntry>> result;
	auto items = snapshot.items.find(schema.name);
	if (items == snapshot.items.end() || items->second.sets[static_cast<idx_t>(EntrySet::SEQUENCE)].empty()) {
		return result;
	}
	auto state = State(context);
	RemoteRequest request;
	request.sql = "SELECT sequence_name, start_value, last_value FROM duckdb_sequences() WHERE database_name = " +
	              TextLiteral(snapshot.catalog_name) + " AND schema_name = " + TextLiteral(schema.name) +
	              " ORDER BY lower(sequence_name)";
	for (auto &row : remote->Collect(context, request, state->session.get())) {
		auto item = snapshot.Find(schema.name, EntrySet::SEQUENCE, row[0].ToString());
		if (!item || !item->has_definition) {
			continue; // made since the listing began
		}
		std::lock_guard<std::recursive_mutex> guard(snapshot.lock);
		auto entry = MakeUsedSequence(context, *this, schema, *item, row[1].GetValue<int64_t>(), row[2]);
		entry->oid = LocalOid(*item);
		result.push_back(*entry);
		state->kept_entries.push_back(std::move(entry));
	}
	return result;
}

//===--------------------------------------------------------------------===//
// The past
//===--------------------------------------------------------------------===//
shared_ptr<CatalogSnapshot> OdCatalog::PastSnapshot(ClientContext &context, const BoundAtClause &at) {
	auto &value = at.GetValue();
	if (value.IsNull()) {
		throw BinderException("AT: NULL is no point in time, and names no snapshot");
	}
	string selector;
	if (StringUtil::CIEquals(at.Unit(), "timestamp")) {
		Value cast;
		string why;
		bool good = value.TryCastAs(context, LogicalType::TIMESTAMP_TZ, cast, &why) && !cast.IsNull();
		auto time = good ? cast.GetValue<timestamp_tz_t>() : timestamp_tz_t(timestamp_t::infinity());
		if (!Timestamp::IsFinite(timestamp_t(time.value))) {
			throw BinderException("AT: \"%s\" is no point in time", value.ToString());
		}
		date_t date;
		dtime_t clock;
		Timestamp::Convert(timestamp_t(time.value), date, clock);
		selector = Date::ToString(date) + "T" + Time::ToString(clock) + "Z";
	} else if (StringUtil::CIEquals(at.Unit(), "version")) {
		selector = value.ToString();
	} else {
		throw BinderException("AT: %s is not known: use TIMESTAMP => a time, or VERSION => a snapshot's name or position",
		                      at.Unit());
	}
	auto state = State(context);
	auto &snapshot = state->past[selector];
	if (!snapshot) {
		snapshot = Read(context, nullptr, selector);
		state->kept.push_back(snapshot);
	}
	return snapshot;
}

optional_ptr<CatalogEntry> OdCatalog::PastEntry(ClientContext &context, const shared_ptr<CatalogSnapshot> &snapshot,
                                                OdSchema &schema, const string &name) {
	auto item = snapshot->Find(schema.name, EntrySet::RELATION, name);
	if (!item) {
		return nullptr;
	}
	struct Scope {
		shared_ptr<TransactionState> state;
		shared_ptr<CatalogSnapshot> before;
		~Scope() {
			state->making_past = before;
		}
	} scope {State(context), State(context)->making_past};
	scope.state->making_past = snapshot;
	return EntryFor(context, *snapshot, schema, *item);
}

} // namespace openduck
