// state.cpp - see state.hpp.
#include "state.hpp"

#include "duckdb/common/types/uuid.hpp"
#include "duckdb/main/client_config.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/settings.hpp"

namespace openduck {

static constexpr const char *STATE_KEY = "openduck";

shared_ptr<OdContextState> OdContextState::Get(ClientContext &context) {
	return context.registered_state->GetOrCreate<OdContextState>(STATE_KEY);
}

shared_ptr<OdContextState> OdContextState::Find(ClientContext &context) {
	return context.registered_state->Get<OdContextState>(STATE_KEY);
}

void OdContextState::RaiseJoinKeys(ClientContext &context, idx_t keys) {
	auto index = DynamicOrFilterThresholdSetting::SettingIndex;
	auto &settings = ClientConfig::GetConfig(context).user_settings;
	if (raised_keys || settings.IsSet(index) ||
	    Settings::Get<DynamicOrFilterThresholdSetting>(context) !=
	        Value(DynamicOrFilterThresholdSetting::DefaultValue).DefaultCastAs(LogicalType::UBIGINT).GetValue<idx_t>()) {
		return;
	}
	settings.SetUserSetting(index, Value::UBIGINT(keys));
	raised_keys = true;
}

void OdContextState::RestoreJoinKeys(ClientContext &context) {
	if (raised_keys) {
		ClientConfig::GetConfig(context).user_settings.ClearSetting(DynamicOrFilterThresholdSetting::SettingIndex);
		raised_keys = false;
	}
}

void OdContextState::QueryBegin(ClientContext &context) {
	RestoreJoinKeys(context); // a statement that was only prepared has no end
	ship = PendingShip();
	std::lock_guard<std::mutex> guard(lock);
	missed.clear();
	group.clear();
}

void OdContextState::QueryEnd(ClientContext &context) {
	RestoreJoinKeys(context);
	ship = PendingShip();
}

void OdContextState::Missed(OdCatalog &catalog, const CatalogSnapshot &snapshot) {
	std::lock_guard<std::mutex> guard(lock);
	missed.emplace(catalog.GetName(), snapshot.number);
}

RebindQueryInfo OdContextState::OnPlanningError(ClientContext &context, SQLStatement &statement, ErrorData &error) {
	case_insensitive_map_t<idx_t> ask;
	{
		std::lock_guard<std::mutex> guard(lock);
		ask = std::move(missed);
		missed.clear();
	}
	ship = PendingShip();
	auto result = RebindQueryInfo::DO_NOT_REBIND;
	if (error.Type() == ExceptionType::IO) {
		return result; // a lost session, say: no definition is to blame, and it is to be told
	}
	for (auto &looked : ask) {
		try {
			auto entry = Catalog::GetCatalogEntry(context, looked.first);
			auto catalog = entry ? OdCatalog::From(*entry) : nullptr;
			// Making the error's text may have read a newer catalog already.
			if (catalog && (catalog->Refresh(context) || catalog->Snapshot(context, false)->number != looked.second)) {
				result = RebindQueryInfo::ATTEMPT_TO_REBIND;
			}
		} catch (std::exception &) {
			continue; // the first error is the one to show
		}
	}
	return result;
}

bool OdContextState::IsSessionKept(OdCatalog &catalog) {
	std::lock_guard<std::mutex> guard(lock);
	auto entry = sessions.find(catalog.GetOid());
	return entry != sessions.end() && entry->second->has_state;
}

shared_ptr<RemoteSession> OdContextState::Session(OdCatalog &catalog) {
	std::lock_guard<std::mutex> guard(lock);
	auto &session = sessions[catalog.GetOid()];
	if (!session) {
		session = make_shared_ptr<RemoteSession>(catalog.GetRemote());
	}
	return session;
}

void OdContextState::DropSession(OdCatalog &catalog) {
	shared_ptr<RemoteSession> last; // closed outside the lock: that is a round trip
	std::lock_guard<std::mutex> guard(lock);
	auto entry = sessions.find(catalog.GetOid());
	if (entry != sessions.end()) {
		last = std::move(entry->second);
		sessions.erase(entry);
	}
}

string OdContextState::GroupName(ClientContext &context) {
	std::lock_guard<std::mutex> guard(lock);
	if (group.empty()) {
		group = UUID::ToString(UUID::GenerateRandomUUID());
	}
	return group;
}

} // namespace openduck
