// scan.cpp - openduck_scan (see scan.hpp).
//
// The request goes out when the pipeline starts (init_global), not at bind: EXPLAIN, PREPARE and DESCRIBE run nothing,
// and filters that a join's build side found out are part of the text by then.
#include "scan.hpp"

#include "duckdb/common/serializer/deserializer.hpp"
#include "duckdb/common/serializer/serializer.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/storage/statistics/node_statistics.hpp"
#include "bridge.hpp"
#include "entries.hpp"
#include "filter.hpp"
#include "hybrid_input.hpp"
#include "settings.hpp"
#include "ship.hpp"
#include "state.hpp"
#include "text.hpp"

namespace openduck {

static constexpr const char *SCAN_NAME = "openduck_scan";

struct StartedScan {
	unique_ptr<GlobalTableFunctionState> state;
	std::exception_ptr failure;
};

unique_ptr<FunctionData> ScanBindData::Copy() const {
	auto copy = make_uniq<ScanBindData>(*this);
	copy->started = nullptr;
	return std::move(copy);
}

bool ScanBindData::Equals(const FunctionData &other_p) const {
	auto &other = other_p.Cast<ScanBindData>();
	return remote.get() == other.remote.get() && entry.get() == other.entry.get() && relation == other.relation &&
	       sql == other.sql && parameters.empty() && other.parameters.empty() && inputs == other.inputs &&
	       types == other.types && names == other.names && conditions == other.conditions && limit == other.limit &&
	       snapshot == other.snapshot;
}

bool IsScan(const TableFunction &function) {
	return function.name == SCAN_NAME || function.name == "openduck_query";
}

//===--------------------------------------------------------------------===//
// The text
//===--------------------------------------------------------------------===//
//! What one scan sends and what comes back for each output column.
struct ScanText {
	string sql;
	vector<LogicalType> types; // expected result types
	vector<idx_t> columns;     // fetched column -> result column; empty: in order
	// Filters without an exact text are applied here: then more columns are fetched than are handed on.
	vector<std::pair<const TableFilter *, idx_t>> residual; // filter, position among the fetched columns
	vector<idx_t> projection;                               // output column -> fetched column; empty: in order
	bool filtered = false; // not all rows of the relation or text
};

static ScanText BuildText(const ScanBindData &bind, const TableFunctionInitInput &input) {
	ScanText result;
	bool can_wrap = !bind.IsText() || bind.wrappable;
	string conditions;
	auto add = [&](const string &condition) {
		conditions += (conditions.empty() ? " WHERE " : " AND ") + condition;
	};
	for (auto &condition : bind.conditions) {
		add(condition);
	}
	if (input.filters) {
		for (auto &filter : input.filters->filters) {
			auto id = input.column_ids[filter.first];
			bool rowid = id == COLUMN_IDENTIFIER_ROW_ID;
			string condition;
			auto outcome = FilterText::IMPOSSIBLE;
			if (can_wrap) {
				outcome = FilterToSql(*filter.second, rowid ? "rowid" : QuotedName(bind.names[id]),
				                      rowid ? LogicalType::ROW_TYPE : bind.types[id], condition);
			}
			if (outcome == FilterText::WRITTEN) {
				add(condition);
			} else if (outcome == FilterText::IMPOSSIBLE) {
				result.residual.emplace_back(filter.second.get(), filter.first);
			}
		}
	}
	// Columns that only filters need are not fetched, unless a filter is applied here.
	vector<column_t> wanted = input.column_ids;
	if (input.CanRemoveFilterColumns()) {
		if (!result.residual.empty()) {
			result.projection = input.projection_ids;
		} else {
			wanted.clear();
			for (auto id : input.projection_ids) {
				wanted.push_back(input.column_ids[id]);
			}
		}
	}
	result.filtered = !conditions.empty() || bind.limit.IsValid();
	bool everything = bind.IsText() && conditions.empty() && wanted.size() == bind.types.size();
	for (idx_t i = 0; everything && i < wanted.size(); i++) {
		everything = wanted[i] == i;
	}
	if (!can_wrap || everything) {
		result.sql = bind.sql;
		result.types = bind.types;
		for (auto id : wanted) {
			result.columns.push_back(id < bind.types.size() ? id : 0);
		}
		return result;
	}
	string columns;
	for (auto id : wanted) {
		columns += columns.empty() ? "" : ", ";
		if (id == COLUMN_IDENTIFIER_ROW_ID) {
			columns += "rowid";
			result.types.push_back(LogicalType::ROW_TYPE);
		} else if (id < bind.names.size()) {
			columns += QuotedName(bind.names[id]);
			result.types.push_back(bind.types[id]);
		} else {
			columns += "false"; // nobody looks at it: the rows are counted
			result.types.push_back(LogicalType::BOOLEAN);
		}
	}
	result.sql = "SELECT " + columns + " FROM " + (bind.IsText() ? "(" + bind.sql + "\n)" : bind.relation) + conditions;
	if (bind.limit.IsValid() && result.residual.empty()) {
		result.sql += " LIMIT " + std::to_string(bind.limit.GetIndex());
	}
	return result;
}

//===--------------------------------------------------------------------===//
// States
//===--------------------------------------------------------------------===//
struct ScanGlobalState : public GlobalTableFunctionState {
	shared_ptr<BridgeTally> tally;
	unique_ptr<SentInputs> inputs;
	unique_ptr<BatchScanGlobal> scan;
	ArrowSchema schema {};
	idx_t threads = 1;
	ScanText text;
	vector<LogicalType> fetched_types;

