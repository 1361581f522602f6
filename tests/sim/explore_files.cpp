// explore_files.cpp - a FileSystem of DuckDB in front of RecordedFiles, the workload, and the check after opening.
#include "sim/explore_files.hpp"

#include "duckdb.hpp"
#include "duckdb/common/file_system.hpp"
#include "duckdb/common/virtual_file_system.hpp"

#include <atomic>
#include <cstring>
#include <thread>

using duckdb::Connection;
using duckdb::FileHandle;
using duckdb::FileOpener;
using duckdb::FileOpenFlags;
using duckdb::idx_t;
using duckdb::optional_ptr;
using duckdb::string;
using duckdb::unique_ptr;

static const string SCHEME = "explore://";

RecordedFiles::RecordedFiles(const model_state &from) {
	model_state_copy(&state, &from);
}

RecordedFiles::~RecordedFiles() {
	model_state_release(&state);
}

void ApplyOperation(model_state &state, const Operation &operation) {
	switch (operation.kind) {
	case FileOperation::CREATE:
		state.exists[operation.file] = true;
		break;
	case FileOperation::WRITE:
		model_write(&state, operation.file, operation.offset, operation.data.data(), operation.data.size());
		break;
	case FileOperation::TRUNCATE:
		model_truncate(&state, operation.file, operation.offset);
		break;
	case FileOperation::REMOVE:
		model_remove(&state, operation.file);
		break;
	case FileOperation::RENAME:
		model_rename(&state, operation.file, operation.to);
		break;
	default:
		break;
	}
}

void RecordedFiles::Do(Operation operation) {
	std::lock_guard<std::mutex> hold(lock);
	ApplyOperation(state, operation);
	log.push_back(std::move(operation));
}

bool RecordedFiles::Exists(od_volume_file file) {
	std::lock_guard<std::mutex> hold(lock);
	return state.exists[file];
}

uint64_t RecordedFiles::Size(od_volume_file file) {
	std::lock_guard<std::mutex> hold(lock);
	return state.files[file].size;
}

bool RecordedFiles::Read(od_volume_file file, uint64_t offset, void *out, size_t bytes) {
	std::lock_guard<std::mutex> hold(lock);
	return sim_bytes_read(&state.files[file], offset, out, bytes);
}

namespace {

struct ExploreHandle : FileHandle {
	ExploreHandle(duckdb::FileSystem &system, const string &path, FileOpenFlags flags, od_volume_file file)
	    : FileHandle(system, path, flags), file(file) {}
	void Close() override {}
	od_volume_file file;
	idx_t position = 0;
};

class ExploreFileSystem : public duckdb::FileSystem {
public:
	explicit ExploreFileSystem(RecordedFiles &files) : files(files) {}

	static od_volume_file FileOf(const string &path) {
		auto ends = [&](const char *suffix) {
			return path.size() >= strlen(suffix) &&
			       path.compare(path.size() - strlen(suffix), string::npos, suffix) == 0;
		};
		if (ends(".wal"))
			return OD_VOLUME_WAL;
		if (ends(".wal.checkpoint"))
			return OD_VOLUME_WAL_CHECKPOINT;
		if (ends(".wal.recovery"))
			return OD_VOLUME_WAL_RECOVERY;
		return OD_VOLUME_DATABASE;
	}
	static ExploreHandle &Of(FileHandle &handle) {
		return static_cast<ExploreHandle &>(handle);
	}

