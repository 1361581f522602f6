// change.cpp - see change.hpp.
#include "change.hpp"

#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"

namespace openduck {

namespace {

struct KindName {
	CatalogType type;
	const char *kind;
};
constexpr KindName KINDS[] = {{CatalogType::SCHEMA_ENTRY, "schema"},   {CatalogType::TABLE_ENTRY, "table"},
                              {CatalogType::VIEW_ENTRY, "view"},       {CatalogType::INDEX_ENTRY, "index"},
                              {CatalogType::SEQUENCE_ENTRY, "sequence"}, {CatalogType::TYPE_ENTRY, "type"},
                              {CatalogType::MACRO_ENTRY, "macro"},     {CatalogType::TABLE_MACRO_ENTRY, "table macro"}};

string KindOf(CatalogType type) {
	for (auto &entry : KINDS) {
		if (entry.type == type) {
			return entry.kind;
		}
	}
	return string();
}

string CreatedName(const CreateInfo &info) {
	switch (info.type) {
	case CatalogType::SCHEMA_ENTRY:
		return info.schema;
	case CatalogType::TABLE_ENTRY:
		return info.Cast<CreateTableInfo>().table;
	case CatalogType::VIEW_ENTRY:
		return info.Cast<CreateViewInfo>().view_name;
	case CatalogType::SEQUENCE_ENTRY:
		return info.Cast<CreateSequenceInfo>().name;
	case CatalogType::TYPE_ENTRY:
		return info.Cast<CreateTypeInfo>().name;
	case CatalogType::MACRO_ENTRY:
	case CatalogType::TABLE_MACRO_ENTRY:
		return info.Cast<CreateMacroInfo>().name;
	default:
		return string();
	}
}

//! A dropped table takes its indexes along, and sequences that belong to it, which only the server knows.
bool DropRelation(CatalogSnapshot::SchemaItems &items, CatalogSnapshot &snapshot, const string &name) {
	for (auto &schema : snapshot.items) {
		if (!schema.second.sets[static_cast<idx_t>(EntrySet::SEQUENCE)].empty()) {
			return false;
		}
	}
	auto &indexes = items.sets[static_cast<idx_t>(EntrySet::INDEX)];
	for (auto index = indexes.begin(); index != indexes.end();) {
		if (StringUtil::CIEquals(index->second.table_name, name)) {
			index = indexes.erase(index);
			snapshot.size--;
		} else {
			index++;
		}
	}
	return true;
}

bool ChangeSchema(CatalogSnapshot &snapshot, const DefinitionChange &change) {
	auto there = snapshot.schemas.find(change.name);
	if (change.action == DefinitionChange::Action::CREATE) {
		return there == snapshot.schemas.end() && snapshot.schemas.emplace(change.name, Value()).second;
	}
	auto items = snapshot.items.find(change.name);
	if (change.action != DefinitionChange::Action::DROP || there == snapshot.schemas.end()) {
		return false;
	}
	if (items != snapshot.items.end()) {
		for (auto &set : items->second.sets) {
			if (!set.empty()) {
				return false;
			}
		}
		snapshot.items.erase(items);
	}
	snapshot.schemas.erase(there);
	return true;
}

bool ChangeItem(CatalogSnapshot &snapshot, const DefinitionChange &change) {
	if (snapshot.schemas.find(change.schema) == snapshot.schemas.end()) {
		return false;
	}
	auto &items = snapshot.items[snapshot.schemas.find(change.schema)->first];
	auto &set = items.sets[static_cast<idx_t>(change.set)];
	auto there = set.find(change.name);
	bool creates = change.action != DefinitionChange::Action::DROP;
	if (there != set.end()) {
		if (change.action == DefinitionChange::Action::CREATE || there->second.kind != change.kind ||
		    (change.kind == "table" && !DropRelation(items, snapshot, change.name))) {
			return false;
		}
		set.erase(there);
		snapshot.size--;
	} else if (!creates) {
		return false;
	}
	if (creates) {
		CatalogItem item;
		item.kind = change.kind;
		item.schema = snapshot.schemas.find(change.schema)->first;
		item.name = change.name;
		item.comment = Value(LogicalType::VARCHAR);
		set.emplace(change.name, std::move(item));
		snapshot.size++;
	}
	return true;
}

} // namespace

unique_ptr<DefinitionChange> ChangeOf(const SQLStatement &statement) {
	auto result = make_uniq<DefinitionChange>();
	CatalogType type;
	if (statement.type == StatementType::CREATE_STATEMENT) {
		auto &info = *statement.Cast<CreateStatement>().info;
		if (info.temporary || info.on_conflict == OnCreateConflict::ALTER_ON_CONFLICT) {
			return nullptr;
		}
		type = info.type;
		if (type == CatalogType::INDEX_ENTRY) {
			return nullptr; // its table is bound by what it says, which the server writes
		}
		result->name = CreatedName(info);
		result->schema = info.schema;
		result->conditional = info.on_conflict == OnCreateConflict::IGNORE_ON_CONFLICT;
		if (info.on_conflict == OnCreateConflict::REPLACE_ON_CONFLICT) {
			result->action = DefinitionChange::Action::REPLACE;
		}
	} else if (statement.type == StatementType::DROP_STATEMENT) {
		auto &info = *statement.Cast<DropStatement>().info;
		if (info.cascade) {
			return nullptr;
		}
		type = info.type;
		result->name = info.name;
		result->schema = info.schema;
		result->conditional = info.if_not_found == OnEntryNotFound::RETURN_NULL;
		result->action = DefinitionChange::Action::DROP;
	} else {
		return nullptr;
	}
	result->kind = KindOf(type);
	result->set = EntrySetOf(type);
	if (result->kind.empty() || result->name.empty()) {
		return nullptr;
	}
	if (result->schema.empty()) {
		result->schema = DEFAULT_SCHEMA;
	}
	return result;
}

shared_ptr<CatalogSnapshot> CopySnapshot(CatalogSnapshot &base, const string &version, idx_t number) {
	auto copy = make_shared_ptr<CatalogSnapshot>(version, number);
	std::lock_guard<std::recursive_mutex> guard(base.lock);
	copy->catalog_name = base.catalog_name;
	copy->schemas = base.schemas;
	copy->items = base.items;
	copy->size = base.size;
	for (auto &schema : copy->items) {
		for (auto &set : schema.second.sets) {
			for (auto &item : set) {
				// What these say depends on other entries.
				if (item.second.kind == "table" || item.second.kind == "view" || item.second.kind == "index") {
					item.second.entry.reset();
				}
				item.second.making = false;
			}
		}
	}
	return copy;
}

shared_ptr<CatalogSnapshot> ChangedSnapshot(CatalogSnapshot &base, const DefinitionChange &change,
                                            const string &version, idx_t number) {
	auto snapshot = CopySnapshot(base, version, number);
	bool known = change.set == EntrySet::NONE ? ChangeSchema(*snapshot, change) : ChangeItem(*snapshot, change);
	return known ? snapshot : nullptr;
}

} // namespace openduck
