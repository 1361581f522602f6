// explore_storage.cpp - does a database on this storage survive a crash at any moment? A real workload of DuckDB runs on a
// simulated machine; before every call that changes something (a write, a sync, a name, an object, a row) the machine is
// copied, its copies crash in five ways, and are opened again: by the storage against the oracle, and by DuckDB.
//
//   explore_storage [--seed N] [--transactions N] [--crashes N] [--open N] [--again N] [--alone] [--call N]
//
//   --crashes N  how many of the five crashes each call gets (5)
//   --open N     one in N states is opened by DuckDB, besides the first state at each barrier (1: all)
//   --again N    in one in N states the power goes a second time during the recovery (8)
//   --alone      nothing runs beside the clients' statements: the same seed gives the same calls
//   --call N     only the states before call N, all opened
//
// A state is named by seed, call and crash; what its crash keeps follows from the three.
#include "sim/explore_workload.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace {

const char *const crash_names[SIM_CRASHES] = {"process killed", "only what was synced", "in order, last write torn",
                                              "unsynced writes dropped or torn", "any subset of the sectors"};

struct Options {
	WorkloadOptions work = {1, 60, false};
	uint64_t crashes = SIM_CRASHES, open = 1, again = 8, call = 0;
};

struct Count {
	uint64_t states, opened, findings[(int)Finding::FINDINGS];
};

class Explorer {
public:
	explicit Explorer(const Options &options) : options(options), world(options.work.seed), oracle(world) {}

	bool Run() {
		world.host.before_change = [](void *self, const char *what, const char *) {
			static_cast<Explorer *>(self)->Before(what);
		};
		world.host.before_change_context = this;
		RunShop(world, oracle, options.work);
		world.host.before_change = nullptr;
		if (world.host.violation[0])
			fprintf(stderr, "seed %llu: %s\n", (unsigned long long)options.work.seed, world.host.violation);
		return Print() && world.host.violation[0] == '\0';
	}

private:
	// With the world's lock held: everything stands still.
	void Before(const char *what) {
		const auto call = world.host.calls;
		if (options.call && call != options.call)
			return;
		// On a thread of its own, which no statement of the workload has made anything of.
		std::thread([&] {
			for (uint64_t i = 0; i < options.crashes; i++)
				Try(call, (sim_crash)((call + i) % SIM_CRASHES), what);
		}).join();
	}

	void Try(uint64_t call, sim_crash kind, const char *what) {
		std::string why;
		auto &count = counts[kind];
		count.states++;
		const auto finding = Explore((options.work.seed << 32) + call * SIM_CRASHES + kind, kind, count, why);
		count.findings[(int)finding]++;
		if (finding != Finding::WELL && ++printed <= 20)
			fprintf(stderr, "seed %llu, call %llu (%s), crash \"%s\": %s\n", (unsigned long long)options.work.seed,
			        (unsigned long long)call, what, crash_names[kind], why.c_str());
	}

	Finding Explore(uint64_t seed, sim_crash kind, Count &count, std::string &why) {
		World copy(world, seed, kind);
		od_volume *volume = nullptr;
		od_error err = {};
		size_t at = 0;
		if (sim_random_chance(&copy.random, (unsigned)(1000 / options.again)))
			CrashAgain(copy);
		const auto rc = copy.Open(false, &volume, &err);
		if (rc == OD_NOT_FOUND && !oracle.Created())
			return Finding::WELL;
		if (rc != OD_OK) {
			why = err.message;
			return Finding::REFUSED;
		}
		auto finding = Finding::WELL;
		if (oracle.Created() && !oracle.Find(volume, at, why))
			finding = Finding::FILES;
		if (finding == Finding::WELL && at < oracle.durable) {
			why = "recovered to barrier " + std::to_string(at) + ", but " + std::to_string(oracle.durable) +
			      " was durable";
			finding = Finding::LOST_COMMIT;
		}
		if (finding == Finding::WELL && oracle.Created() && !oracle.Same(volume, at, why))
			finding = Finding::FILES;
		if (finding == Finding::WELL)
			finding = CheckSnapshot(copy, why);
		const bool first = seen.insert(at).second;
		if (finding == Finding::WELL && (first || options.call || sim_random_below(&copy.random, options.open) == 0)) {
			count.opened++;
			finding = OpenWithDuckDB(volume, why);
		}
		od_volume_close(volume);
		copy.CloseStore();
		if (finding == Finding::WELL && copy.host.violation[0]) {
			why = copy.host.violation;
			finding = Finding::FILES;
		}
		return finding;
	}