	bool CanHandleFile(const string &path) override {
		return path.rfind(SCHEME, 0) == 0;
	}
	string GetName() const override {
		return "explore";
	}
	string CanonicalizePath(const string &path, optional_ptr<FileOpener> opener = nullptr) override {
		return path;
	}
	unique_ptr<FileHandle> OpenFile(const string &path, FileOpenFlags flags, optional_ptr<FileOpener> opener) override {
		auto file = FileOf(path);
		if (!files.Exists(file)) {
			if (!flags.OpenForWriting() || !(flags.CreateFileIfNotExists() || flags.OverwriteExistingFile())) {
				if (flags.ReturnNullIfNotExists())
					return nullptr;
				throw duckdb::IOException("%s does not exist", path);
			}
			files.Do({FileOperation::CREATE, file, file, 0, ""});
		} else if (flags.OpenForWriting() && flags.OverwriteExistingFile()) {
			files.Do({FileOperation::TRUNCATE, file, file, 0, ""});
		}
		auto handle = duckdb::make_uniq<ExploreHandle>(*this, path, flags, file);
		if (flags.OpenForAppending())
			handle->position = files.Size(file);
		return std::move(handle);
	}
	void Read(FileHandle &handle, void *out, int64_t bytes, idx_t offset) override {
		if (!files.Read(Of(handle).file, offset, out, (size_t)bytes))
			throw duckdb::IOException("%s ends before %llu", handle.path, offset + (idx_t)bytes);
	}
	int64_t Read(FileHandle &handle, void *out, int64_t bytes) override {
		auto &own = Of(handle);
		const auto size = files.Size(own.file);
		const auto rest = own.position < size ? size - own.position : 0;
		const auto part = (int64_t)std::min<uint64_t>((uint64_t)bytes, rest);
		if (part > 0)
			Read(handle, out, part, own.position);
		own.position += (idx_t)part;
		return part;
	}
	void Write(FileHandle &handle, void *data, int64_t bytes, idx_t offset) override {
		auto file = Of(handle).file;
		files.Do({FileOperation::WRITE, file, file, offset, string((const char *)data, (size_t)bytes)});
	}
	int64_t Write(FileHandle &handle, void *data, int64_t bytes) override {
		auto &own = Of(handle);
		Write(handle, data, bytes, own.position);
		own.position += (idx_t)bytes;
		return bytes;
	}
	int64_t GetFileSize(FileHandle &handle) override {
		return (int64_t)files.Size(Of(handle).file);
	}
	duckdb::timestamp_t GetLastModifiedTime(FileHandle &handle) override {
		return duckdb::timestamp_t(0);
	}
	duckdb::FileType GetFileType(FileHandle &handle) override {
		return duckdb::FileType::FILE_TYPE_REGULAR;
	}
	void Truncate(FileHandle &handle, int64_t bytes) override {
		auto file = Of(handle).file;
		files.Do({FileOperation::TRUNCATE, file, file, (uint64_t)bytes, ""});
	}
	bool FileExists(const string &path, optional_ptr<FileOpener> opener) override {
		return files.Exists(FileOf(path));
	}
	void RemoveFile(const string &path, optional_ptr<FileOpener> opener) override {
		auto file = FileOf(path);
		files.Do({FileOperation::REMOVE, file, file, 0, ""});
	}
	bool TryRemoveFile(const string &path, optional_ptr<FileOpener> opener) override {
		if (!files.Exists(FileOf(path)))
			return false;
		RemoveFile(path, opener);
		return true;
	}
	void MoveFile(const string &from, const string &to, optional_ptr<FileOpener> opener) override {
		files.Do({FileOperation::RENAME, FileOf(from), FileOf(to), 0, ""});
	}
	void FileSync(FileHandle &handle) override {
		auto file = Of(handle).file;
		files.Do({FileOperation::SYNC, file, file, 0, ""});
	}
	bool Trim(FileHandle &handle, idx_t offset, idx_t bytes) override {
		return true;
	}
	void Seek(FileHandle &handle, idx_t position) override {
		Of(handle).position = position;
	}
	void Reset(FileHandle &handle) override {
		Of(handle).position = 0;
	}
	idx_t SeekPosition(FileHandle &handle) override {
		return Of(handle).position;
	}
	bool CanSeek() override {
		return true;
	}
	bool OnDiskFile(FileHandle &handle) override {
		return true;
	}

private:
	RecordedFiles &files;
};

// A DuckDB whose database d is the files; the error of opening, or empty.
string Attach(duckdb::DuckDB &db, RecordedFiles &files) {
	duckdb::FileSystem::GetFileSystem(*db.instance).RegisterSubSystem(duckdb::make_uniq<ExploreFileSystem>(files));
	Connection connection(db);
	for (auto sql : {"SET threads=1", "SET checkpoint_threshold='48KB'",
	                 "SET auto_checkpoint_skip_wal_threshold=9223372036854775807"}) {
		auto set = connection.Query(sql);
		if (set->HasError())
			return set->GetError();
	}
	auto result = connection.Query("ATTACH '" + SCHEME + "db' AS d (BLOCK_SIZE 16384)");
	return result->HasError() ? result->GetError() : "";
}

bool Run(Connection &connection, const string &sql) {
	return !connection.Query(sql)->HasError();
}

// What transaction `id` does besides writing its row.
bool Act(Connection &connection, uint64_t id, uint64_t kind, uint64_t rows) {
	const auto number = std::to_string(id), count = std::to_string(rows);
	switch (kind) {
	case 0:
	case 1:
		return Run(connection,
		           "INSERT INTO d.rows SELECT " + number + ", range, md5(range::VARCHAR) FROM range(" + count + ")");
	case 2:
		return Run(connection, "UPDATE d.counters SET v = v + 1 WHERE id < " + count);
	default:
		return Run(connection, "CREATE TABLE d.t_" + number + " AS SELECT range AS i FROM range(" + count + ")");
	}
}

void Client(duckdb::DuckDB &db, RecordedFiles &files, uint64_t seed, unsigned transactions,
            std::atomic<uint64_t> &ids) {
	sim_random random = {seed};
	Connection connection(db);
	for (unsigned i = 0; i < transactions; i++) {
		const auto id = ++ids;
		const auto kind = sim_random_chance(&random, 120)     ? 1
		                  : sim_random_below(&random, 10) < 5 ? 0
		                                                      : 2 + sim_random_below(&random, 2);
		const auto rows = kind == 1 ? 1500 + sim_random_below(&random, 2000) : 1 + sim_random_below(&random, 20);
		const auto insert = "INSERT INTO d.commits VALUES (" + std::to_string(id) + ", " + std::to_string(kind) + ", " +
		                    std::to_string(rows) + ")";
		const bool good = Run(connection, "BEGIN") && Run(connection, insert) && Act(connection, id, kind, rows) &&
		                  Run(connection, "COMMIT");
		if (good)
			files.Do({FileOperation::ACKNOWLEDGED, OD_VOLUME_DATABASE, OD_VOLUME_DATABASE, id, ""});
		else
			Run(connection, "ROLLBACK");
		if (sim_random_chance(&random, 60))
			Run(connection, "CHECKPOINT d");
	}
}

} // namespace

