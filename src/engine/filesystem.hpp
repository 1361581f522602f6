// filesystem.hpp - the file system `od://` of one DuckDB instance: its files are those of an od_volume.
#ifndef OD_ENGINE_FILESYSTEM_HPP
#define OD_ENGINE_FILESYSTEM_HPP

#include "duckdb/common/file_system.hpp"

#include "engine/engine.h"
#include "storage/volume.h"

#include <atomic>
#include <mutex>
#include <string>

namespace openduck {

//! What the request that runs on this thread adds to the barrier of its commit. Lives on the stack of
//! od_connection_run. An autocommit runs on the thread that called DuckDB; a COMMIT, being a plan of its own, on any of
//! DuckDB's threads, which then borrows the scope (MakeCommitCollector).
struct CommitScope {
	explicit CommitScope(const char *request_id_p) : request_id(request_id_p), outer(current) {
		current = this;
	}
	~CommitScope() {
		current = outer;
	}
	CommitScope(const CommitScope &) = delete;

	const char *request_id;                     // nullptr: it has none, and is not remembered
	uint64_t changed_rows = OD_OUTCOME_NOTHING; // as in the ledger (engine.h)
	bool armed = false;                         // the next sync of a write-ahead log is this request's commit
	bool committed = false;                     // it has happened: the entry is in the journal
	bool doubtful = false;                      // it may have: the journal failed while it was written
	uint64_t lsn = 0;                           // of this thread's last barrier

	static thread_local CommitScope *current;

private:
	CommitScope *outer;
};

class VolumeFileSystem : public duckdb::FileSystem {
public:
	//! `stop`: once true, every change fails so that DuckDB gives the database up. Both outlive the file system.
	VolumeFileSystem(struct od_volume *volume, std::atomic<bool> &stop);

	//! Where the database file of a volume is, for ATTACH.
	static std::string Path(const std::string &name);

	duckdb::unique_ptr<duckdb::FileHandle> OpenFile(const duckdb::string &path, duckdb::FileOpenFlags flags,
	                                                duckdb::optional_ptr<duckdb::FileOpener> opener) override;
	void Read(duckdb::FileHandle &handle, void *buffer, int64_t bytes, duckdb::idx_t location) override;
	int64_t Read(duckdb::FileHandle &handle, void *buffer, int64_t bytes) override;
	void Write(duckdb::FileHandle &handle, void *buffer, int64_t bytes, duckdb::idx_t location) override;
	int64_t Write(duckdb::FileHandle &handle, void *buffer, int64_t bytes) override;
	bool Trim(duckdb::FileHandle &handle, duckdb::idx_t offset, duckdb::idx_t bytes) override;
	void Truncate(duckdb::FileHandle &handle, int64_t bytes) override;
	void FileSync(duckdb::FileHandle &handle) override;
	int64_t GetFileSize(duckdb::FileHandle &handle) override;
	duckdb::timestamp_t GetLastModifiedTime(duckdb::FileHandle &handle) override;
	duckdb::FileType GetFileType(duckdb::FileHandle &handle) override;
	bool FileExists(const duckdb::string &path, duckdb::optional_ptr<duckdb::FileOpener> opener) override;
	void RemoveFile(const duckdb::string &path, duckdb::optional_ptr<duckdb::FileOpener> opener) override;
	bool TryRemoveFile(const duckdb::string &path, duckdb::optional_ptr<duckdb::FileOpener> opener) override;
	void MoveFile(const duckdb::string &source, const duckdb::string &target,
	              duckdb::optional_ptr<duckdb::FileOpener> opener) override;
	void Seek(duckdb::FileHandle &handle, duckdb::idx_t location) override;
	void Reset(duckdb::FileHandle &handle) override;
	duckdb::idx_t SeekPosition(duckdb::FileHandle &handle) override;
	bool CanSeek() override;
	bool OnDiskFile(duckdb::FileHandle &handle) override;
	bool CanHandleFile(const duckdb::string &path) override;
	duckdb::string CanonicalizePath(const duckdb::string &path,
	                                duckdb::optional_ptr<duckdb::FileOpener> opener) override;
	duckdb::string GetName() const override;

private:
	//! The end of a remembered commit in a log, until the sync that carries its ledger entry (F5).
	struct HeldPiece {
		static constexpr size_t BYTES_MAX = 4096; // of DuckDB's buffer of a log: a commit's mark never lies in more

		bool Of(enum od_volume_file of) const {
			return bytes > 0 && file == of;
		}
		enum od_volume_file file = OD_VOLUME_FILES;
		duckdb::idx_t offset = 0;
		size_t bytes = 0; // 0: nothing is held
		uint8_t data[BYTES_MAX];
	};

	//! Before a change: throws once the instance must not change anything any more.
	void CheckGoing() const;
	//! Throws what a change of the volume reported.
	void CheckChange(od_code code, const struct od_error &error) const;
	void ReadVolume(enum od_volume_file file, void *buffer, size_t bytes, duckdb::idx_t location) const;
	void WriteVolume(enum od_volume_file file, const void *data, size_t bytes, duckdb::idx_t location) const;
	//! With held_lock: the size of a log with what is held of it; writes what is held.
	duckdb::idx_t LogSize(enum od_volume_file file) const;
	void PutHeld();
	void WriteLog(enum od_volume_file file, const void *data, size_t bytes, duckdb::idx_t location);
	//! With held_lock, after a barrier that failed: the held piece, which was just written, is taken back.
	void TakeBack(const HeldPiece &piece) const;

	struct od_volume *volume;
	std::atomic<bool> &stop;
	std::mutex held_lock; // between a held piece and barriers; taken last, never over a wait for anything of DuckDB
	HeldPiece held;
};

} // namespace openduck

#endif
