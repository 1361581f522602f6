// filesystem.cpp - DuckDB's files as files of a volume. Holds no policy: every call is one call of the volume.
//
// Invariants
//   F1  A sync appends one barrier record and never waits for the disk: a group sync makes it durable, and the reply to
//       the client waits for that (gate.cpp).
//   F2  The ledger entry of a request is in the first barrier of a write-ahead log that its own thread makes while the
//       request's last statement runs. A sync of the database file before it (bulk loads) carries none.
//   F3  A sync either throws before it appended anything, or does not throw.
//   F4  When the volume takes no changes any more, DuckDB is told so with a fatal error: it then refuses the database
//       instead of going on from a state that is not on disk.
//   F5  The end of a commit that has a ledger entry reaches the volume together with its barrier. Else the barrier of a
//       checkpoint that runs beside it could come in between, and make the commit durable without its entry. So the last
//       piece of a log that such a request wrote is held back until the next one, which proves that the commit's mark was
//       not in it, or until the sync.
//   F6  Cutting a log never throws. DuckDB does it to take a failed commit back, where an exception ends the process, and
//       goes on when it fails: the next commit would bring the failed one back. So it stops the instance instead.
// Threads: as DuckDB calls; a handle's position belongs to whoever reads or writes through it without a location.
#include "engine/filesystem.hpp"

#include "engine/engine_internal.hpp"

#include "base/log.h"

#include <cstring>

using namespace duckdb;

namespace openduck {

thread_local CommitScope *CommitScope::current = nullptr;

namespace {

constexpr const char *PREFIX = "od://";
constexpr const char *BASE = "/db";

//! Which file a path means; OD_VOLUME_FILES: none.
enum od_volume_file FileOf(const string &path) {
	static const char *const suffixes[] = {"", ".wal", ".wal.checkpoint", ".wal.recovery"};
	auto base = path.rfind(BASE);
	if (base == string::npos) {
		return OD_VOLUME_FILES;
	}
	auto suffix = path.substr(base + strlen(BASE));
	for (int i = 0; i < OD_VOLUME_FILES; i++) {
		if (suffix == suffixes[i]) {
			return static_cast<enum od_volume_file>(i);
		}
	}
	return OD_VOLUME_FILES;
}

enum od_volume_file KnownFileOf(const string &path) {
	auto file = FileOf(path);
	if (file == OD_VOLUME_FILES) {
		throw IOException("\"%s\" is no file of a volume", path);
	}
	return file;
}

class VolumeHandle : public FileHandle {
public:
	VolumeHandle(FileSystem &fs, const string &path_p, FileOpenFlags flags_p, enum od_volume_file file_p)
	    : FileHandle(fs, path_p, flags_p), file(file_p), append(flags_p.OpenForAppending()) {}
	~VolumeHandle() override = default;
	void Close() override {}

