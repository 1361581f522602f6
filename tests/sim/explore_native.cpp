// explore_native.cpp - how often a plain DuckDB file does not survive a crash: real workloads are recorded, and the files
// as they may be after a crash are opened by DuckDB. The yardstick of docs/internals/recovery.md.
//
//   explore_native [--seed N] [--transactions N] [--states N]     prints one row of the table per kind of crash
//
// Kinds: the operations in order up to any point; the same with the last write torn at 512 bytes; any subset of the writes
// after a file's last sync, perhaps torn (creating, removing and renaming stay in order, as in a journalling file system).
#include "sim/explore_files.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

namespace {

const size_t SECTOR_BYTES = 512;
enum Kind { PREFIX, TORN, DROPPED, KINDS };
const char *const kind_names[KINDS] = {"in order", "last write torn", "unsynced writes dropped or torn"};

Operation Torn(const Operation &write, sim_random &random) {
	auto torn = write;
	torn.data.resize(SECTOR_BYTES * sim_random_below(&random, torn.data.size() / SECTOR_BYTES + 1));
	return torn;
}

// The files after a crash just before operation `at`.
void StateAt(const std::vector<Operation> &log, size_t at, Kind kind, sim_random &random, model_state &state,
             std::set<uint64_t> &acknowledged) {
	std::map<od_volume_file, size_t> synced; // a file's operations before this index are safe
	for (size_t i = 0; i < at; i++) {
		if (log[i].kind == FileOperation::SYNC)
			synced[log[i].file] = i;
		else if (log[i].kind == FileOperation::RENAME)
			synced[log[i].to] = synced[log[i].file];
	}
	for (size_t i = 0; i < at; i++) {
		const auto &operation = log[i];
		if (operation.kind == FileOperation::ACKNOWLEDGED)
			acknowledged.insert(operation.offset);
		if (kind == DROPPED && operation.kind == FileOperation::WRITE && i >= synced[operation.file]) {
			if (sim_random_chance(&random, 500))
				ApplyOperation(state, sim_random_chance(&random, 300) ? Torn(operation, random) : operation);
			continue;
		}
		ApplyOperation(state, operation);
	}
	if (kind == TORN && at < log.size() && log[at].kind == FileOperation::WRITE)
		ApplyOperation(state, Torn(log[at], random));
}

} // namespace

int main(int count, char **arguments) {
	uint64_t seed = 1, states = 100;
	unsigned transactions = 60;
	for (int i = 1; i + 1 < count; i += 2) {
		const auto value = strtoull(arguments[i + 1], nullptr, 10);
		if (!strcmp(arguments[i], "--seed"))
			seed = value;
		else if (!strcmp(arguments[i], "--states"))
			states = value;
		else if (!strcmp(arguments[i], "--transactions"))
			transactions = (unsigned)value;
	}
	RecordedFiles recorded;
	RunWorkload(recorded, seed, transactions);
	const auto &log = recorded.log;
	printf("seed %llu: %zu file operations\n", (unsigned long long)seed, log.size());
	printf("| crash | states | refused to open | acknowledged commit lost | half a commit |\n|--|--:|--:|--:|--:|\n");
	sim_random random = {seed};
	uint64_t in_order_bad = 0;
	for (int kind = 0; kind < KINDS; kind++) {
		uint64_t results[4] = {0};
		std::string first;
		for (uint64_t n = 0; n < states; n++) {
			size_t at = sim_random_below(&random, log.size() + 1);
			model_state state = {};
			std::set<uint64_t> acknowledged;
			std::string why;
			StateAt(log, at, (Kind)kind, random, state, acknowledged);
			RecordedFiles files(state);
			model_state_release(&state);
			const auto opened = OpenAndCheck(files, acknowledged, why);
			results[(int)opened]++;
			if (opened != Opened::WELL && first.empty())
				first = "before operation " + std::to_string(at) + ": " + why;
		}
		printf("| %s | %llu | %llu | %llu | %llu |\n", kind_names[kind], (unsigned long long)states,
		       (unsigned long long)results[1], (unsigned long long)results[2], (unsigned long long)results[3]);
		if (!first.empty())
			fprintf(stderr, "%s: %s\n", kind_names[kind], first.c_str());
		if (kind == PREFIX)
			in_order_bad = results[2] + results[3];
	}
	return in_order_bad == 0 ? 0 : 1;
}
