// settings.cpp - see settings.hpp. The list is closed: a setting belongs here when it changes the result of SQL text.
#include "settings.hpp"

#include "duckdb/main/client_context.hpp"

namespace openduck {

namespace {
struct Mirrored {
	const char *name;
	const char *standard; // DuckDB's default as text
};
} // namespace

static const Mirrored MIRRORED[] = {
    {"TimeZone", nullptr}, // depends on the machine: always sent when it is known
    {"Calendar", "gregorian"},
    {"default_null_order", "NULLS_LAST"},
    {"default_order", "ASCENDING"},
    {"default_collation", ""},
    {"integer_division", "false"},
    {"ieee_floating_point_ops", "true"},
    {"order_by_non_integer_literal", "false"},
    {"scalar_subquery_error_on_multiple_rows", "true"},
    {"old_implicit_casting", "false"},
    {"preserve_identifier_case", "true"},
    {"preserve_insertion_order", "true"},
    {"errors_as_json", nullptr},
    {"enable_macro_dependencies", "false"},
    {"enable_view_dependencies", "false"},
    {"pivot_filter_threshold", "20"},
    {"pivot_limit", "100000"},
    {"disable_timestamptz_casts", "false"},
    {"explain_output", "physical_only"},
    {"merge_join_threshold", "1000"},
    {"nested_loop_join_threshold", "5"},
    {"prefer_range_joins", "false"},
    {"late_materialization_max_rows", "50"},
};

vector<std::pair<string, string>> MirroredSettings(ClientContext &context) {
	vector<std::pair<string, string>> result;
	for (auto &setting : MIRRORED) {
		if (string(setting.name) == "errors_as_json") {
			continue; // errors are made into text on this side
		}
		Value value;
		if (!context.TryGetCurrentSetting(setting.name, value) || value.IsNull()) {
			continue;
		}
		auto text = value.ToString();
		if (setting.standard && StringUtil::CIEquals(text, setting.standard)) {
			continue;
		}
		result.emplace_back(setting.name, std::move(text));
	}
	return result;
}

} // namespace openduck
