// explore_oracle.cpp - see explore_oracle.hpp. The functions __wrap_X stand in for the calls of X that cross a library's
// border; __real_X is the volume's.
#include "sim/explore_oracle.hpp"

#include <algorithm>
#include <cstring>

static Oracle *oracle;

namespace {

struct Locked {
	explicit Locked(World &world) : world(world) {
		pthread_mutex_lock(&world.lock);
	}
	~Locked() {
		pthread_mutex_unlock(&world.lock);
	}
	World &world;
};

// Does `change` under the world's lock, then calls the volume (O1).
template <class Change, class Call>
od_code Recorded(od_volume *volume, Change change, Call call) {
	if (!oracle || oracle->watched != volume)
		return call();
	std::lock_guard<std::mutex> hold(oracle->order);
	{
		Locked locked(oracle->world);
		change(oracle->now);
	}
	return call();
}

} // namespace

extern "C" {
od_code __real_od_volume_create(od_volume *volume, od_volume_file file, od_error *err);
od_code __real_od_volume_write(od_volume *volume, od_volume_file file, uint64_t offset, const void *data, size_t bytes,
                               od_error *err);
od_code __real_od_volume_truncate(od_volume *volume, od_volume_file file, uint64_t bytes, od_error *err);
od_code __real_od_volume_trim(od_volume *volume, od_volume_file file, uint64_t offset, uint64_t bytes, od_error *err);
od_code __real_od_volume_remove(od_volume *volume, od_volume_file file, od_error *err);
od_code __real_od_volume_rename(od_volume *volume, od_volume_file from, od_volume_file to, od_error *err);
od_code __real_od_volume_barrier(od_volume *volume, const od_ledger_entry *entry, uint64_t *lsn, od_error *err);
od_code __real_od_volume_wait_durable(od_volume *volume, uint64_t lsn, od_error *err);

od_code __wrap_od_volume_create(od_volume *volume, od_volume_file file, od_error *err) {
	return Recorded(
	    volume, [&](model_state &now) { now.exists[file] = true; },
	    [&] { return __real_od_volume_create(volume, file, err); });
}

od_code __wrap_od_volume_write(od_volume *volume, od_volume_file file, uint64_t offset, const void *data, size_t bytes,
                               od_error *err) {
	return Recorded(
	    volume, [&](model_state &now) { model_write(&now, file, offset, data, bytes); },
	    [&] { return __real_od_volume_write(volume, file, offset, data, bytes, err); });
}

od_code __wrap_od_volume_truncate(od_volume *volume, od_volume_file file, uint64_t bytes, od_error *err) {
	return Recorded(
	    volume, [&](model_state &now) { model_truncate(&now, file, bytes); },
	    [&] { return __real_od_volume_truncate(volume, file, bytes, err); });
}

od_code __wrap_od_volume_trim(od_volume *volume, od_volume_file file, uint64_t offset, uint64_t bytes, od_error *err) {
	return Recorded(
	    volume, [&](model_state &now) { model_trim(&now, offset, bytes); },
	    [&] { return __real_od_volume_trim(volume, file, offset, bytes, err); });
}

od_code __wrap_od_volume_remove(od_volume *volume, od_volume_file file, od_error *err) {
	return Recorded(
	    volume, [&](model_state &now) { model_remove(&now, file); },
	    [&] { return __real_od_volume_remove(volume, file, err); });
}

od_code __wrap_od_volume_rename(od_volume *volume, od_volume_file from, od_volume_file to, od_error *err) {
	return Recorded(
	    volume, [&](model_state &now) { model_rename(&now, from, to); },
	    [&] { return __real_od_volume_rename(volume, from, to, err); });
}

od_code __wrap_od_volume_barrier(od_volume *volume, const od_ledger_entry *entry, uint64_t *lsn, od_error *err) {
	if (!oracle || oracle->watched != volume)
		return __real_od_volume_barrier(volume, entry, lsn, err);
	std::lock_guard<std::mutex> hold(oracle->order);
	{
		Locked locked(oracle->world);
		oracle->barriers.push_back({PENDING, entry ? entry->request_id : "", entry ? entry->changed_rows : 0, {}});
		model_state_copy(&oracle->barriers.back().state, &oracle->now);
	}
	const od_code rc = __real_od_volume_barrier(volume, entry, lsn, err);
	Locked locked(oracle->world);
	if (rc == OD_OK)
		oracle->barriers.back().lsn = *lsn;
	return rc;
}

od_code __wrap_od_volume_wait_durable(od_volume *volume, uint64_t lsn, od_error *err) {
	const od_code rc = __real_od_volume_wait_durable(volume, lsn, err);
	if (oracle && oracle->watched == volume && rc == OD_OK) {
		Locked locked(oracle->world);
		for (size_t i = oracle->durable; i < oracle->barriers.size(); i++)
			if (oracle->barriers[i].lsn <= lsn)
				oracle->durable = i;
	}
	return rc;
}
}

