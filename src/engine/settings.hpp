// settings.hpp - settings that hold for one statement.
#ifndef OD_ENGINE_SETTINGS_HPP
#define OD_ENGINE_SETTINGS_HPP

#include "engine/engine_internal.hpp"

namespace openduck {

//! Applies a request's settings and takes them back when it goes. Equal values are not touched.
class SettingsScope {
public:
	SettingsScope(duckdb::ClientContext &context, const struct od_setting *settings, size_t count);
	~SettingsScope();
	//! The statement itself may have changed a setting for the session: what it set stays.
	void Forget(const std::string &name);

private:
	struct Saved {
		std::string name;
		bool was_set = false; // by the session, else the value came from the server
		duckdb::Value value;
		duckdb::vector<duckdb::CatalogSearchEntry> path; // schema and search_path
	};
	void Apply(const std::string &name, const std::string &value);
	void Restore(const Saved &saved) noexcept;

	duckdb::ClientContext &context;
	duckdb::vector<Saved> saved;
};

} // namespace openduck

#endif
