// instance.cpp - one DuckDB instance per open database: an in-memory main database with the file attached to it.
//
// Order matters: attach first, then take away the instance's access to files (policy.cpp), because attaching is such an
// access. The storage version is pinned, so that files do not change their format with the library.
#include "engine/engine_internal.hpp"

#include "engine/filesystem.hpp"
#include "engine/gate.hpp"

#include "duckdb/common/local_file_system.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/main/valid_checker.hpp"
#include "duckdb/parser/keyword_helper.hpp"

#include <climits>
#include <cstdlib>
#include <random>
#include <set>

using namespace duckdb;

namespace {

constexpr const char *STORAGE_VERSION = "v1.5.0"; // the newest format of the 1.5 releases

// "main.t" would be ambiguous in a catalog called "main", because each has a schema of that name; the others are
// catalogs or schemas of DuckDB's own.
std::string CatalogName(const char *name) {
	static const char *const reserved[] = {"main", "temp", "system", "memory", "pg_catalog", "information_schema"};
	for (auto word : reserved) {
		if (StringUtil::CIEquals(name, word)) {
			return std::string(name) + "_db";
		}
	}
	return name;
}

std::string RandomText() {
	std::random_device device;
	char text[17];
	snprintf(text, sizeof(text), "%08x%08x", static_cast<unsigned>(device()), static_cast<unsigned>(device()));
	return text;
}

bool Contains(const std::string &text, const char *part) {
	return text.find(part) != std::string::npos;
}

// DuckDB reports everything about a file as an IO error; operators need to know which kind it is.
[[noreturn]] void FailToOpen(const struct od_engine &engine, const struct od_engine_options &options,
                             const ErrorData &error) {
	auto &message = error.RawMessage();
	od_code code = OD_IO;
	const char *way_out = "";
	if (Contains(message, "Could not set lock")) {
		code = OD_LOCKED;
		way_out = "; close the other process that has it open";
	} else if (Contains(message, "with version number")) {
		code = OD_UNSUPPORTED;
		way_out = "; open it with the DuckDB version that wrote it and export it";
	} else if (Contains(message, "not a valid DuckDB database file") || Contains(message, "Corrupt database file") ||
	           Contains(message, "Corrupt WAL") || error.Type() == ExceptionType::SERIALIZATION ||
	           error.Type() == ExceptionType::INTERNAL || error.Type() == ExceptionType::FATAL) {
		code = OD_CORRUPT;
		way_out = "; restore it from a backup";
	} else if (error.Type() == ExceptionType::OUT_OF_MEMORY) {
		code = OD_NO_MEMORY;
	}
	openduck::Fail(code, "database \"%s\": cannot open file \"%s\": %s%s", options.name, engine.path.c_str(),
	               message.c_str(), way_out);
}

// DuckDB's lock on the file keeps other processes out, but not a second instance in this one.
std::mutex open_files_lock;
std::set<std::string> open_files;

//! The file's name without links and dots; it need not exist yet, its directory must.
std::string RealPath(const std::string &path) {
	char real[PATH_MAX];
	if (realpath(path.c_str(), real)) {
		return real;
	}
	auto slash = path.rfind('/');
	auto directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
	auto name = slash == std::string::npos ? path : path.substr(slash + 1);
	return realpath(directory.c_str(), real) ? std::string(real) + "/" + name : path;
}

void ClaimFile(struct od_engine &engine, const struct od_engine_options &options) {
	auto real = RealPath(engine.path);
	std::lock_guard<std::mutex> guard(open_files_lock);
	if (!open_files.insert(real).second) {
		openduck::Fail(OD_LOCKED, "database \"%s\": file \"%s\" is open in this process already", options.name,
		               options.path);
	}
	engine.claimed_file = real;
}

void Execute(Connection &connection, const std::string &sql) {
	auto result = connection.Query(sql);
	if (result->HasError()) {
		result->ThrowError();
	}
}

unique_ptr<DuckDB> OpenInstance(const struct od_engine_options &options) {
	DBConfig config;
	if (options.memory_limit_bytes) {
		config.options.maximum_memory = options.memory_limit_bytes;
	}
	if (options.threads) {
		config.SetOptionByName("threads", Value::BIGINT(options.threads));
	}
	if (options.temp_directory) {
		LocalFileSystem().CreateDirectoriesRecursive(options.temp_directory);
		config.options.temporary_directory = options.temp_directory;
	}
	if (options.temp_bytes_max) {
		config.options.maximum_swap_space = options.temp_bytes_max;
	}
	config.SetOptionByName("autoinstall_known_extensions", Value::BOOLEAN(false));
	config.SetOptionByName("autoload_known_extensions", Value::BOOLEAN(false));
	if (!options.external_access) {
		config.SetOptionByName("allow_persistent_secrets", Value::BOOLEAN(false));
		config.SetOptionByName("allow_community_extensions", Value::BOOLEAN(false));
	}
	if (options.volume) {
		// Every commit goes through the log, because the log's sync is where the ledger entry goes (filesystem.cpp); and
		// closing must not write to a volume that is given up.
		config.SetOptionByName("auto_checkpoint_skip_wal_threshold", Value::UBIGINT(NumericLimits<idx_t>::Maximum()));
		config.options.checkpoint_on_shutdown = false;
	}
	openduck::AddDurabilitySetting(config);
	return make_uniq<DuckDB>(nullptr, &config);
}

void Attach(struct od_engine &engine, const struct od_engine_options &options) {
	auto how = engine.read_only ? std::string("READ_ONLY")
	                            : std::string("READ_WRITE, STORAGE_VERSION '") + STORAGE_VERSION + "'";
	auto result = engine.internal->Query("ATTACH " + KeywordHelper::WriteQuoted(engine.path, '\'') + " AS " +
	                                     KeywordHelper::WriteQuoted(engine.catalog_name, '"') + " (TYPE duckdb, " +
	                                     how + ")");
	if (result->HasError()) {
		FailToOpen(engine, options, result->GetErrorObject());
	}
	engine.attached = DatabaseManager::Get(*engine.db->instance).GetDatabase(engine.catalog_name);
}

void Lock(struct od_engine &engine) {
	auto &connection = *engine.internal;
	Execute(connection, "SET enable_external_access = false");
	std::string names;
	for (auto &name : openduck::SessionSettings()) {
		names += (names.empty() ? "'" : ", '") + name + "'";
	}
	Execute(connection, "SET allowed_configs = [" + names + "]");
	Execute(connection, "SET lock_configuration = true");
}

} // namespace

