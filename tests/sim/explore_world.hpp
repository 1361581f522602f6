// explore_world.hpp - one simulated machine with its stores, and the database "shop" on it, opened as the server would:
// od_store, od_volume, od_engine, real DuckDB. A world can be copied in the middle of anything, and its copy crashed.
#ifndef OD_TESTS_SIM_EXPLORE_WORLD_HPP
#define OD_TESTS_SIM_EXPLORE_WORLD_HPP

#include "engine/engine.h"
#include "sim/model.h"
#include "sim/random.h"
#include "sim/stores.h"
#include "storage/store.h"

#include <pthread.h>
#include <string>

#define EXPLORE_DATABASE "shop"

struct World {
	explicit World(uint64_t seed);
	// A copy of `from`, whose lock is held and stays held until the copy is gone: the two share pages. Crashed as `kind`
	// says.
	World(const World &from, uint64_t seed, sim_crash kind);
	~World();
	World(const World &) = delete;

	// OD_NOT_FOUND: there is no such database yet. `create`: then it is made.
	od_code Open(bool create, od_volume **volume, od_error *err);
	// The power goes; what runs here is closed; the disk keeps what `kind` says.
	void Crash(od_volume *volume, sim_crash kind);
	void CloseStore();

	sim_random random;
	pthread_mutex_t lock;
	sim_host host;
	sim_stores stores;
	sim_object_link objects;
	sim_metadata_link metadata;
	od_store *store = nullptr;
};

// An engine on a volume, and connections to it.
struct Database {
	static const unsigned CONNECTIONS = 4; // three clients, and one for checkpoints

	// False: it does not open, and `why` says why.
	bool Open(od_volume *volume, bool read_only, std::string &why);
	~Database();
	// One statement to its end; its rows, columns separated by "|", or the error.
	od_code Run(unsigned connection, const std::string &sql, std::string *text = nullptr,
	            const std::string &request_id = "");
	bool Remembers(const std::string &request_id); // is the request in the ledger, as the engine sees it?

	od_budget *budget = nullptr;
	od_engine *engine = nullptr;
	od_connection *connections[CONNECTIONS] = {};
};

#endif
