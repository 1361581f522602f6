// explore_files.hpp - DuckDB on files that remember every operation, and what a database opened from such files holds.
#ifndef OD_TESTS_SIM_EXPLORE_FILES_HPP
#define OD_TESTS_SIM_EXPLORE_FILES_HPP

#include "sim/model.h"
#include "sim/random.h"

#include <mutex>
#include <set>
#include <string>
#include <vector>

enum class FileOperation { CREATE, WRITE, TRUNCATE, REMOVE, RENAME, SYNC, ACKNOWLEDGED };

struct Operation {
	FileOperation kind;
	od_volume_file file;
	od_volume_file to; // of a rename
	uint64_t offset;   // of a write; the size of a truncation; the number of an acknowledged transaction
	std::string data;
};

// The four files of a database in memory. Threads: all functions.
class RecordedFiles {
public:
	RecordedFiles() = default;
	explicit RecordedFiles(const model_state &state); // starts with a copy, and records all the same
	~RecordedFiles();
	RecordedFiles(const RecordedFiles &) = delete;

	void Do(Operation operation); // applies and records
	bool Exists(od_volume_file file);
	uint64_t Size(od_volume_file file);
	bool Read(od_volume_file file, uint64_t offset, void *out, size_t bytes);

	std::vector<Operation> log;

private:
	std::mutex lock;
	model_state state = {};
};

void ApplyOperation(model_state &state, const Operation &operation);

// Random DDL, inserts, bulk loads, updates and checkpoints, from two connections at once; each transaction writes its
// number and what it did into d.commits.
void RunWorkload(RecordedFiles &files, uint64_t seed, unsigned transactions);

enum class Opened { WELL, REFUSED, LOST_COMMIT, HALF_COMMIT };
// Opens the files with DuckDB and compares them with what was acknowledged. `why` says what is wrong.
Opened OpenAndCheck(RecordedFiles &files, const std::set<uint64_t> &acknowledged, std::string &why);

#endif
