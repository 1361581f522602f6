// export.cpp - see export.hpp.
#include "export.hpp"

#include "catalog.hpp"
#include "duckdb/catalog/dependency_list.hpp"
#include "duckdb/common/file_system.hpp"
#include "duckdb/execution/operator/persistent/physical_export.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/create_info.hpp"
#include "duckdb/planner/operator/logical_export.hpp"
#include "wrapper.hpp"

namespace openduck {

namespace {

//! What each entry needs, by the entries' numbers.
using Needs = unordered_map<idx_t, vector<idx_t>>;

Needs ReadNeeds(ClientContext &context, OdCatalog &catalog) {
	RemoteRequest request;
	request.sql = "SELECT objid, refobjid FROM duckdb_dependencies() ORDER BY ALL";
	auto session = catalog.SessionFor(context);
	Needs result;
	for (auto &row : catalog.GetRemote()->Collect(context, request, session.get())) {
		CatalogItem needed, needing;
		needed.oid = NumericCast<idx_t>(row[0].GetValue<int64_t>());
		needing.oid = NumericCast<idx_t>(row[1].GetValue<int64_t>());
		result[catalog.LocalOid(needing)].push_back(catalog.LocalOid(needed));
	}
	return result;
}

//! What an entry needs comes before it; otherwise the order stays.
struct Ordering {
	explicit Ordering(const Needs &needs) : needs(needs) {
	}

	catalog_entry_vector_t Of(const catalog_entry_vector_t &entries) {
		for (auto &entry : entries) {
			by_oid.emplace(entry.get().oid, entry);
		}
		for (auto &entry : entries) {
			Add(entry);
		}
		return std::move(ordered);
	}

private:
	void Add(CatalogEntry &entry) {
		if (!seen.insert(entry.oid).second) {
			return;
		}
		auto found = needs.find(entry.oid);
		if (found != needs.end()) {
			for (auto oid : found->second) {
				auto needed = by_oid.find(oid);
				if (needed != by_oid.end()) {
					Add(needed->second);
				}
			}
		}
		ordered.push_back(entry);
	}

	const Needs &needs;
	unordered_map<idx_t, reference<CatalogEntry>> by_oid;
	unordered_set<idx_t> seen;
	catalog_entry_vector_t ordered;
};

string DefinitionText(CatalogEntry &entry) {
	auto info = entry.GetInfo();
	try {
		info->catalog.clear();
		return info->ToString();
	} catch (const NotImplementedException &) {
		return entry.ToSQL();
	}
}

class PhysicalOrderedExport : public PhysicalExport {
public:
	PhysicalOrderedExport(PhysicalPlan &plan, PhysicalExport &stock)
	    : PhysicalExport(plan, stock.types, stock.function, std::move(stock.info), stock.estimated_cardinality,
	                     std::move(stock.exported_tables)) {
		for (auto &child : stock.children) {
			children.push_back(child);
		}
	}

	SourceResultType GetDataInternal(ExecutionContext &context, DataChunk &chunk,
	                                 OperatorSourceInput &input) const override {
		auto result = PhysicalExport::GetDataInternal(context, chunk, input);
		WriteDefinitions(context.client); // in place of what it has written
		return result;
	}

private:
	void WriteDefinitions(ClientContext &context) const {
		auto &catalog = Catalog::GetCatalog(context, info->catalog);
		auto needs = ReadNeeds(context, *OdCatalog::From(catalog));
		string text;
		for (auto &entry : Ordering(needs).Of(GetNaiveExportOrder(context, catalog))) {
			if (!entry.get().internal) {
				text += DefinitionText(entry) + ";\n";
			}
		}
		text += "\n";
		auto &files = FileSystem::GetFileSystem(context);
		auto file = files.OpenFile(files.JoinPath(info->file_path, "schema.sql"),
		                           FileFlags::FILE_FLAGS_WRITE | FileFlags::FILE_FLAGS_FILE_CREATE_NEW |
		                               FileLockType::WRITE_LOCK);
		file->Write(const_cast<char *>(text.data()), text.size());
		file->Close();
	}
};

struct LogicalOrderedExport : public LogicalWrapper {
	explicit LogicalOrderedExport(unique_ptr<LogicalOperator> child)
	    : LogicalWrapper(std::move(child), "OPENDUCK_EXPORT") {
	}
	PhysicalOperator &CreatePlan(ClientContext &, PhysicalPlanGenerator &planner) override {
		auto &stock = planner.CreatePlan(*children[0]).Cast<PhysicalExport>();
		return planner.Make<PhysicalOrderedExport>(stock);
	}
};

} // namespace

void OrderExport(ClientContext &context, unique_ptr<LogicalOperator> &plan) {
	if (plan->type != LogicalOperatorType::LOGICAL_EXPORT) {
		return;
	}
	auto catalog = Catalog::GetCatalogEntry(context, plan->Cast<LogicalExport>().copy_info->catalog);
	if (catalog && OdCatalog::From(*catalog)) {
		plan = make_uniq<LogicalOrderedExport>(std::move(plan));
	}
}

} // namespace openduck