	~ScanGlobalState() override {
		scan.reset();
		if (schema.release) {
			schema.release(&schema);
		}
	}
	idx_t MaxThreads() const override {
		return threads;
	}
};

struct ScanLocalState : public LocalTableFunctionState {
	unique_ptr<BatchScanGlobal::Local> local;
	unique_ptr<ResidualFilter> residual;
	DataChunk fetched;
};

//! The definition changed since the plan was made. Goes on when what the plan relies on is as it was.
static bool StillFits(ClientContext &context, const ScanBindData &bind, RemoteRequest &request) {
	if (!bind.catalog) {
		return false;
	}
	auto &catalog = *bind.catalog;
	catalog.Refresh(context);
	if (bind.IsText()) {
		// The server binds the user's text anew, and its columns are compared afterwards.
		request.catalog_version.clear();
		request.objects.clear();
		return bind.users_text;
	}
	auto snapshot = catalog.Snapshot(context, false);
	auto &object = bind.objects[0];
	auto item = snapshot->Find(object.schema, EntrySet::RELATION, object.name);
	if (!item || item->kind != object.kind) {
		return false;
	}
	auto entry = catalog.EntryFor(context, *snapshot, catalog.SchemaFor(object.schema), *item);
	if (!entry || entry->type != CatalogType::TABLE_ENTRY) {
		return false;
	}
	vector<LogicalType> types;
	vector<string> names;
	for (auto &column : entry->Cast<TableCatalogEntry>().GetColumns().Logical()) {
		types.push_back(column.Type());
		names.push_back(column.Name());
	}
	if (types != bind.types || names != bind.names) {
		return false;
	}
	request.catalog_version = snapshot->version;
	request.objects[0].hash = item->hash;
	return true;
}

[[noreturn]] static void ThrowStale(ClientContext &context, const ScanBindData &bind, const string &detail) {
	for (auto &object : bind.objects) {
		auto set = object.kind == "table" || object.kind == "view" ? EntrySet::RELATION : EntrySet::NONE;
		if (bind.catalog && set == EntrySet::RELATION &&
		    !bind.catalog->Snapshot(context, false)->Find(object.schema, set, object.name)) {
			throw CatalogException("Table with name %s does not exist!", object.name);
		}
	}
	auto what = bind.objects.empty() ? string("an object") : bind.objects[0].kind + " \"" + bind.objects[0].name + "\"";
	throw TransactionException("The definition of %s changed on the server after this statement was planned; run it "
	                           "again (%s)",
	                           what, detail);
}

static unique_ptr<GlobalTableFunctionState> SendScan(ClientContext &context, TableFunctionInitInput &input) {
	auto &bind = input.bind_data->Cast<ScanBindData>();
	auto text = BuildText(bind, input);
	auto result = make_uniq<ScanGlobalState>();

	RemoteRequest request;
	request.sql = text.sql;
	request.settings = MirroredSettings(context);
	request.catalog_version = bind.catalog_version;
	request.objects = bind.objects;
	request.snapshot = bind.snapshot;
	for (auto &parameter : bind.parameters) {
		request.parameters.push_back(ParameterValue(context, *parameter));
	}
	auto &options = bind.remote->Options();
	auto knowledge = KnowledgeOf(options);
	auto tally = result->tally = make_shared_ptr<BridgeTally>();
	tally->retries_before = bind.remote->GetTraffic().retries;
	tally->key = text.filtered ? 0 : bind.part.key;
	if (!bind.inputs.empty()) {
		result->inputs = make_uniq<SentInputs>(context, bind.remote, bind.inputs, request);
	}
	shared_ptr<RemoteSession> session;
	if (bind.catalog) {
		session = bind.catalog->SessionFor(context);
	}
	if (!session && bind.group && bind.group->size > 1) {
		request.group = OdContextState::Get(context)->GroupName(context) + "/" + bind.catalog_alias;
		request.group_size = bind.group->size;
	}
	unique_ptr<RemoteQuery> query;
	bool stale = false;
	try {
		query = bind.remote->Execute(request, session.get());
	} catch (CatalogStaleException &ex) {
		stale = true;
		if (!StillFits(context, bind, request)) {
			ThrowStale(context, bind, ex.what());
		}
		try {
			query = bind.remote->Execute(request, session.get());
		} catch (CatalogStaleException &again) {
			ThrowStale(context, bind, again.what());
		}
	}
	tally->answered_us = tally->Elapsed();
	{
		std::lock_guard<std::mutex> guard(knowledge->lock);
		od_link_meter_answered(&knowledge->meter, static_cast<double>(tally->answered_us) * 1e-6);
	}
	if (bind.catalog && !session) {
		bind.catalog->SawVersion(query->CatalogVersion());
	}
	vector<LogicalType> types;
	vector<string> names;
	query->Schema(types, names);
	if (stale && bind.IsText() && (types != text.types || names != bind.names)) {
		ThrowStale(context, bind, "it has other columns now");
	}
	if (types != text.types) {
		string got, expected;
		for (auto &type : types) {
			got += (got.empty() ? "" : ", ") + type.ToString();
		}
		for (auto &type : text.types) {
			expected += (expected.empty() ? "" : ", ") + type.ToString();
		}
		throw InvalidInputException("The server's result has the types (%s) where this statement was planned for (%s): "
		                            "%s",
		                            got, expected, text.sql);
	}
	for (idx_t i = 0; i < (text.columns.empty() ? types.size() : text.columns.size()); i++) {
		result->fetched_types.push_back(types[text.columns.empty() ? i : text.columns[i]]);
	}
	// One batch that is there already is not worth waking another thread.
	result->threads = query->IsComplete() ? 1 : NumericCast<idx_t>(context.db->NumberOfThreads());
	SchemaFromTypes(types, names, true, &result->schema);
	auto source = make_uniq<QuerySource>(bind.remote, std::move(query));
	result->scan = make_uniq<BatchScanGlobal>(
	    make_uniq<CountedSource>(std::move(source), std::move(tally), std::move(knowledge)), text.columns);
	result->text = std::move(text);
	return std::move(result);
}

void StartScan(ClientContext &context, TableFunctionInitInput &input) {
	auto started = make_shared_ptr<StartedScan>();
	try {
		started->state = SendScan(context, input);
	} catch (...) {
		started->failure = std::current_exception();
	}
	input.bind_data->Cast<ScanBindData>().started = std::move(started);
}

static unique_ptr<GlobalTableFunctionState> ScanInitGlobal(ClientContext &context, TableFunctionInitInput &input) {
	auto started = std::move(input.bind_data->Cast<ScanBindData>().started);
	if (!started) {
		return SendScan(context, input);
	}
	if (started->failure) {
		std::rethrow_exception(started->failure);
	}
	return std::move(started->state);
}

static unique_ptr<LocalTableFunctionState> ScanInitLocal(ExecutionContext &context, TableFunctionInitInput &input,
                                                         GlobalTableFunctionState *global) {
	auto &state = global->Cast<ScanGlobalState>();
	auto result = make_uniq<ScanLocalState>();
	result->local = state.scan->MakeLocal(context.client, state.schema);
	if (!state.text.residual.empty()) {
		result->residual = make_uniq<ResidualFilter>(context.client);
		for (auto &filter : state.text.residual) {
			result->residual->Add(*filter.first, filter.second, state.fetched_types[filter.second]);
		}
		result->fetched.Initialize(context.client, state.fetched_types);
	}
	return std::move(result);
}

static void ScanExecute(ClientContext &context, TableFunctionInput &input, DataChunk &output) {
	auto &global = input.global_state->Cast<ScanGlobalState>();
	auto &local = input.local_state->Cast<ScanLocalState>();
	if (!local.residual) {
		global.scan->Scan(context, *local.local, input, output);
		return;
	}
	while (true) {
		local.fetched.Reset();
		global.scan->Scan(context, *local.local, input, local.fetched);
		if (local.fetched.size() == 0) {
			return; // the end, or nothing yet: input says which
		}
		local.residual->Apply(local.fetched);
		if (local.fetched.size() > 0) {
			break;
		}
	}
	for (idx_t i = 0; i < output.ColumnCount(); i++) {
		output.data[i].Reference(local.fetched.data[global.text.projection.empty() ? i : global.text.projection[i]]);
	}
	output.SetCardinality(local.fetched.size());
}

static OperatorPartitionData ScanPartition(ClientContext &context, TableFunctionGetPartitionInput &input) {
	auto &global = input.global_state->Cast<ScanGlobalState>();
	auto &local = input.local_state->Cast<ScanLocalState>();
	return OperatorPartitionData(global.scan->BatchIndex(*local.local));
}

//===--------------------------------------------------------------------===//
// Planning
//===--------------------------------------------------------------------===//
static unique_ptr<NodeStatistics> ScanCardinality(ClientContext &context, const FunctionData *data) {
	auto &bind = data->Cast<ScanBindData>();
	if (bind.IsText() && bind.estimated_rows == 0) {
		return make_uniq<NodeStatistics>();
	}
	return make_uniq<NodeStatistics>(bind.estimated_rows);
}

static BindInfo ScanBindInfo(const optional_ptr<FunctionData> data) {
	auto &bind = data->Cast<ScanBindData>();
	if (bind.entry && bind.entry->type == CatalogType::TABLE_ENTRY) {
		return BindInfo(bind.entry->Cast<TableCatalogEntry>());
	}
	return BindInfo(ScanType::EXTERNAL);
}

static virtual_column_map_t ScanVirtualColumns(ClientContext &context, optional_ptr<FunctionData> data) {
	auto &bind = data->Cast<ScanBindData>();
	virtual_column_map_t result;
	if (bind.IsText() && !bind.wrappable) {
		return result;
	}
	if (bind.entry && bind.entry->type == CatalogType::TABLE_ENTRY) {
		result.insert({COLUMN_IDENTIFIER_ROW_ID, TableColumn("rowid", LogicalType::ROW_TYPE)});
	}
	result.insert({COLUMN_IDENTIFIER_EMPTY, TableColumn("", LogicalType::BOOLEAN)});
	return result;
}

static vector<column_t> ScanRowIdColumns(ClientContext &context, optional_ptr<FunctionData> data) {
	return {COLUMN_IDENTIFIER_ROW_ID};
}

static bool ScanSupportsType(const FunctionData &data, idx_t column) {
	auto &bind = data.Cast<ScanBindData>();
	if (bind.IsText() && !bind.wrappable) {
		return false;
	}
	if (column == COLUMN_IDENTIFIER_ROW_ID) {
		return true;
	}
	string text;
	return column < bind.types.size() && LiteralToSql(Value(bind.types[column]), text);
}

static bool IsSimpleComparison(const Expression &expression) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COMPARISON) {
		auto &comparison = expression.Cast<BoundComparisonExpression>();
		return comparison.left->GetExpressionClass() == ExpressionClass::BOUND_CONSTANT ||
		       comparison.right->GetExpressionClass() == ExpressionClass::BOUND_CONSTANT;
	}
	return expression.GetExpressionClass() == ExpressionClass::BOUND_BETWEEN ||
	       expression.GetExpressionType() == ExpressionType::CONJUNCTION_AND;
}