Oracle::Oracle(World &world) : world(world) {
	oracle = this;
}

Oracle::~Oracle() {
	oracle = nullptr;
	for (auto &barrier : barriers)
		model_state_release(&barrier.state);
	model_state_release(&now);
}

void Oracle::Watch(od_volume *volume) {
	const uint64_t lsn = volume ? od_volume_barrier_lsn(volume) : 0;
	Locked locked(world);
	watched = volume;
	if (volume && barriers.empty()) {
		barriers.push_back({lsn, "", 0, {}});
		model_state_copy(&barriers.back().state, &now);
	}
}

void Oracle::Started(uint64_t id) {
	Locked locked(world);
	started.insert(id);
}

void Oracle::Acknowledged(uint64_t id) {
	Locked locked(world);
	acknowledged.insert(id);
}

void Oracle::Denied(uint64_t id) {
	Locked locked(world);
	started.erase(id);
}

void Oracle::SnapshotMade(const od_meta_snapshot &row) {
	Locked locked(world);
	for (size_t i = 0; i < barriers.size(); i++)
		if (barriers[i].lsn == row.position.lsn) {
			snapshots.push_back({row, i});
			durable = std::max(durable, i);
			return;
		}
	throw std::runtime_error("snapshot " + std::string(row.name) + " is at no barrier");
}

bool Oracle::Created() const {
	return !barriers.empty();
}

bool Oracle::Find(od_volume *volume, size_t &index, std::string &why) const {
	const auto lsn = od_volume_barrier_lsn(volume);
	for (size_t i = barriers.size(); i > 0; i--) {
		const auto &barrier = barriers[i - 1];
		if (barrier.lsn == lsn || (barrier.lsn == PENDING && i > 1 && lsn > barriers[i - 2].lsn)) {
			index = i - 1;
			return true;
		}
	}
	why = "it was recovered to position " + std::to_string(lsn) + ", where there is no barrier";
	return false;
}

bool Oracle::Same(od_volume *volume, size_t index, std::string &why) const {
	for (size_t i = 0; i < barriers.size(); i++) {
		od_ledger_entry entry;
		if (barriers[i].request.empty())
			continue;
		const bool found = od_volume_ledger_find(volume, barriers[i].request.c_str(), &entry);
		if (found != (i <= index) || (found && entry.changed_rows != barriers[i].changed_rows)) {
			why = "request " + barriers[i].request + " of barrier " + std::to_string(i) + " is" +
			      (found ? "" : " not") + " in the ledger at barrier " + std::to_string(index);
			return false;
		}
	}
	return SameFiles(volume, index, why);
}

bool Oracle::SameFiles(od_volume *volume, size_t index, std::string &why) const {
	static thread_local std::vector<uint8_t> found(1u << 18), expected(1u << 18);
	const auto &state = barriers[index].state;
	for (int f = 0; f < OD_VOLUME_FILES; f++) {
		const auto file = (od_volume_file)f;
		const auto size = od_volume_size(volume, file);
		const auto what = "file " + std::to_string(f) + " at barrier " + std::to_string(index) + " ";
		if (od_volume_exists(volume, file) != state.exists[f] || size != state.files[f].size) {
			why = what + "has " + std::to_string(size) + " bytes instead of " + std::to_string(state.files[f].size);
			return false;
		}
		for (uint64_t at = 0; at < size; at += found.size()) {
			const auto part = (size_t)std::min<uint64_t>(found.size(), size - at);
			od_error err = {};
			if (od_volume_read(volume, file, at, found.data(), part, &err) != OD_OK) {
				why = what + "does not read: " + err.message;
				return false;
			}
			if (!sim_bytes_read(&state.files[f], at, expected.data(), part) ||
			    memcmp(found.data(), expected.data(), part) != 0) {
				why = what + "differs at about " + std::to_string(at);
				return false;
			}
		}
	}
	return true;
}