	// The power goes while it is being opened.
	static void CrashAgain(World &copy) {
		od_volume *volume = nullptr;
		od_error err = {};
		copy.host.off_at_call = copy.host.calls + 1 + sim_random_below(&copy.random, 16);
		(void)copy.Open(false, &volume, &err);
		copy.Crash(volume, (sim_crash)sim_random_below(&copy.random, SIM_CRASHES));
	}

	// One of the snapshots that somebody was told of reads as it was.
	Finding CheckSnapshot(World &copy, std::string &why) {
		if (oracle.snapshots.empty())
			return Finding::WELL;
		const auto &snapshot = oracle.snapshots[sim_random_below(&copy.random, oracle.snapshots.size())];
		od_volume *frozen = nullptr;
		od_error err = {};
		if (od_volume_open_at(copy.store, EXPLORE_DATABASE, &snapshot.row.position, &frozen, &err) != OD_OK) {
			why = "snapshot " + std::string(snapshot.row.name) + " does not open: " + err.message;
			return Finding::REFUSED;
		}
		const bool same = oracle.SameFiles(frozen, snapshot.barrier, why);
		od_volume_close(frozen);
		if (!same)
			why = "snapshot " + std::string(snapshot.row.name) + ": " + why;
		return same ? Finding::WELL : Finding::FILES;
	}

	Finding OpenWithDuckDB(od_volume *volume, std::string &why) {
		Database database;
		if (!database.Open(volume, false, why))
			return Finding::REFUSED;
		auto finding = CheckShop(database, volume, oracle.started, oracle.acknowledged, why);
		std::string text;
		if (finding == Finding::WELL &&
		    (database.Run(0, "CREATE TABLE after_it AS SELECT 1 AS i", &text, "after") != OD_OK ||
		     !database.Remembers("after"))) {
			why = "it does not go on: " + text;
			finding = Finding::REFUSED;
		}
		return finding;
	}

	bool Print() const {
		Count all = {};
		printf("seed %llu: %llu calls, %zu barriers, %zu transactions acknowledged, %zu snapshots\n",
		       (unsigned long long)options.work.seed, (unsigned long long)world.host.calls, oracle.barriers.size(),
		       oracle.acknowledged.size(), oracle.snapshots.size());
		printf("| crash | states | opened by DuckDB | refused to open | acknowledged commit lost | half a commit | "
		       "ledger wrong | other bytes |\n|--|--:|--:|--:|--:|--:|--:|--:|\n");
		for (int kind = 0; kind <= SIM_CRASHES; kind++) {
			const auto &count = kind < SIM_CRASHES ? counts[kind] : all;
			printf("| %s | %llu | %llu |", kind < SIM_CRASHES ? crash_names[kind] : "all",
			       (unsigned long long)count.states, (unsigned long long)count.opened);
			for (int finding = 1; finding < (int)Finding::FINDINGS; finding++)
				printf(" %llu |", (unsigned long long)count.findings[finding]);
			printf("\n");
			if (kind == SIM_CRASHES)
				break;
			all.states += count.states;
			all.opened += count.opened;
			for (int finding = 0; finding < (int)Finding::FINDINGS; finding++)
				all.findings[finding] += count.findings[finding];
		}
		return all.states > 0 && all.findings[(int)Finding::WELL] == all.states;
	}

	Options options;
	World world;
	Oracle oracle;
	Count counts[SIM_CRASHES] = {};
	std::set<size_t> seen; // barriers that DuckDB has opened
	unsigned printed = 0;
};

} // namespace

int main(int count, char **arguments) {
	Options options;
	for (int i = 1; i < count; i++) {
		const std::string name = arguments[i];
		const auto value = i + 1 < count ? strtoull(arguments[i + 1], nullptr, 10) : 0;
		if (name == "--alone") {
			options.work.alone = true;
			continue;
		}
		i++;
		if (name == "--seed")
			options.work.seed = value;
		else if (name == "--transactions" && value)
			options.work.transactions = (unsigned)value;
		else if (name == "--crashes" && value && value <= SIM_CRASHES)
			options.crashes = value;
		else if (name == "--open" && value)
			options.open = value;
		else if (name == "--again" && value)
			options.again = value;
		else if (name == "--call" && value)
			options.call = value;
		else {
			fprintf(stderr, "%s: unknown, or its number does not fit; see the head of explore_storage.cpp\n",
			        name.c_str());
			return 2;
		}
	}
	return Explorer(options).Run() ? 0 : 1;
}
