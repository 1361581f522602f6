// hybrid_statistics.cpp - see hybrid_statistics.hpp.
//
// The server's DuckDB tells what it knows of a column as text, `stats(column)`: "[Min: 1, Max: 9][Has Null: false, Has No
// Null: true][Approx Unique: 9]". What cannot be read in it is not known.
#include "hybrid_statistics.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/storage/statistics/base_statistics.hpp"
#include "text.hpp"

#include <cmath>

namespace openduck {

namespace {

constexpr idx_t TABLES_MAX = 4096;      // that are remembered
constexpr idx_t TABLES_AT_ONCE = 100;   // that are asked for
constexpr idx_t COLUMNS_MAX = 300;      // of one table
constexpr double TEXT_PART = 0.65;      // of the longest text, on the average
constexpr double LONG_TEXT_BYTES = 100; // texts beyond are rarely as long as the longest
constexpr double OFFSET_BYTES = 4;

struct Known {
	string catalog_version;
	idx_t rows = 0;
	shared_ptr<const vector<ColumnStatistic>> columns; // empty: the server did not say
};

std::mutex known_lock;
unordered_map<string, Known> known;

string KeyOf(const ScanBindData &bind) {
	auto &options = bind.remote->Options();
	return options.endpoint + '\0' + options.database + '\0' + bind.relation;
}

bool IsTable(const ScanBindData &bind) {
	return bind.catalog && bind.entry && bind.entry->type == CatalogType::TABLE_ENTRY && !bind.IsText();
}

bool IsCurrent(const Known &entry, const ScanBindData &bind) {
	return entry.catalog_version == bind.catalog_version && entry.rows <= 2 * bind.estimated_rows &&
	       bind.estimated_rows <= 2 * entry.rows;
}

double TextBytes(double longest) {
	return std::min(longest * TEXT_PART, LONG_TEXT_BYTES) + OFFSET_BYTES;
}

//! What follows `label` in the text, up to one of `ends`.
bool Find(const string &text, const string &label, const string &ends, string &out) {
	auto from = text.find(label);
	if (from == string::npos) {
		return false;
	}
	from += label.size();
	auto to = text.find_first_of(ends, from);
	out = text.substr(from, to == string::npos ? string::npos : to - from);
	return true;
}

ColumnStatistic Read(const string &text, const LogicalType &type) {
	ColumnStatistic result;
	string found, other;
	if (Find(text, "[Approx Unique: ", "]", found)) {
		result.distinct = std::strtod(found.c_str(), nullptr);
	}
	if (type.InternalType() == PhysicalType::VARCHAR) {
		// Texts may hold anything: the length stands behind both of them.
		auto label = text.rfind(", Max String Length: ");
		if (label != string::npos && Find(text.substr(label), "Length: ", "]", found)) {
			result.bytes = TextBytes(std::strtod(found.c_str(), nullptr));
		}
		return result;
	}
	Value low, high;
	string why;
	if (Find(text, "[Min: ", ",", found) && Find(text, ", Max: ", "]", other) &&
	    Value(found).DefaultTryCastAs(type, low, &why) && Value(other).DefaultTryCastAs(type, high, &why)) {
		result.has_range = PlaceOf(low, result.low) && PlaceOf(high, result.high) && result.low <= result.high;
	}
	return result;
}

void Collect(LogicalOperator &op, idx_t &leaves, vector<reference<ScanBindData>> &tables) {
	if (op.children.empty()) {
		leaves++;
	}
	if (op.type == LogicalOperatorType::LOGICAL_GET && IsScan(op.Cast<LogicalGet>().function)) {
		auto &bind = op.Cast<LogicalGet>().bind_data->Cast<ScanBindData>();
		if (IsTable(bind)) {
			tables.push_back(bind);
		}
	}
	for (auto &child : op.children) {
		Collect(*child, leaves, tables);
	}
}

//! Asks one server for the tables of it in the list, and remembers what it says.
void Ask(ClientContext &context, Remote &remote, const vector<reference<ScanBindData>> &tables) {
	RemoteRequest request;
	request.read_only = true;
	for (idx_t t = 0; t < tables.size(); t++) {
		auto &bind = tables[t].get();
		string columns;
		for (idx_t c = 0; c < bind.names.size() && c < COLUMNS_MAX; c++) {
			columns += (c ? ", " : "") + ("system.main.stats(" + QuotedName(bind.names[c]) + ")");
		}
		request.sql += (t ? " UNION ALL " : "") + ("(SELECT " + std::to_string(t) + ", [" + columns + "] FROM ") +
		               bind.relation + " LIMIT 1)";
	}
	vector<vector<Value>> rows;
	try {
		rows = remote.Collect(context, request, nullptr);
	} catch (InterruptException &) {
		throw;
	} catch (std::exception &) {
		rows.clear();
	}
	vector<Known> found(tables.size());
	for (auto &row : rows) {
		auto t = static_cast<idx_t>(row[0].GetValue<int64_t>());
		if (t >= tables.size()) {
			continue;
		}
		auto columns = make_shared_ptr<vector<ColumnStatistic>>();
		auto &bind = tables[t].get();
		for (auto &text : ListValue::GetChildren(row[1])) {
			if (columns->size() < bind.types.size()) {
				columns->push_back(text.IsNull() ? ColumnStatistic()
				                                 : Read(StringValue::Get(text), bind.types[columns->size()]));
			}
		}
		found[t].columns = std::move(columns);
	}
	std::lock_guard<std::mutex> guard(known_lock);
	if (known.size() + found.size() > TABLES_MAX) {
		known.clear();
	}
	for (idx_t t = 0; t < found.size(); t++) {
		auto &bind = tables[t].get();
		found[t].catalog_version = bind.catalog_version;
		found[t].rows = bind.estimated_rows;
		known[KeyOf(bind)] = std::move(found[t]);
	}
}

} // namespace

bool PlaceOf(const Value &value, double &out) {
	if (value.IsNull()) {
		return false;
	}
	switch (value.type().id()) {
	case LogicalTypeId::DATE:
		out = static_cast<double>(DateValue::Get(value).days);
		break;
	case LogicalTypeId::TIMESTAMP:
		out = static_cast<double>(TimestampValue::Get(value).value) / static_cast<double>(Interval::MICROS_PER_DAY);
		break;
	default:
		Value number;
		string why;
		if (!value.type().IsNumeric() || !value.DefaultTryCastAs(LogicalType::DOUBLE, number, &why)) {
			return false;
		}
		out = DoubleValue::Get(number);
	}
	return std::isfinite(out);
}

shared_ptr<const vector<ColumnStatistic>> StatisticsOf(const ScanBindData &bind) {
	if (!IsTable(bind)) {
		return nullptr;
	}
	std::lock_guard<std::mutex> guard(known_lock);
	auto entry = known.find(KeyOf(bind));
	return entry == known.end() ? nullptr : entry->second.columns;
}

ColumnStatistic StatisticOf(const BaseStatistics &statistics) {
	ColumnStatistic result;
	auto copy = statistics.Copy();
	result.distinct = static_cast<double>(copy.GetDistinctCount());
	if (copy.GetStatsType() == StatisticsType::STRING_STATS) {
		if (StringStats::HasMaxStringLength(copy)) {
			result.bytes = TextBytes(StringStats::MaxStringLength(copy));
		}
	} else if (copy.GetStatsType() == StatisticsType::NUMERIC_STATS && NumericStats::HasMinMax(copy)) {
		result.has_range =
		    PlaceOf(NumericStats::Min(copy), result.low) && PlaceOf(NumericStats::Max(copy), result.high);
	}
	return result;
}

void LearnStatistics(ClientContext &context, LogicalOperator &plan) {
	idx_t leaves = 0;
	vector<reference<ScanBindData>> tables;
	Collect(plan, leaves, tables);
	if (leaves < 2) {
		return;
	}
	std::map<Remote *, vector<reference<ScanBindData>>> unknown;
	{
		set<string> seen;
		std::lock_guard<std::mutex> guard(known_lock);
		for (auto &table : tables) {
			auto &bind = table.get();
			auto key = KeyOf(bind);
			auto entry = known.find(key);
			auto &wanted = unknown[bind.remote.get()];
			if ((entry == known.end() || !IsCurrent(entry->second, bind)) && wanted.size() < TABLES_AT_ONCE &&
			    seen.insert(key).second) {
				wanted.push_back(table);
			}
		}
	}
	for (auto &server : unknown) {
		if (!server.second.empty()) {
			Ask(context, *server.first, server.second);
		}
	}
}

} // namespace openduck
