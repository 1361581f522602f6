// settings.cpp - settings that hold for one statement.
//
// They go around SQL's SET: that would cost a statement each, and the configuration may be locked. Only the settings
// that policy.cpp lists can be given, each in session scope.
#include "duckdb/catalog/catalog_search_path.hpp"

#include "engine/settings.hpp"

#include "duckdb/main/client_data.hpp"

using namespace duckdb;

namespace openduck {

namespace {

bool IsPath(const std::string &name) {
	return StringUtil::CIEquals(name, "search_path") || StringUtil::CIEquals(name, "schema");
}

//! The one way to a setting, whether DuckDB's own or of a built-in extension (TimeZone).
struct Setting {
	Setting(ClientContext &context_p, const std::string &name) : context(context_p) {
		option = DBConfig::GetOptionByName(name);
		if (option) {
			if (!option->default_value) {
				Fail(OD_INVALID, "setting \"%s\" cannot be given with a statement", name.c_str());
			}
			index = option->setting_idx.GetIndex();
			type = DBConfig::ParseLogicalType(option->parameter_type);
		} else if (DBConfig::GetConfig(context).TryGetExtensionOption(name, extension)) {
			index = extension.setting_index.GetIndex();
			type = extension.type;
		} else {
			Fail(OD_INVALID, "setting \"%s\" does not exist", name.c_str());
		}
	}

	void Set(Value value, bool clear) {
		if (option && option->set_callback) {
			InTransaction([&] {
				SettingCallbackInfo info(context, SetScope::SESSION);
				option->set_callback(info, value);
			});
		} else if (!option && extension.set_function) {
			extension.set_function(context, SetScope::SESSION, value);
		}
		auto &user_settings = ClientConfig::GetConfig(context).user_settings;
		if (clear) {
			user_settings.ClearSetting(index);
		} else {
			user_settings.SetUserSetting(index, std::move(value));
		}
	}

	// Some look into the catalog (default_collation). An open transaction is used as it is: a bad value must not abort it.
	template <class BODY>
	void InTransaction(BODY &&body) {
		if (context.transaction.HasActiveTransaction()) {
			body();
		} else {
			context.RunFunctionInTransaction(body);
		}
	}

	ClientContext &context;
	optional_ptr<const ConfigurationOption> option;
	ExtensionOption extension;
	idx_t index = 0;
	LogicalType type;
};

} // namespace

SettingsScope::SettingsScope(ClientContext &context_p, const struct od_setting *settings, size_t count)
    : context(context_p) {
	if (count == 0) {
		return;
	}
	try {
		for (size_t i = 0; i < count; i++) {
			std::string name = settings[i].name ? settings[i].name : "";
			if (!SessionSettingAllowed(name)) {
				Fail(OD_INVALID, "setting \"%s\" cannot be given with a statement", name.c_str());
			}
			Apply(name, settings[i].value ? settings[i].value : "");
		}
	} catch (...) {
		for (auto entry = saved.rbegin(); entry != saved.rend(); ++entry) {
			Restore(*entry);
		}
		throw;
	}
}

SettingsScope::~SettingsScope() {
	for (auto entry = saved.rbegin(); entry != saved.rend(); ++entry) {
		Restore(*entry);
	}
}

void SettingsScope::Forget(const std::string &name) {
	for (idx_t i = saved.size(); i > 0; i--) {
		if (StringUtil::CIEquals(saved[i - 1].name, name) || (IsPath(name) && IsPath(saved[i - 1].name))) {
			saved.erase_at(i - 1);
		}
	}
}

void SettingsScope::Apply(const std::string &name, const std::string &text) {
	Saved entry;
	entry.name = name;
	if (IsPath(name)) {
		auto &path = *ClientData::Get(context).catalog_search_path;
		entry.path = path.GetSetPaths();
		if (CatalogSearchEntry::ListToString(entry.path) == text) {
			return;
		}
		auto entries = CatalogSearchEntry::ParseList(text);
		auto kind =
		    StringUtil::CIEquals(name, "schema") ? CatalogSetPathType::SET_SCHEMA : CatalogSetPathType::SET_SCHEMAS;
		context.RunFunctionInTransaction([&] { path.Set(std::move(entries), kind); }, false);
		saved.push_back(std::move(entry));
		return;
	}
	Setting setting(context, name);
	auto &global = DBConfig::GetConfig(context).user_settings;
	Value current;
	auto found = ClientConfig::GetConfig(context).user_settings.TryGetSetting(global, setting.index, current);
	entry.was_set = found && found.GetScope() == SettingScope::LOCAL;
	if (!found) {
		current = setting.option ? Value(setting.option->default_value).DefaultCastAs(setting.type)
		                         : setting.extension.default_value;
	}
	Value value = Value(text).DefaultCastAs(setting.type);
	if (Value::NotDistinctFrom(current, value)) {
		return;
	}
	entry.value = std::move(current);
	setting.Set(std::move(value), false);
	saved.push_back(std::move(entry));
}

void SettingsScope::Restore(const Saved &entry) noexcept {
	(void)Guarded(nullptr, [&] {
		if (IsPath(entry.name)) {
			ClientData::Get(context).catalog_search_path->Set(entry.path, CatalogSetPathType::SET_DIRECTLY);
			return;
		}
		Setting(context, entry.name).Set(entry.value, !entry.was_set);
	});
}

} // namespace openduck
