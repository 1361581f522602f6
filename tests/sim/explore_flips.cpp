// explore_flips.cpp - one bit flipped anywhere in what a database of real DuckDB is made of: layers, descriptions and the
// journal in use. Whatever is read afterwards is what was written, or an error that names the file and the place; nothing is
// cut off, no acknowledged request forgotten; other databases go on; and a check of everything (fsck) finds it.
//
//   explore_flips [--seed N] [--flips N] [--region NAME]     N flips in each kind of region (40)
#include "sim/explore_workload.hpp"
#include "sim/regions.h"

#include "storage/fsck.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
#include "sim/disk.h"
}

extern "C" od_code od_volume_watermark(od_volume *volume, od_error *err); // as its thread does when a volume is idle

namespace {

const char *const region_names[SIM_REGIONS] = {"header", "record",  "payload",    "leaves",
                                               "footer", "trailer", "description"};
const size_t REGIONS_MAX = 100000;
const uint64_t GRID_ORIGIN = 12288, BLOCK = 262144;

struct Place {
	bool object;
	std::string name; // key or path
	sim_region region;
};

struct Count {
	uint64_t flips, unchanged, opening, reading, fsck, wrong;
};

class Flips {
public:
	explicit Flips(uint64_t seed) : seed(seed), world(seed), oracle(world), random{seed} {}

	~Flips() {
		database.reset();
		od_volume_close(volume);
	}

	bool Run(uint64_t flips, const std::string &only) {
		Build();
		CollectPlaces();
		printf("seed %llu: %zu barriers, %zu objects\n| region | flips | found when opened | found when read | of no "
		       "consequence | found by fsck | wrong |\n|--|--:|--:|--:|--:|--:|--:|\n",
		       (unsigned long long)seed, oracle.barriers.size(), world.stores.objects.count);
		uint64_t wrong = 0;
		for (int object = 1; object >= 0; object--)
			for (int kind = 0; kind < SIM_REGIONS; kind++)
				if (only.empty() || only == region_names[kind])
					wrong += RunRegion((sim_region_kind)kind, object != 0, flips);
		return wrong == 0;
	}

private:
	void Must(od_code rc, const od_error &err) {
		if (rc != OD_OK)
			throw std::runtime_error(err.message);
	}

	// Layers, snapshots, and a journal in use with a log in it; and another database.
	void Build() {
		od_error err = {};
		std::string why;
		RunShop(world, oracle, {seed, 60, true});
		od_volume *other = nullptr;
		Must(world.Open(false, &volume, &err), err);
		const auto before = world.stores.objects.count;
		Must(od_store_create(world.store, "other", &err), err);
		Must(od_volume_open(world.store, "other", true, &other, &err), err);
		uint64_t lsn;
		Must(od_volume_write(other, OD_VOLUME_WAL, 0, "other", 5, &err), err);
		Must(od_volume_barrier(other, nullptr, &lsn, &err), err);
		od_volume_close(other);
		if (world.stores.objects.count == before)
			throw std::runtime_error("the other database is not published");
		oracle.Watch(volume);
		database = std::make_unique<Database>();
		if (!database->Open(volume, false, why))
			throw std::runtime_error(why);
		for (uint64_t id = 100; id < 104; id++) {
			const Transaction transaction = {id, id % 2 ? Transaction::LOAD : Transaction::SINGLE, 3000};
			oracle.Started(id);
			if (database->Run(0, transaction.Statements()[0], &why, transaction.Request()) != OD_OK)
				throw std::runtime_error(why);
			oracle.Acknowledged(id);
		}
		Must(od_volume_flush(volume, &err), err);
		Must(od_volume_watermark(volume, &err), err);
	}

	void CollectPlaces() {
		std::vector<sim_region> regions(REGIONS_MAX);
		for (size_t i = 0; i < world.stores.objects.count; i++) {
			const auto &blob = world.stores.objects.blobs[i];
			if (!strncmp(blob.key, "epochs/", 7))
				continue; // its name says all: nobody reads the bytes once it was put
			const auto count = sim_regions(&blob.content, true, regions.data(), regions.size());
			for (size_t k = 0; k < count; k++)
				places.push_back({true, blob.key, regions[k]});
		}
		for (size_t i = 0; i < world.host.name_count; i++) {
			sim_bytes content = {};
			const std::string path = world.host.names[i].path;
			(void)sim_host_peek(&world.host, path.c_str(), &content);
			const auto count = sim_regions(&content, false, regions.data(), regions.size());
			for (size_t k = 0; k < count; k++)
				if (regions[k].kind != SIM_REGION_DESCRIPTION) // else it is made ahead, and empty
					places.push_back({false, path, regions[k]});
			sim_bytes_release(&content);
		}
	}