static void ScanComplexFilter(ClientContext &context, LogicalGet &get, FunctionData *data,
                              vector<unique_ptr<Expression>> &filters) {
	auto &bind = data->Cast<ScanBindData>();
	if (bind.IsText() && !bind.wrappable) {
		return;
	}
	auto namer = [&](const Expression &expression, string &out) {
		if (expression.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF) {
			return false;
		}
		auto &ref = expression.Cast<BoundColumnRefExpression>();
		auto &ids = get.GetColumnIds();
		if (ref.binding.table_index != get.table_index || ref.depth != 0 || ref.binding.column_index >= ids.size()) {
			return false;
		}
		auto &id = ids[ref.binding.column_index];
		string text;
		if (id.IsVirtualColumn() || !id.HasPrimaryIndex() || id.HasChildren() || id.HasType() ||
		    !LiteralToSql(Value(ref.return_type), text)) {
			return false;
		}
		out += QuotedName(bind.names[id.GetPrimaryIndex()]);
		return true;
	};
	vector<unique_ptr<Expression>> rest;
	for (auto &filter : filters) {
		string condition;
		// Comparisons with a constant become table filters, which say more in EXPLAIN; take the others.
		if (!IsSimpleComparison(*filter) && !filter->IsVolatile() && !filter->HasParameter() && !filter->CanThrow() &&
		    ExpressionToSql(*filter, namer, condition)) {
			bind.conditions.push_back(std::move(condition));
		} else {
			rest.push_back(std::move(filter));
		}
	}
	filters = std::move(rest);
}

