// settings.cpp - see settings.hpp. The list is closed: a setting belongs here when it changes the result of SQL text.
#include "settings.hpp"

#include "duckdb/main/client_config.hpp"
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
    {"preserve_insertion_order", "true"},
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

namespace {
//! A setting and what of it does not change while the process runs, so that a statement looks at what somebody has set only.
struct Slot {
	const char *name;
	const char *standard;
	optional_idx index; // invalid: another extension's, or one with a way of its own: asked for by name
	bool sent_unset = false;
	string unset; // its text while nobody has set it
};
} // namespace

static bool IsStandard(const Slot &slot, const string &text) {
	return slot.standard && StringUtil::CIEquals(text, slot.standard);
}

static vector<Slot> MakeSlots() {
	vector<Slot> slots;
	for (auto &setting : MIRRORED) {
		Slot slot;
		slot.name = setting.name;
		slot.standard = setting.standard;
		auto option = DBConfig::GetOptionByName(setting.name);
		if (option && !option->get_setting && option->setting_idx.IsValid() && option->default_value) {
			slot.index = option->setting_idx;
			auto type = DBConfig::ParseLogicalType(option->parameter_type);
			slot.unset = Value(option->default_value).DefaultCastAs(type).ToString();
			slot.sent_unset = !IsStandard(slot, slot.unset);
		}
		slots.push_back(std::move(slot));
	}
	return slots;
}

vector<std::pair<string, string>> MirroredSettings(ClientContext &context) {
	static const vector<Slot> SLOTS = MakeSlots();
	vector<std::pair<string, string>> result;
	auto &own = ClientConfig::GetConfig(context).user_settings;
	auto &global = DBConfig::GetConfig(context).user_settings;
	for (auto &slot : SLOTS) {
		Value value;
		bool set = slot.index.IsValid() ? bool(own.TryGetSetting(global, slot.index.GetIndex(), value))
		                                : bool(context.TryGetCurrentSetting(slot.name, value));
		if (!set) {
			if (slot.sent_unset) {
				result.emplace_back(slot.name, slot.unset);
			}
			continue;
		}
		if (value.IsNull()) {
			continue;
		}
		auto text = value.ToString();
		if (!IsStandard(slot, text)) {
			result.emplace_back(slot.name, std::move(text));
		}
	}
	return result;
}

} // namespace openduck