	uint64_t RunRegion(sim_region_kind kind, bool object, uint64_t flips) {
		std::vector<const Place *> chosen;
		Count count = {};
		for (auto &place : places)
			if (place.region.kind == kind && place.object == object)
				chosen.push_back(&place);
		for (uint64_t i = 0; i < flips && !chosen.empty(); i++) {
			const auto &place = *chosen[sim_random_below(&random, chosen.size())];
			const auto offset = place.region.offset + sim_random_below(&random, place.region.bytes);
			Flip(place, offset, (uint8_t)(1u << sim_random_below(&random, 8)), count);
		}
		if (count.flips)
			printf("| %s, %s | %llu | %llu | %llu | %llu | %llu | %llu |\n", object ? "object" : "journal",
			       region_names[kind], (unsigned long long)count.flips, (unsigned long long)count.opening,
			       (unsigned long long)count.reading, (unsigned long long)count.unchanged,
			       (unsigned long long)count.fsck, (unsigned long long)count.wrong);
		fflush(stdout);
		return count.wrong;
	}

	void Flip(const Place &place, uint64_t offset, uint8_t bit, Count &count) {
		std::string wrong;
		count.flips++;
		pthread_mutex_lock(&world.lock);
		{
			World copy(world, seed + count.flips, SIM_CRASH_PROCESS);
			Damage(copy, place, offset, bit);
			if (place.object && Fsck(copy))
				count.fsck++;
			else if (place.object)
				wrong = "fsck does not find it";
			if (wrong.empty())
				Look(copy, place, count, wrong);
		}
		pthread_mutex_unlock(&world.lock);
		if (wrong.empty())
			return;
		count.wrong++;
		fprintf(stderr, "seed %llu: %s, %s at %llu, bit %u: %s\n", (unsigned long long)seed, place.name.c_str(),
		        region_names[place.region.kind], (unsigned long long)offset, bit, wrong.c_str());
	}

	static void Damage(World &copy, const Place &place, uint64_t offset, uint8_t bit) {
		if (!place.object) {
			(void)sim_host_flip(&copy.host, place.name.c_str(), offset, bit);
			return;
		}
		for (size_t i = 0; i < copy.stores.objects.count; i++) {
			auto &blob = copy.stores.objects.blobs[i];
			uint8_t byte;
			if (place.name != blob.key || !sim_bytes_read(&blob.content, offset, &byte, 1))
				continue;
			byte ^= bit;
			sim_bytes_write(&blob.content, offset, &byte, 1);
		}
	}

	static bool Fsck(World &copy) {
		od_fsck fsck = {};
		od_error err = {};
		fsck.platform = &copy.host.platform;
		fsck.objects = &copy.objects.base;
		fsck.metadata = &copy.metadata.base;
		return od_fsck_run(&fsck, &err) == OD_OK && fsck.problems > 0;
	}

	void Look(World &copy, const Place &place, Count &count, std::string &wrong) {
		od_volume *found = nullptr;
		od_error err = {};
		unsigned damaged = 0;
		const auto rc = copy.Open(false, &found, &err);
		if (rc != OD_OK) {
			count.opening++;
			Names(rc, err, place, wrong);
		} else if (od_volume_barrier_lsn(found) != oracle.barriers.back().lsn) {
			wrong = "it was cut to position " + std::to_string(od_volume_barrier_lsn(found));
		} else {
			damaged += Read(found, oracle.barriers.size() - 1, place, wrong);
			CheckLedger(found, wrong);
			if (wrong.empty() && count.flips % 8 == 0)
				LookWithDuckDB(found, wrong);
		}
		od_volume_close(found);
		if (copy.store)
			damaged += LookAtOthers(copy, place, wrong);
		if (rc == OD_OK && damaged)
			count.reading++;
		else if (rc == OD_OK)
			count.unchanged++;
	}

	// The error says which file, and where.
	static void Names(od_code rc, const od_error &err, const Place &place, std::string &wrong) {
		const std::string message = err.message;
		const bool version = rc == OD_UNSUPPORTED && place.region.kind == SIM_REGION_HEADER;
		if ((rc != OD_CORRUPT && !version) || message.find(place.name) == std::string::npos ||
		    (!version && message.find("offset") == std::string::npos))
			wrong = "an error that does not name file and offset: " + message;
	}