static InsertionOrderPreservingMap<string> ScanToString(TableFunctionToStringInput &input) {
	InsertionOrderPreservingMap<string> result;
	auto &bind = input.bind_data->Cast<ScanBindData>();
	result["Server"] = bind.remote->Options().endpoint + "/" + bind.remote->Options().database;
	if (bind.IsText()) {
		result["SQL"] = bind.sql;
		if (!bind.part.why.empty()) {
			result["Why"] = bind.part.why;
			result["Expected"] = StringUtil::Format("~%.0f rows, %s", bind.part.rows, BytesText(bind.part.bytes));
		}
	} else {
		result["Table"] = bind.relation;
		if (!bind.conditions.empty()) {
			result["Conditions"] = StringUtil::Join(bind.conditions, " AND ");
		}
	}
	return result;
}

static InsertionOrderPreservingMap<string> ScanDynamicToString(TableFunctionDynamicToStringInput &input) {
	InsertionOrderPreservingMap<string> result;
	if (input.global_state) {
		auto &state = input.global_state->Cast<ScanGlobalState>();
		auto &bind = input.bind_data->Cast<ScanBindData>();
		result["SQL"] = state.text.sql;
		result["Received"] = state.tally->Text(bind.remote->GetTraffic().retries);
		if (!bind.inputs.empty()) {
			result["Sent"] = state.inputs->Text();
		}
	}
	return result;
}

