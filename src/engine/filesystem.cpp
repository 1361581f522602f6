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
// Threads: as DuckDB calls; a handle's position belongs to whoever reads or writes through it without a location.
#include "engine/filesystem.hpp"

#include "engine/engine_internal.hpp"

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
		CheckGoing();
		CheckChange(od_volume_truncate(volume, file, 0, &error), error);
	}
	return make_uniq<VolumeHandle>(*this, path, flags, file);
}

void VolumeFileSystem::Read(FileHandle &handle, void *buffer, int64_t bytes, idx_t location) {
	struct od_error error = {};
	if (od_volume_read(volume, Of(handle).file, location, buffer, static_cast<size_t>(bytes), &error) != OD_OK) {
		throw IOException("%s", error.message);
	}
}

int64_t VolumeFileSystem::Read(FileHandle &handle, void *buffer, int64_t bytes) {
	auto &h = Of(handle);
	uint64_t size = od_volume_size(volume, h.file);
	uint64_t left = h.position < size ? size - h.position : 0;
	bytes = MinValue<int64_t>(bytes, static_cast<int64_t>(left));
	if (bytes > 0) {
		Read(handle, buffer, bytes, h.position);
		h.position += static_cast<idx_t>(bytes);
	}
	return bytes;
}

void VolumeFileSystem::Write(FileHandle &handle, void *buffer, int64_t bytes, idx_t location) {
	struct od_error error = {};
	CheckGoing();
	CheckChange(od_volume_write(volume, Of(handle).file, location, buffer, static_cast<size_t>(bytes), &error), error);
}

int64_t VolumeFileSystem::Write(FileHandle &handle, void *buffer, int64_t bytes) {
	auto &h = Of(handle);
	idx_t location = h.append ? od_volume_size(volume, h.file) : h.position;
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
	struct od_error error = {};
	CheckGoing();
	CheckChange(od_volume_truncate(volume, Of(handle).file, static_cast<uint64_t>(bytes), &error), error);
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
	CheckGoing();
	od_code rc = od_volume_barrier(volume, remembered ? &entry : nullptr, &lsn, &error);
	if (rc != OD_OK && enters && od_volume_health(volume, nullptr) != OD_OK) {
		scope->doubtful = true;
	}
	CheckChange(rc, error);
	if (scope) {
		scope->lsn = lsn;
		scope->committed = scope->committed || enters;
	}
}

int64_t VolumeFileSystem::GetFileSize(FileHandle &handle) {
	return static_cast<int64_t>(od_volume_size(volume, Of(handle).file));
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
	CheckGoing();
	CheckChange(od_volume_remove(volume, KnownFileOf(path), &error), error);
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
	CheckGoing();
	CheckChange(od_volume_rename(volume, KnownFileOf(source), KnownFileOf(target), &error), error);
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
