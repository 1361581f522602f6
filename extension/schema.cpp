// schema.cpp - look-up and listing of entries in one schema; everything that would change it throws (C1).
#include "catalog.hpp"

#include "describe.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/create_schema_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/transaction/transaction.hpp"
#include "state.hpp"
#include "text.hpp"

namespace openduck {

void ThrowNotShipped(const char *what) {
	throw NotImplementedException(
	    "openduck: %s reached the local catalog instead of the server; openduck_execute('catalog', 'sql') runs any "
	    "statement there",
	    what);
}

EntrySet EntrySetOf(CatalogType type) {
	switch (type) {
	case CatalogType::TABLE_ENTRY:
	case CatalogType::VIEW_ENTRY:
		return EntrySet::RELATION;
	case CatalogType::INDEX_ENTRY:
		return EntrySet::INDEX;
	case CatalogType::MACRO_ENTRY:
	case CatalogType::SCALAR_FUNCTION_ENTRY:
	case CatalogType::AGGREGATE_FUNCTION_ENTRY:
		return EntrySet::FUNCTION;
	case CatalogType::TABLE_MACRO_ENTRY:
	case CatalogType::TABLE_FUNCTION_ENTRY:
		return EntrySet::TABLE_FUNCTION;
	case CatalogType::SEQUENCE_ENTRY:
		return EntrySet::SEQUENCE;
	case CatalogType::TYPE_ENTRY:
		return EntrySet::TYPE;
	default:
		return EntrySet::NONE;
	}
}

OdSchema::OdSchema(OdCatalog &catalog, CreateSchemaInfo &info) : DuckSchemaEntry(catalog, info), od_catalog(catalog) {
}

CatalogSet::EntryLookup OdSchema::LookupEntryDetailed(CatalogTransaction transaction,
                                                      const EntryLookupInfo &lookup_info) {
	using Reason = CatalogSet::EntryLookup::FailureReason;
	auto set = EntrySetOf(lookup_info.GetCatalogType());
	// Types every schema has (INTEGER, ...) come from DuckDB's own generator; the server's users cannot replace them.
	if (set == EntrySet::NONE || !transaction.context) {
		return DuckSchemaEntry::LookupEntryDetailed(transaction, lookup_info);
	}
	auto &context = *transaction.context;
	if (auto at = lookup_info.GetAtClause()) {
		auto past = set == EntrySet::RELATION ? od_catalog.PastEntry(context, od_catalog.PastSnapshot(context, *at), *this,
		                                                             lookup_info.GetEntryName())
		                                      : nullptr;
		return {past, past ? Reason::SUCCESS : Reason::NOT_PRESENT};
	}
	auto snapshot = od_catalog.Snapshot(transaction, false);
	auto item = snapshot->Find(name, set, lookup_info.GetEntryName());
	if (item && snapshot->selector.empty()) {
		// Only a hit is worth a look at the server: names of built-in functions and types pass here all the time.
		snapshot = od_catalog.Snapshot(transaction, true);
		item = snapshot->Find(name, set, lookup_info.GetEntryName());
	}
	if (!item) {
		OdContextState::Get(context)->Missed(od_catalog, *snapshot);
		if (set == EntrySet::TYPE) {
			return DuckSchemaEntry::LookupEntryDetailed(transaction, lookup_info);
		}
		return {nullptr, Reason::NOT_PRESENT};
	}
	if (set == EntrySet::RELATION) {
		OdContextState::Get(context)->Missed(od_catalog, *snapshot); // its columns may be those of a moment ago
	}
	auto entry = od_catalog.EntryFor(context, *snapshot, *this, *item);
	if (entry && entry->type == CatalogType::VIEW_ENTRY) {
		if (auto described = DescribedView(context, entry->Cast<OdView>())) {
			auto &state = *od_catalog.State(context);
			state.kept_entries.push_back(described);
			entry = described.get();
		}
	}
	return {entry, entry ? Reason::SUCCESS : Reason::NOT_PRESENT};
}

optional_ptr<CatalogEntry> OdSchema::LookupEntry(CatalogTransaction transaction, const EntryLookupInfo &lookup_info) {
	return LookupEntryDetailed(transaction, lookup_info).result;
}

SimilarCatalogEntry OdSchema::GetSimilarEntry(CatalogTransaction transaction, const EntryLookupInfo &lookup_info) {
	SimilarCatalogEntry result;
	auto set = EntrySetOf(lookup_info.GetCatalogType());
	if (set == EntrySet::NONE || !transaction.context) {
		return DuckSchemaEntry::GetSimilarEntry(transaction, lookup_info);
	}
	auto snapshot = od_catalog.Snapshot(transaction, false);
	auto items = snapshot->items.find(name);
	if (items != snapshot->items.end()) {
		for (auto &entry : items->second.sets[static_cast<idx_t>(set)]) {
			auto score = StringUtil::SimilarityRating(entry.second.name, lookup_info.GetEntryName());
			if (score > result.score) {
				result.score = score;
				result.name = entry.second.name;
			}
		}
	}
	return result;
}

//! How many rows the tables of a listing have now, which no definition tells. Not for very many.
static void ReadSizes(ClientContext &context, OdCatalog &catalog, CatalogSnapshot &snapshot, const string &schema) {
	static constexpr idx_t MOST_ENTRIES = 5000;
	if (!snapshot.selector.empty() || snapshot.size > MOST_ENTRIES) {
		return;
	}
	RemoteRequest request;
	request.sql = "SELECT table_name, estimated_size FROM duckdb_tables() WHERE database_name = " +
	              TextLiteral(snapshot.catalog_name) + " AND schema_name = " + TextLiteral(schema);
	request.read_only = true;
	for (auto &row : catalog.GetRemote()->Collect(context, request, catalog.State(context)->session.get())) {
		std::lock_guard<std::recursive_mutex> guard(snapshot.lock);
		auto item = snapshot.Find(schema, EntrySet::RELATION, row[0].ToString());
		if (item && item->entry && item->entry->type == CatalogType::TABLE_ENTRY && !row[1].IsNull()) {
			item->estimated_rows = NumericCast<idx_t>(row[1].GetValue<int64_t>());
			item->entry->Cast<OdTable>().estimated_rows = item->estimated_rows;
		}
	}
}

void OdSchema::Scan(ClientContext &context, CatalogType type, const std::function<void(CatalogEntry &)> &callback) {
	auto set = EntrySetOf(type);
	if (set == EntrySet::NONE) {
		return;
	}
	auto snapshot = od_catalog.Snapshot(context, true);
	od_catalog.FetchDefinitions(context, *snapshot);
	if (set == EntrySet::SEQUENCE) {
		for (auto &sequence : od_catalog.Sequences(context, *snapshot, *this)) {
			callback(sequence.get());
		}
		return;
	}
	auto items = snapshot->items.find(name);
	if (items != snapshot->items.end()) {
		// In the order of names, as DuckDB's own sets are.
		vector<reference<CatalogItem>> sorted;
		for (auto &entry : items->second.sets[static_cast<idx_t>(set)]) {
			sorted.push_back(entry.second);
		}
		std::sort(sorted.begin(), sorted.end(), [](const reference<CatalogItem> &a, const reference<CatalogItem> &b) {
			return StringUtil::CILessThan(a.get().name, b.get().name);
		});
		vector<reference<CatalogEntry>> entries;
		for (auto &item : sorted) {
			auto entry = od_catalog.EntryFor(context, *snapshot, *this, item.get());
			if (entry) {
				entries.push_back(*entry);
			}
		}
		if (set == EntrySet::RELATION && !entries.empty()) {
			ReadSizes(context, od_catalog, *snapshot, name);
		}
		for (auto &entry : entries) {
			callback(entry.get());
		}
	}
	if (set == EntrySet::TYPE) {
		DuckSchemaEntry::Scan(context, type, callback);
	}
}

void OdSchema::Scan(CatalogType type, const std::function<void(CatalogEntry &)> &callback) {
	// Without a connection there is nobody to ask for; DuckDB does this for checkpoints and debugging only.
}

optional_ptr<CatalogEntry> OdSchema::CreateTable(CatalogTransaction, BoundCreateTableInfo &) {
	ThrowNotShipped("CREATE TABLE");
}
optional_ptr<CatalogEntry> OdSchema::CreateFunction(CatalogTransaction, CreateFunctionInfo &) {
	ThrowNotShipped("CREATE FUNCTION");
}
optional_ptr<CatalogEntry> OdSchema::CreateIndex(CatalogTransaction, CreateIndexInfo &, TableCatalogEntry &) {
	ThrowNotShipped("CREATE INDEX");
}
optional_ptr<CatalogEntry> OdSchema::CreateView(CatalogTransaction, CreateViewInfo &) {
	ThrowNotShipped("CREATE VIEW");
}
optional_ptr<CatalogEntry> OdSchema::CreateSequence(CatalogTransaction, CreateSequenceInfo &) {
	ThrowNotShipped("CREATE SEQUENCE");
}
optional_ptr<CatalogEntry> OdSchema::CreateType(CatalogTransaction, CreateTypeInfo &) {
	ThrowNotShipped("CREATE TYPE");
}
optional_ptr<CatalogEntry> OdSchema::CreateCollation(CatalogTransaction, CreateCollationInfo &) {
	ThrowNotShipped("CREATE COLLATION");
}
void OdSchema::Alter(CatalogTransaction, AlterInfo &) {
	ThrowNotShipped("ALTER");
}
void OdSchema::DropEntry(ClientContext &, DropInfo &) {
	ThrowNotShipped("DROP");
}

} // namespace openduck
