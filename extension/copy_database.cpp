// copy_database.cpp - see copy_database.hpp.
#include "copy_database.hpp"

#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/planner/operator/logical_copy_database.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"
#include "ship.hpp"
#include "text.hpp"
#include "upload.hpp"
#include "wrapper.hpp"

namespace openduck {

namespace {

//===--------------------------------------------------------------------===//
// Definitions
//===--------------------------------------------------------------------===//
void AddComment(vector<string> &texts, const string &what, const string &name, const Value &comment) {
	if (!comment.IsNull()) {
		texts.push_back("COMMENT ON " + what + " " + name + " IS " + TextLiteral(comment.ToString()));
	}
}

//! The statements that make one entry and say what it is for.
void AddTexts(vector<string> &texts, CreateInfo &info, const string &server) {
	// Definitions that the server stores do not name it, but for a schema whose name would be taken for the database's.
	info.catalog = StringUtil::CIEquals(info.schema, server) ? server : string();
	texts.push_back(info.ToString());
	auto qualified = [&](const string &name) { return QualifiedText(info.catalog, info.schema, name); };
	switch (info.type) {
	case CatalogType::TABLE_ENTRY: {
		auto &table = info.Cast<CreateTableInfo>();
		AddComment(texts, "TABLE", qualified(table.table), info.comment);
		for (auto &column : table.columns.Logical()) {
			AddComment(texts, "COLUMN", qualified(table.table) + "." + QuotedName(column.Name()), column.Comment());
		}
		break;
	}
	case CatalogType::VIEW_ENTRY: {
		auto &view = info.Cast<CreateViewInfo>();
		AddComment(texts, "VIEW", qualified(view.view_name), info.comment);
		for (auto &column : view.column_comments_map) {
			AddComment(texts, "COLUMN", qualified(view.view_name) + "." + QuotedName(column.first), column.second);
		}
		break;
	}
	case CatalogType::INDEX_ENTRY:
		AddComment(texts, "INDEX", qualified(info.Cast<CreateIndexInfo>().index_name), info.comment);
		break;
	case CatalogType::SEQUENCE_ENTRY:
		AddComment(texts, "SEQUENCE", qualified(info.Cast<CreateSequenceInfo>().name), info.comment);
		break;
	case CatalogType::TYPE_ENTRY:
		AddComment(texts, "TYPE", qualified(info.Cast<CreateTypeInfo>().name), info.comment);
		break;
	case CatalogType::MACRO_ENTRY:
		AddComment(texts, "MACRO", qualified(info.Cast<CreateMacroInfo>().name), info.comment);
		break;
	case CatalogType::TABLE_MACRO_ENTRY:
		AddComment(texts, "MACRO TABLE", qualified(info.Cast<CreateMacroInfo>().name), info.comment);
		break;
	default:
		break;
	}
}

//! Runs its texts in order, as one transaction. Gives no rows.
class PhysicalScript : public PhysicalOperator {
public:
	PhysicalScript(PhysicalPlan &plan, vector<LogicalType> types, OdCatalog &catalog, vector<string> texts)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, std::move(types), 0), catalog(catalog),
	      texts(std::move(texts)) {
	}
	bool IsSource() const override {
		return true;
	}
	string GetName() const override {
		return "OPENDUCK_SCRIPT";
	}

protected:
	SourceResultType GetDataInternal(ExecutionContext &context, DataChunk &, OperatorSourceInput &) const override {
		auto session = catalog.SessionFor(context.client, true, true);
		for (auto &text : texts) {
			RemoteRequest request;
			request.sql = text;
			request.read_only = catalog.GetAttached().IsReadOnly();
			auto query = catalog.GetRemote()->Execute(request, session.get());
			while (auto batch = query->Wait(context.client)) {
				od_batch_unref(batch);
			}
		}
		catalog.DefinitionsChanged(context.client);
		return SourceResultType::FINISHED;
	}

private:
	OdCatalog &catalog; // lives as long as the transaction that runs the statement
	vector<string> texts;
};

//===--------------------------------------------------------------------===//
// Logical
//===--------------------------------------------------------------------===//
struct LogicalScript : public LogicalExtensionOperator {
	LogicalScript(idx_t table_index, OdCatalog &catalog, vector<string> texts)
	    : table_index(table_index), catalog(catalog), texts(std::move(texts)) {
	}
	PhysicalOperator &CreatePlan(ClientContext &, PhysicalPlanGenerator &planner) override {
		return planner.Make<PhysicalScript>(types, catalog, texts);
	}
	vector<ColumnBinding> GetColumnBindings() override {
		return GenerateColumnBindings(table_index, 1);
	}
	vector<idx_t> GetTableIndex() const override {
		return {table_index};
	}
	string GetName() const override {
		return "OPENDUCK_SCRIPT";
	}
	string GetExtensionName() const override {
		return "openduck";
	}
	bool SupportSerialization() const override {
		return false;
	}

	idx_t table_index;
	OdCatalog &catalog;
	vector<string> texts;

protected:
	void ResolveTypes() override {
		types = {LogicalType::BOOLEAN};
	}
};

//! The uploads below it belong together: what one of them adds is kept with the others or not at all.
struct LogicalTogether : public LogicalWrapper {
	explicit LogicalTogether(unique_ptr<LogicalOperator> child)
	    : LogicalWrapper(std::move(child), "OPENDUCK_TOGETHER") {
	}
	PhysicalOperator &CreatePlan(ClientContext &, PhysicalPlanGenerator &planner) override {
		auto &plan = planner.CreatePlan(*children[0]);
		Mark(plan);
		return plan;
	}

private:
	static void Mark(PhysicalOperator &plan) {
		if (auto upload = dynamic_cast<PhysicalUpload *>(&plan)) {
			upload->BelongsToOthers();
		}
		for (auto &child : plan.children) {
			Mark(child.get());
		}
	}
};

} // namespace

unique_ptr<LogicalOperator> ShipCopyDatabase(ClientContext &context, OdCatalog &target, idx_t table_index,
                                             unique_ptr<LogicalOperator> plan) {
	if (plan->type != LogicalOperatorType::LOGICAL_COPY_DATABASE) {
		auto together = make_uniq<LogicalTogether>(std::move(plan));
		together->ResolveOperatorTypes();
		return std::move(together);
	}
	vector<string> texts, indexes;
	auto server = target.ServerName(context);
	for (auto &info : plan->Cast<LogicalCopyDatabase>().info->entries) {
		// DuckDB makes them last, too.
		AddTexts(info->type == CatalogType::INDEX_ENTRY ? indexes : texts, *info, server);
	}
	texts.insert(texts.end(), indexes.begin(), indexes.end());
	auto script = make_uniq<LogicalScript>(table_index, target, std::move(texts));
	script->ResolveOperatorTypes();
	return std::move(script);
}

} // namespace openduck