void RunWorkload(RecordedFiles &files, uint64_t seed, unsigned transactions) {
	duckdb::DuckDB db(nullptr);
	auto problem = Attach(db, files);
	std::atomic<uint64_t> ids{0};
	if (!problem.empty())
		throw std::runtime_error("the workload does not start: " + problem);
	{
		Connection connection(db);
		if (!Run(connection, "PRAGMA disable_checkpoint_on_shutdown") ||
		    !Run(connection, "CREATE TABLE d.counters AS SELECT range AS id, 0::BIGINT AS v FROM range(20)") ||
		    !Run(connection, "CREATE TABLE d.rows(txn BIGINT, i BIGINT, s VARCHAR)") ||
		    !Run(connection, "CREATE TABLE d.commits(id BIGINT PRIMARY KEY, kind BIGINT, n BIGINT)"))
			throw std::runtime_error("the workload does not start");
	}
	std::thread other([&] { Client(db, files, seed * 2 + 1, transactions / 2, ids); });
	Client(db, files, seed * 2, transactions - transactions / 2, ids);
	other.join();
}

Opened OpenAndCheck(RecordedFiles &files, const std::set<uint64_t> &acknowledged, string &why) {
	duckdb::DuckDB db(nullptr);
	why = Attach(db, files);
	if (!why.empty())
		return Opened::REFUSED;
	Connection connection(db);
	(void)Run(connection, "PRAGMA disable_checkpoint_on_shutdown");
	auto tables = connection.Query("SELECT table_name FROM duckdb_tables() WHERE database_name = 'd'");
	std::set<string> names;
	for (idx_t i = 0; !tables->HasError() && i < tables->RowCount(); i++)
		names.insert(tables->GetValue(0, i).ToString());
	if (!names.count("commits")) {
		if (acknowledged.empty())
			return Opened::WELL;
		why = "there is no table of commits";
		return Opened::LOST_COMMIT;
	}
	auto commits = connection.Query("SELECT id, kind, n FROM d.commits");
	if (commits->HasError()) {
		why = commits->GetError();
		return Opened::REFUSED;
	}
	std::set<uint64_t> found;
	uint64_t created = 0;
	for (idx_t i = 0; i < commits->RowCount(); i++) {
		const auto id = (uint64_t)commits->GetValue(0, i).GetValue<int64_t>();
		found.insert(id);
		if (commits->GetValue(1, i).GetValue<int64_t>() != 3)
			continue;
		created++;
		if (!names.count("t_" + std::to_string(id))) {
			why = "the table of transaction " + std::to_string(id) + " is missing";
			return Opened::HALF_COMMIT;
		}
	}
	for (auto id : acknowledged) {
		if (!found.count(id)) {
			why = "transaction " + std::to_string(id) + " is missing";
			return Opened::LOST_COMMIT;
		}
	}
	if (created + 3 != names.size()) {
		why = "there are tables of transactions that did not commit";
		return Opened::HALF_COMMIT;
	}
	auto halves = connection.Query(
	    "SELECT (SELECT count(*) FROM (SELECT id, n FROM d.commits WHERE kind < 2) c FULL JOIN "
	    "(SELECT txn, count(*) AS n, count(s) AS texts FROM d.rows GROUP BY txn) r ON c.id = r.txn "
	    "WHERE c.n IS DISTINCT FROM r.n OR r.n IS DISTINCT FROM r.texts), "
	    "(SELECT coalesce(sum(n), 0) FROM d.commits WHERE kind = 2) - (SELECT sum(v) FROM d.counters)");
	if (halves->HasError()) {
		why = halves->GetError();
		return Opened::REFUSED;
	}
	if (halves->GetValue(0, 0).ToString() != "0" || halves->GetValue(1, 0).ToString() != "0") {
		why = "transactions are there in part: " + halves->GetValue(0, 0).ToString() + " inserts, updates off by " +
		      halves->GetValue(1, 0).ToString();
		return Opened::HALF_COMMIT;
	}
	return Opened::WELL;
}
