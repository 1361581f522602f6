// change.cpp - see change.hpp.
#include "change.hpp"

#include "duckdb/parser/parsed_data/alter_table_info.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
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
	case CatalogType::INDEX_ENTRY:
		return info.Cast<CreateIndexInfo>().index_name;
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

//! The row that tells of the entry. nullptr: it was not asked for, or the server knows its first outcome only.
const vector<Value> *ToldOf(const vector<vector<Value>> &told) {
	return told.size() == 1 && told[0].size() > 1 ? &told[0] : nullptr;
}

CatalogItem ToldItem(const vector<Value> &row) {
	CatalogItem item;
	item.kind = row[0].ToString();
	item.schema = row[1].ToString();
	item.name = row[2].ToString();
	item.table_name = row[3].IsNull() ? string() : row[3].ToString();
	ReadDefinition(item, row, 4);
	return item;
}

//! Could another entry's definition have the name that an ALTER changes?
bool IsReferredTo(CatalogSnapshot &snapshot, const string &schema, const string &table) {
	for (auto &entry : snapshot.items[schema].sets[static_cast<idx_t>(EntrySet::INDEX)]) {
		if (StringUtil::CIEquals(entry.second.table_name, table)) {
			return true;
		}
	}
	for (auto &items : snapshot.items) {
		for (auto &entry : items.second.sets[static_cast<idx_t>(EntrySet::RELATION)]) {
			auto &item = entry.second;
			if (item.kind == "table" &&
			    (!item.has_definition || item.definition.find("REFERENCES") != string::npos)) {
				return true;
			}
		}
	}
	return false;
}

bool AlterItem(CatalogSnapshot &snapshot, CatalogSnapshot::SchemaItems &items, const DefinitionChange &change,
               const vector<vector<Value>> &told) {
	auto &set = items.sets[static_cast<idx_t>(change.set)];
	auto there = set.find(change.name);
	auto row = ToldOf(told);
	if (there == set.end() || !row || (*row)[0].ToString() != there->second.kind) {
		return false;
	}
	if (change.renames && IsReferredTo(snapshot, there->second.schema, change.name)) {
		return false;
	}
	auto item = ToldItem(*row);
	set.erase(there);
	auto name = item.name;
	return set.emplace(name, std::move(item)).second;
}

bool ChangeItem(CatalogSnapshot &snapshot, const DefinitionChange &change, const vector<vector<Value>> &told) {
	if (snapshot.schemas.find(change.schema) == snapshot.schemas.end()) {
		return false;
	}
	auto &items = snapshot.items[snapshot.schemas.find(change.schema)->first];
	if (change.action == DefinitionChange::Action::ALTER) {
		return AlterItem(snapshot, items, change, told);
	}
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
		auto row = ToldOf(told);
		if (!row && change.set == EntrySet::INDEX) {
			return false; // its table is bound by what it says
		}
		CatalogItem item;
		if (row) {
			item = ToldItem(*row);
		} else {
			item.kind = change.kind;
			item.schema = snapshot.schemas.find(change.schema)->first;
			item.name = change.name;
			item.comment = Value(LogicalType::VARCHAR);
		}
		set.emplace(change.name, std::move(item));
		snapshot.size++;
	}
	return true;
}

} // namespace

vector<ObjectVersion> DefinitionChange::Tell() const {
	vector<ObjectVersion> result;
	if (!tells) {
		return result;
	}
	auto &told = new_name.empty() ? name : new_name;
	result.push_back({kind, schema, told, string()});
	if (action == Action::ALTER && set == EntrySet::RELATION) {
		// Some ALTERs do not say which of the two it is.
		result.push_back({kind == "table" ? "view" : "table", schema, told, string()});
	}
	return result;
}

static bool FillCreate(DefinitionChange &change, CatalogType &type, const CreateInfo &info) {
	if (info.temporary || info.on_conflict == OnCreateConflict::ALTER_ON_CONFLICT) {
		return false;
	}
	type = info.type;
	change.name = CreatedName(info);
	change.schema = info.schema;
	change.conditional = info.on_conflict == OnCreateConflict::IGNORE_ON_CONFLICT;
	if (info.on_conflict == OnCreateConflict::REPLACE_ON_CONFLICT) {
		change.action = DefinitionChange::Action::REPLACE;
	}
	// How many rows CREATE TABLE AS has made is known after its commit.
	change.tells = type != CatalogType::SCHEMA_ENTRY &&
	               !(type == CatalogType::TABLE_ENTRY && info.Cast<CreateTableInfo>().query);
	return true;
}

static void FillDrop(DefinitionChange &change, CatalogType &type, const DropInfo &info) {
	type = info.type;
	change.name = info.name;
	change.schema = info.schema;
	change.conditional = info.if_not_found == OnEntryNotFound::RETURN_NULL;
	change.action = DefinitionChange::Action::DROP;
}

static bool FillAlter(DefinitionChange &change, CatalogType &type, const AlterInfo &info) {
	switch (info.type) {
	case AlterType::ALTER_TABLE: {
		auto &alter = info.Cast<AlterTableInfo>();
		type = CatalogType::TABLE_ENTRY;
		if (alter.alter_table_type == AlterTableType::RENAME_TABLE) {
			change.new_name = alter.Cast<RenameTableInfo>().new_table_name;
		}
		change.renames = !change.new_name.empty() || alter.alter_table_type == AlterTableType::RENAME_COLUMN;
		break;
	}
	case AlterType::ALTER_VIEW:
		if (info.Cast<AlterViewInfo>().alter_view_type != AlterViewType::RENAME_VIEW) {
			return false;
		}
		type = CatalogType::VIEW_ENTRY;
		change.new_name = info.Cast<RenameViewInfo>().new_view_name;
		break;
	case AlterType::SET_COMMENT:
		type = info.GetCatalogType();
		break;
	case AlterType::SET_COLUMN_COMMENT:
		type = CatalogType::TABLE_ENTRY;
		break;
	default:
		return false;
	}
	change.name = info.name;
	change.schema = info.schema;
	change.conditional = info.if_not_found == OnEntryNotFound::RETURN_NULL;
	change.action = DefinitionChange::Action::ALTER;
	change.tells = true;
	return true;
}

unique_ptr<DefinitionChange> ChangeOf(const SQLStatement &statement) {
	auto result = make_uniq<DefinitionChange>();
	auto type = CatalogType::INVALID;
	if (statement.type == StatementType::CREATE_STATEMENT) {
		if (!FillCreate(*result, type, *statement.Cast<CreateStatement>().info)) {
			return nullptr;
		}
	} else if (statement.type == StatementType::DROP_STATEMENT) {
		auto &info = *statement.Cast<DropStatement>().info;
		if (info.cascade) {
			return nullptr;
		}
		FillDrop(*result, type, info);
	} else if (statement.type == StatementType::ALTER_STATEMENT) {
		if (!FillAlter(*result, type, *statement.Cast<AlterStatement>().info)) {
			return nullptr;
		}
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
                                            const vector<vector<Value>> &told, const string &version, idx_t number) {
	auto snapshot = CopySnapshot(base, version, number);
	bool known = change.set == EntrySet::NONE ? ChangeSchema(*snapshot, change) : ChangeItem(*snapshot, change, told);
	return known ? snapshot : nullptr;
}

} // namespace openduck