	const enum od_volume_file file;
	const bool append;
	idx_t position = 0;
};

VolumeHandle &Of(FileHandle &handle) {
	return handle.Cast<VolumeHandle>();
}

bool IsLog(enum od_volume_file file) {
	return file == OD_VOLUME_WAL || file == OD_VOLUME_WAL_CHECKPOINT;
}

} // namespace

VolumeFileSystem::VolumeFileSystem(struct od_volume *volume_p, std::atomic<bool> &stop_p)
    : volume(volume_p), stop(stop_p) {}

std::string VolumeFileSystem::Path(const std::string &name) {
	return PREFIX + name + BASE;
}

void VolumeFileSystem::CheckGoing() const {
	if (stop) {
		throw FatalException("the database is being reopened");
	}
}

void VolumeFileSystem::CheckChange(od_code code, const struct od_error &error) const {
	if (code == OD_OK) {
		return;
	}
	if (code != OD_LIMIT && code != OD_READ_ONLY && od_volume_health(volume, nullptr) != OD_OK) { // F4
		stop = true;
		throw FatalException("%s", error.message);
	}
	throw IOException("%s", error.message);
}

unique_ptr<FileHandle> VolumeFileSystem::OpenFile(const string &path, FileOpenFlags flags, optional_ptr<FileOpener>) {
	auto file = FileOf(path);
	bool there = file != OD_VOLUME_FILES && od_volume_exists(volume, file);
	if (!there && !(flags.OpenForWriting() && (flags.CreateFileIfNotExists() || flags.OverwriteExistingFile()))) {
		if (flags.ReturnNullIfNotExists()) {
			return nullptr;
		}
		throw IOException("Cannot open file \"%s\": it does not exist", path);
	}
	(void)KnownFileOf(path);
	struct od_error error = {};
	if (!there) {
		CheckGoing();
		CheckChange(od_volume_create(volume, file, &error), error);
	} else if (flags.OpenForWriting() && flags.OverwriteExistingFile()) {
		std::lock_guard<std::mutex> guard(held_lock);
		CheckGoing();
		if (held.Of(file)) {
			held.bytes = 0;
		}
		CheckChange(od_volume_truncate(volume, file, 0, &error), error);
	}
	return make_uniq<VolumeHandle>(*this, path, flags, file);
}

void VolumeFileSystem::ReadVolume(enum od_volume_file file, void *buffer, size_t bytes, idx_t location) const {
	struct od_error error = {};
	if (od_volume_read(volume, file, location, buffer, bytes, &error) != OD_OK) {
		throw IOException("%s", error.message);
	}
}

void VolumeFileSystem::WriteVolume(enum od_volume_file file, const void *data, size_t bytes, idx_t location) const {
	struct od_error error = {};
	CheckChange(od_volume_write(volume, file, location, data, bytes, &error), error);
}

idx_t VolumeFileSystem::LogSize(enum od_volume_file file) const {
	idx_t size = od_volume_size(volume, file);
	return held.Of(file) ? MaxValue<idx_t>(size, held.offset + held.bytes) : size;
}

void VolumeFileSystem::PutHeld() {
	if (held.bytes > 0) {
		size_t bytes = held.bytes;
		held.bytes = 0; // also when it fails: then the commit fails, and DuckDB cuts the log
		WriteVolume(held.file, held.data, bytes, held.offset);
	}
}

void VolumeFileSystem::WriteLog(enum od_volume_file file, const void *data, size_t bytes, idx_t location) {
	auto scope = CommitScope::current;
	PutHeld();
	if (!scope || !scope->armed || scope->committed || !scope->request_id || bytes > sizeof(held.data)) {
		WriteVolume(file, data, bytes, location);
		return;
	}
	memcpy(held.data, data, bytes);
	held.file = file;
	held.offset = location;
	held.bytes = bytes;
}

void VolumeFileSystem::TakeBack(const HeldPiece &piece) const {
	struct od_error error = {};
	if (od_volume_truncate(volume, piece.file, piece.offset, &error) != OD_OK) {
		stop = true;
		throw FatalException("%s", error.message);
	}
}

void VolumeFileSystem::Read(FileHandle &handle, void *buffer, int64_t bytes, idx_t location) {
	auto file = Of(handle).file;
	auto size = static_cast<size_t>(bytes);
	if (IsLog(file)) {
		std::lock_guard<std::mutex> guard(held_lock);
		if (held.Of(file) && location + size > held.offset) {
			size_t before = location < held.offset ? held.offset - location : 0;
			idx_t from = location + before - held.offset;
			if (from + (size - before) > held.bytes) {
				throw IOException("the log ends before %llu", location + size);
			}
			memcpy(static_cast<uint8_t *>(buffer) + before, held.data + from, size - before);
			size = before;
		}
	}
	ReadVolume(file, buffer, size, location);
}

int64_t VolumeFileSystem::Read(FileHandle &handle, void *buffer, int64_t bytes) {
	auto &h = Of(handle);
	auto size = static_cast<uint64_t>(GetFileSize(handle));
	uint64_t left = h.position < size ? size - h.position : 0;
	bytes = MinValue<int64_t>(bytes, static_cast<int64_t>(left));
	if (bytes > 0) {
		Read(handle, buffer, bytes, h.position);
		h.position += static_cast<idx_t>(bytes);
	}
	return bytes;
}

void VolumeFileSystem::Write(FileHandle &handle, void *buffer, int64_t bytes, idx_t location) {
	auto file = Of(handle).file;
	CheckGoing();
	if (IsLog(file)) {
		std::lock_guard<std::mutex> guard(held_lock);
		WriteLog(file, buffer, static_cast<size_t>(bytes), location);
	} else {
		WriteVolume(file, buffer, static_cast<size_t>(bytes), location);
	}
}

int64_t VolumeFileSystem::Write(FileHandle &handle, void *buffer, int64_t bytes) {
	auto &h = Of(handle);
	idx_t location = h.append ? static_cast<idx_t>(GetFileSize(handle)) : h.position;
	Write(handle, buffer, bytes, location);
	h.position = location + static_cast<idx_t>(bytes);
	return bytes;
}

bool VolumeFileSystem::Trim(FileHandle &handle, idx_t offset, idx_t bytes) {
	struct od_error error = {};
	CheckGoing();
	CheckChange(od_volume_trim(volume, Of(handle).file, offset, bytes, &error), error);
	return true;
}

void VolumeFileSystem::Truncate(FileHandle &handle, int64_t bytes) {
	auto file = Of(handle).file;
	auto size = static_cast<idx_t>(bytes);
	struct od_error error = {};
	if (!IsLog(file)) {
		CheckGoing();
		CheckChange(od_volume_truncate(volume, file, size, &error), error);
		return;
	}
	std::lock_guard<std::mutex> guard(held_lock);
	if (held.Of(file)) {
		held.bytes = size > held.offset ? MinValue<size_t>(held.bytes, size - held.offset) : 0;
		if (od_volume_size(volume, file) <= size) {
			return; // it was all that there is to cut
		}
	}
	if (!stop && od_volume_truncate(volume, file, size, &error) != OD_OK) { // F6
		od_log(OD_LOG_ERROR, "engine", "the database has to be reopened: %s", error.message);
		stop = true;
	}
}

void VolumeFileSystem::FileSync(FileHandle &handle) {
	auto scope = CommitScope::current;
	bool enters = scope && scope->armed && !scope->committed && IsLog(Of(handle).file);
	struct od_ledger_entry entry = {};
	bool remembered = enters && scope->request_id;
	if (remembered) {
		snprintf(entry.request_id, sizeof(entry.request_id), "%s", scope->request_id);
		entry.changed_rows = scope->changed_rows;
	}
	struct od_error error = {};
	uint64_t lsn = 0;
	std::unique_lock<std::mutex> guard(held_lock);
	CheckGoing();
	HeldPiece piece;
	if (held.Of(Of(handle).file)) {
		piece = held;
		PutHeld();
	}
	od_code rc = od_volume_barrier(volume, remembered ? &entry : nullptr, &lsn, &error);
	if (rc != OD_OK && od_volume_health(volume, nullptr) != OD_OK) {
		if (enters) {
			scope->doubtful = true;
		}
	} else if (rc != OD_OK && piece.bytes > 0) {
		TakeBack(piece);
	}
	guard.unlock();
	CheckChange(rc, error);
	if (scope) {
		scope->lsn = lsn;
		scope->committed = scope->committed || enters;
	}
}

int64_t VolumeFileSystem::GetFileSize(FileHandle &handle) {
	if (!IsLog(Of(handle).file)) {
		return static_cast<int64_t>(od_volume_size(volume, Of(handle).file));
	}
	std::lock_guard<std::mutex> guard(held_lock);
	return static_cast<int64_t>(LogSize(Of(handle).file));
}

timestamp_t VolumeFileSystem::GetLastModifiedTime(FileHandle &) {
	return timestamp_t(0);
}

FileType VolumeFileSystem::GetFileType(FileHandle &) {
	return FileType::FILE_TYPE_REGULAR;
}

bool VolumeFileSystem::FileExists(const string &path, optional_ptr<FileOpener>) {
	auto file = FileOf(path);
	return file != OD_VOLUME_FILES && od_volume_exists(volume, file);
}

void VolumeFileSystem::RemoveFile(const string &path, optional_ptr<FileOpener>) {
	struct od_error error = {};
	auto file = KnownFileOf(path);
	std::lock_guard<std::mutex> guard(held_lock);
	CheckGoing();
	if (held.Of(file)) {
		held.bytes = 0;
	}
	CheckChange(od_volume_remove(volume, file, &error), error);
}

bool VolumeFileSystem::TryRemoveFile(const string &path, optional_ptr<FileOpener> opener) {
	if (!FileExists(path, opener)) {
		return false;
	}
	RemoveFile(path, opener);
	return true;
}

void VolumeFileSystem::MoveFile(const string &source, const string &target, optional_ptr<FileOpener>) {
	struct od_error error = {};
	auto from = KnownFileOf(source), to = KnownFileOf(target);
	std::lock_guard<std::mutex> guard(held_lock);
	CheckGoing();
	PutHeld(); // DuckDB renames logs under the lock that commits hold from their first write to their sync
	CheckChange(od_volume_rename(volume, from, to, &error), error);
}

void VolumeFileSystem::Seek(FileHandle &handle, idx_t location) {
	Of(handle).position = location;
}

void VolumeFileSystem::Reset(FileHandle &handle) {
	Of(handle).position = 0;
}

idx_t VolumeFileSystem::SeekPosition(FileHandle &handle) {
	return Of(handle).position;
}

bool VolumeFileSystem::CanSeek() {
	return true;
}

bool VolumeFileSystem::OnDiskFile(FileHandle &) {
	return true;
}

bool VolumeFileSystem::CanHandleFile(const string &path) {
	return StringUtil::StartsWith(path, PREFIX);
}

string VolumeFileSystem::CanonicalizePath(const string &path, optional_ptr<FileOpener>) {
	return path; // DuckDB's own would make one slash of two
}

string VolumeFileSystem::GetName() const {
	return "OpenDuckVolume";
}

} // namespace openduck