//! Plans are copied by writing and reading them within one process, so a pointer travels: the original outlives the
//! copying. The cookie keeps pointers of other processes out.
static uint64_t ProcessCookie() {
	static const uint64_t COOKIE =
	    static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()) ^
	    static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&ProcessCookie));
	return COOKIE;
}

static void ScanSerialize(Serializer &serializer, const optional_ptr<FunctionData> data, const TableFunction &) {
	serializer.WriteProperty(100, "process", ProcessCookie());
	serializer.WriteProperty(101, "data", static_cast<uint64_t>(reinterpret_cast<uintptr_t>(data.get())));
}

static unique_ptr<FunctionData> ScanDeserialize(Deserializer &deserializer, TableFunction &) {
	auto cookie = deserializer.ReadProperty<uint64_t>(100, "process");
	auto data = deserializer.ReadProperty<uint64_t>(101, "data");
	if (cookie != ProcessCookie()) {
		throw NotImplementedException("A plan that scans an OpenDuck server cannot leave its process");
	}
	return reinterpret_cast<ScanBindData *>(static_cast<uintptr_t>(data))->Copy();
}

//! openduck_scan(catalog, schema, view[, snapshot]): what the binder is given for a view (entries.cpp).
static unique_ptr<FunctionData> ScanBind(ClientContext &context, TableFunctionBindInput &input,
                                         vector<LogicalType> &types, vector<string> &names) {
	auto alias = StringValue::Get(input.inputs[0]);
	auto schema = StringValue::Get(input.inputs[1]);
	auto name = StringValue::Get(input.inputs[2]);
	auto catalog = OdCatalog::From(Catalog::GetCatalog(context, alias));
	if (!catalog) {
		throw BinderException("\"%s\" is not attached from an OpenDuck server", alias);
	}
	optional_ptr<CatalogEntry> entry;
	if (input.inputs.size() > 3) {
		auto &past = catalog->State(context)->past[StringValue::Get(input.inputs[3])];
		entry = past ? catalog->PastEntry(context, past, catalog->SchemaFor(schema), name) : nullptr;
	} else {
		entry = Catalog::GetEntry<ViewCatalogEntry>(context, alias, schema, name);
	}
	if (!entry || entry->type != CatalogType::VIEW_ENTRY) {
		throw CatalogException("There is no view \"%s\".\"%s\" in \"%s\"", schema, name, alias);
	}
	auto &view = reinterpret_cast<OdView &>(*entry);
	auto columns = view.GetColumnInfo();
	if (!columns) {
		throw BinderException("The server did not say which columns the view \"%s\" has", name);
	}
	auto bind = make_uniq<ScanBindData>();
	bind->remote = catalog->GetRemote();
	bind->catalog = catalog.get();
	bind->catalog_alias = alias;
	bind->entry = view.shared_from_this();
	bind->relation = QualifiedText(view.server_catalog, view.object.schema, view.object.name);
	bind->types = types = columns->types;
	bind->names = names = columns->names;
	bind->objects.push_back(view.object);
	if (view.selector.empty()) {
		bind->catalog_version = catalog->Snapshot(context, false)->version;
	} else {
		bind->LookBack(view.selector, view.past_version);
	}
	if (input.binder) {
		input.binder->GetStatementProperties().RegisterDBRead(*catalog, context);
	}
	return std::move(bind);
}

TableFunction ScanFunction() {
	TableFunction function(SCAN_NAME, {LogicalType::VARCHAR, LogicalType::VARCHAR, LogicalType::VARCHAR}, ScanExecute,
	                       ScanBind, ScanInitGlobal, ScanInitLocal);
	function.varargs = LogicalType::VARCHAR; // the snapshot
	function.cardinality = ScanCardinality;
	function.get_bind_info = ScanBindInfo;
	function.get_virtual_columns = ScanVirtualColumns;
	function.get_row_id_columns = ScanRowIdColumns;
	function.get_partition_data = ScanPartition;
	function.supports_pushdown_type = ScanSupportsType;
	function.pushdown_complex_filter = ScanComplexFilter;
	function.to_string = ScanToString;
	function.dynamic_to_string = ScanDynamicToString;
	function.serialize = ScanSerialize;
	function.deserialize = ScanDeserialize;
	function.projection_pushdown = true;
	function.filter_pushdown = true;
	function.filter_prune = true;
	return function;
}

TableFunction ScanTableFunction() {
	return ScanFunction();
}

} // namespace openduck