od_code od_engine_open(const struct od_engine_options *options, struct od_engine **engine, struct od_error *err) {
	return openduck::Guarded(err, [&] {
		if (!options->name || !*options->name || (!options->volume && (!options->path || !*options->path))) {
			openduck::Fail(OD_INVALID, "a database needs a name and a file");
		}
		auto e = make_uniq<od_engine>();
		e->volume = options->volume;
		e->read_only = options->read_only;
		e->path = e->volume ? openduck::VolumeFileSystem::Path(options->name) : std::string(options->path);
		e->catalog_name = CatalogName(options->name);
		e->opening = RandomText();
		e->external_access = options->external_access;
		e->budget = options->budget;
		if (!e->volume) {
			ClaimFile(*e, *options);
		}
		try {
			e->db = OpenInstance(*options);
		} catch (const std::exception &ex) {
			openduck::Fail(OD_IO, "database \"%s\": cannot start DuckDB (temporary directory \"%s\"): %s",
			               options->name, options->temp_directory ? options->temp_directory : "",
			               ErrorData(ex).RawMessage().c_str());
		}
		if (e->volume) {
			FileSystem::GetFileSystem(*e->db->instance)
			    .RegisterSubSystem(make_uniq<openduck::VolumeFileSystem>(e->volume, e->stop));
		}
		e->internal = make_uniq<Connection>(*e->db);
		Attach(*e, *options);
		e->internal->context->RunFunctionInTransaction([&] {
			openduck::RegisterCatalogFunctions(*e, *e->internal->context);
			openduck::RegisterUploadFunction(*e, *e->internal->context);
			openduck::InstallPolicy(*e, *e->internal->context);
		});
		if (!e->external_access) {
			Lock(*e);
		}
		*engine = e.release();
	});
}

od_engine::~od_engine() {
	(void)openduck::Guarded(nullptr, [&] {
		bool sound = volume && !read_only && attached && od_engine_health(this, nullptr) == OD_OK;
		if (sound) {
			(void)internal->Query("CHECKPOINT " + KeywordHelper::WriteQuoted(catalog_name, '"'));
			sound = od_engine_health(this, nullptr) == OD_OK;
		}
		internal.reset();
		attached.reset();
		db.reset();
		// What DuckDB did to its files without a sync, removing its log above all, belongs to the state it leaves.
		uint64_t lsn;
		if (sound) {
			sound = od_volume_barrier(volume, nullptr, &lsn, nullptr) == OD_OK; // else the next opening recovers
		}
	});
	for (auto &entry : uploads.uploads) {
		od_upload_unref(entry.second);
	}
	std::lock_guard<std::mutex> guard(open_files_lock);
	open_files.erase(claimed_file);
}

void od_engine_close(struct od_engine *engine) {
	delete engine;
}

od_code od_engine_health(struct od_engine *engine, struct od_error *err) {
	struct od_error error = {};
	if (engine->volume && !engine->read_only && od_volume_health(engine->volume, &error) != OD_OK) {
		return od_fail(err, error.code, "database \"%s\" takes no changes any more: %s", engine->catalog_name.c_str(),
		               error.message);
	}
	if (engine->stop || ValidChecker::IsInvalidated(*engine->attached)) {
		return od_fail(err, OD_UNAVAILABLE, "database \"%s\" has to be reopened", engine->catalog_name.c_str());
	}
	return OD_OK;
}

const char *od_engine_catalog_name(const struct od_engine *engine) {
	return engine->catalog_name.c_str();
}

const char *od_engine_duckdb_version(void) {
	return DuckDB::LibraryVersion();
}