	// Block by block: what was written, or an error. Gives the number of errors.
	unsigned Read(od_volume *from, size_t barrier, const Place &place, std::string &wrong) {
		static std::vector<uint8_t> data(BLOCK), expected(BLOCK);
		const auto &state = oracle.barriers[barrier].state;
		unsigned damaged = 0;
		for (int f = 0; f < OD_VOLUME_FILES && wrong.empty(); f++) {
			const auto file = (od_volume_file)f;
			const auto size = od_volume_size(from, file);
			if (od_volume_exists(from, file) != state.exists[f] || size != state.files[f].size)
				wrong = "file " + std::to_string(f) + " has " + std::to_string(size) + " bytes";
			for (uint64_t at = 0; at < size && wrong.empty();) {
				const auto step = at < GRID_ORIGIN ? GRID_ORIGIN : BLOCK;
				const auto part = (size_t)std::min<uint64_t>(step, size - at);
				od_error err = {};
				const auto rc = od_volume_read(from, file, at, data.data(), part, &err);
				if (rc != OD_OK) {
					damaged++;
					Names(rc, err, place, wrong);
				} else if (!sim_bytes_read(&state.files[f], at, expected.data(), part) ||
				           memcmp(data.data(), expected.data(), part) != 0) {
					wrong = "file " + std::to_string(f) + " reads other bytes at about " + std::to_string(at);
				}
				at += part;
			}
		}
		return damaged;
	}

	void CheckLedger(od_volume *found, std::string &wrong) {
		for (auto &barrier : oracle.barriers) {
			od_ledger_entry entry;
			if (!barrier.request.empty() && wrong.empty() &&
			    (!od_volume_ledger_find(found, barrier.request.c_str(), &entry) ||
			     entry.changed_rows != barrier.changed_rows))
				wrong = "request " + barrier.request + " is forgotten";
		}
	}

	void LookWithDuckDB(od_volume *found, std::string &wrong) {
		Database other;
		std::string why;
		auto finding = Finding::REFUSED;
		if (other.Open(found, false, why))
			finding = CheckShop(other, found, oracle.started, oracle.acknowledged, why);
		if (finding != Finding::WELL && (finding != Finding::REFUSED || why.find("offset") == std::string::npos))
			wrong = "DuckDB: " + why;
	}

	// Snapshots, and the other database.
	unsigned LookAtOthers(World &copy, const Place &place, std::string &wrong) {
		unsigned damaged = 0;
		for (auto &snapshot : oracle.snapshots) {
			od_volume *frozen = nullptr;
			od_error err = {};
			const auto rc = od_volume_open_at(copy.store, EXPLORE_DATABASE, &snapshot.row.position, &frozen, &err);
			if (rc == OD_OK)
				damaged += Read(frozen, snapshot.barrier, place, wrong);
			else
				Names(rc, err, place, wrong);
			damaged += rc != OD_OK;
			od_volume_close(frozen);
		}
		od_volume *other = nullptr;
		od_error err = {};
		char text[5];
		const auto rc = od_volume_open(copy.store, "other", true, &other, &err);
		if (rc != OD_OK || od_volume_read(other, OD_VOLUME_WAL, 0, text, sizeof text, &err) != OD_OK) {
			damaged++; // its own object, or it is wrong
			Names(err.code, err, place, wrong);
		} else if (memcmp(text, "other", sizeof text) != 0) {
			wrong = "the other database reads other bytes";
		}
		od_volume_close(other);
		return damaged;
	}

	const uint64_t seed;
	World world;
	Oracle oracle;
	sim_random random;
	od_volume *volume = nullptr;
	std::unique_ptr<Database> database;
	std::vector<Place> places;
};

} // namespace

int main(int count, char **arguments) {
	uint64_t seed = 1, flips = 40;
	std::string region;
	for (int i = 1; i + 1 < count; i += 2) {
		const std::string name = arguments[i];
		if (name == "--seed")
			seed = strtoull(arguments[i + 1], nullptr, 10);
		else if (name == "--flips")
			flips = strtoull(arguments[i + 1], nullptr, 10);
		else if (name == "--region")
			region = arguments[i + 1];
	}
	return Flips(seed).Run(flips, region) ? 0 : 1;
}
