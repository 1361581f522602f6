// explore_oracle.hpp - what a database must be after a crash: its four files at each barrier, told by the calls that the
// engine makes (the linker sends them through here, --wrap), and what the clients were told.
//
//   O1  A change is in the oracle before the volume is called, in the order of the calls: one at a time.
//   O2  A barrier is in the oracle before the volume is called; its position is filled in afterwards.
//   O3  Everything here changes under the world's lock, so that whoever holds that sees one moment.
#ifndef OD_TESTS_SIM_EXPLORE_ORACLE_HPP
#define OD_TESTS_SIM_EXPLORE_ORACLE_HPP

#include "sim/explore_world.hpp"

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

const uint64_t PENDING = UINT64_MAX;

struct Barrier {
	uint64_t lsn; // PENDING: the call has not returned
	std::string request;
	uint64_t changed_rows;
	model_state state;
};

struct Snapshot {
	od_meta_snapshot row;
	size_t barrier;
};

class Oracle {
public:
	explicit Oracle(World &world);
	~Oracle();
	Oracle(const Oracle &) = delete;

	// Barriers of this volume count from now on; nullptr: of none.
	void Watch(od_volume *volume);
	void Started(uint64_t id);      // its request may commit from now on
	void Acknowledged(uint64_t id); // somebody was told that it committed
	void Denied(uint64_t id);       // somebody was told that it did not
	void SnapshotMade(const od_meta_snapshot &row);
	bool Created() const; // was the database's first opening acknowledged?
	// The barrier that a recovered volume is at; false: there is none at this position.
	bool Find(od_volume *volume, size_t &index, std::string &why) const;
	// Are files and ledger those of that barrier?
	bool Same(od_volume *volume, size_t index, std::string &why) const;
	bool SameFiles(od_volume *volume, size_t index, std::string &why) const;

	World &world;
	std::vector<Barrier> barriers;
	size_t durable = 0; // the last that anybody was told is durable
	std::set<uint64_t> started, acknowledged;
	std::vector<Snapshot> snapshots;

	// ---- for the wrapped calls
	od_volume *watched = nullptr;
	model_state now = {};
	std::mutex order;
};

#endif
