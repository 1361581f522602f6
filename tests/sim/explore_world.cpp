// explore_world.cpp - see explore_world.hpp.
#include "sim/explore_world.hpp"

#include "unit/engine/engine_support.h"

#include <cstdlib>

static const uint64_t SEAL_BYTES = 4u << 20;

static void Link(World &world) {
	sim_object_link_init(&world.objects, &world.stores.objects, &world.host);
	sim_metadata_link_init(&world.metadata, &world.stores.metadata, &world.host);
}

World::World(uint64_t seed) : random{seed} {
	pthread_mutex_init(&lock, nullptr);
	sim_host_init(&host, "north", &random, &lock);
	sim_stores_init(&stores);
	Link(*this);
}

World::World(const World &from, uint64_t seed, sim_crash kind) : random{seed} {
	pthread_mutex_init(&lock, nullptr);
	sim_host_copy(&host, &from.host, &random, &lock);
	sim_stores_copy(&stores, &from.stores);
	Link(*this);
	sim_host_crash(&host, kind);
}

World::~World() {
	CloseStore();
	sim_host_release(&host);
	sim_stores_release(&stores);
	pthread_mutex_destroy(&lock);
}

void World::CloseStore() {
	if (store)
		od_store_close(store);
	store = nullptr;
}

od_code World::Open(bool create, od_volume **volume, od_error *err) {
	od_store_options options = {};
	options.platform = &host.platform;
	options.objects = &objects.base;
	options.metadata = &metadata.base;
	options.journal_directory = "/data/journals";
	options.owner = "north";
	options.seal_bytes = SEAL_BYTES;
	od_code rc = store ? OD_OK : od_store_open(&options, &store, err);
	if (rc == OD_OK)
		rc = od_volume_open(store, EXPLORE_DATABASE, true, volume, err);
	if (rc == OD_NOT_FOUND && create) {
		rc = od_store_create(store, EXPLORE_DATABASE, err);
		if (rc == OD_OK)
			rc = od_volume_open(store, EXPLORE_DATABASE, true, volume, err);
	}
	return rc;
}

void World::Crash(od_volume *volume, sim_crash kind) {
	host.off = true;
	od_volume_close(volume);
	CloseStore();
	sim_host_crash(&host, kind);
}

bool Database::Open(od_volume *volume, bool read_only, std::string &why) {
	od_engine_options options = {};
	od_error err = {};
	budget = od_budget_new(512ull << 20, 2ull << 20);
	options.name = EXPLORE_DATABASE;
	options.volume = volume;
	options.read_only = read_only;
	options.threads = 1;
	options.external_access = true; // settings are open to the workload
	options.budget = budget;
	od_code rc = od_engine_open(&options, &engine, &err);
	for (auto &connection : connections)
		if (rc == OD_OK)
			rc = od_connection_open(engine, &connection, &err);
	if (rc != OD_OK)
		why = err.message;
	return rc == OD_OK;
}

Database::~Database() {
	for (auto connection : connections)
		if (connection)
			od_connection_close(connection);
	if (engine)
		od_engine_close(engine);
	od_budget_free(budget);
}

static od_code RunStatement(Database &database, unsigned connection, const od_statement &statement, std::string *text) {
	od_fixture fixture = {};
	fixture.budget = database.budget;
	char *out = nullptr;
	const od_code rc = od_run_outcome(&fixture, database.connections[connection], &statement, &out);
	if (text)
		*text = out;
	free(out);
	return rc;
}

od_code Database::Run(unsigned connection, const std::string &sql, std::string *text, const std::string &request_id) {
	od_statement statement = {};
	statement.request_id = request_id.empty() ? nullptr : request_id.c_str();
	statement.sql = sql.data();
	statement.sql_bytes = sql.size();
	return RunStatement(*this, connection, statement, text);
}

bool Database::Remembers(const std::string &request_id) {
	od_statement statement = {};
	statement.request_id = request_id.c_str();
	statement.remembered_only = true;
	statement.sql = "COMMIT";
	statement.sql_bytes = 6;
	return RunStatement(*this, 0, statement, nullptr) != OD_NOT_FOUND;
}
