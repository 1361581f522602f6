// remote.hpp - the extension's seam to libopenduck: one attached server database, its sessions, and queries on it.
//
// Everything above this header speaks of SQL text, DuckDB types and DuckDB exceptions; everything below speaks of
// od_client, od_query and od_error. Nothing else in the extension includes client/client.h.
//
// Threads: a Remote is shared freely. A RemoteSession runs one statement at a time (it locks itself). A RemoteQuery is
// read by one thread; Cancel is for any.
#ifndef OPENDUCK_EXTENSION_REMOTE_HPP
#define OPENDUCK_EXTENSION_REMOTE_HPP

#include "duck/batch_scan.hpp"
#include "duck/batch_sink.hpp"
#include "duck/convert.hpp"
#include "duckdb.hpp"

#include <atomic>
#include <mutex>

struct od_client;
struct od_request;
struct od_session;
struct od_query;
struct od_upload_stream;

namespace openduck {

using namespace duckdb; // NOLINT: the extension is written in DuckDB's vocabulary

//! What ATTACH was told.
struct ConnectOptions {
	string endpoint; // "host:port", several separated by commas; empty: the client library's default
	string token;    // empty: none
	string database; // never empty
	string ca_file, certificate_file, key_file;
	string snapshot;    // everything is read as it was there; empty: newest
	string compression; // "none" (or empty), "lz4", "zstd": of results, and of uploads

	enum od_ipc_codec Codec() const {
		return compression == "lz4" ? OD_IPC_LZ4 : compression == "zstd" ? OD_IPC_ZSTD : OD_IPC_PLAIN;
	}
};

//! The server's definitions differ from those the plan was made with; nothing has run.
class CatalogStaleException : public std::exception {
public:
	explicit CatalogStaleException(string message) : message(std::move(message)) {
	}
	const char *what() const noexcept override {
		return message.c_str();
	}

private:
	string message;
};

//! An object a plan refers to, with the definition it was bound to.
struct ObjectVersion {
	string kind, schema, name, hash;
};

//! What a request says besides its text.
struct RemoteRequest {
	string sql;
	bool describe_only = false;
	bool read_only = false;
	vector<Value> parameters; // $1, $2, ...
	vector<std::pair<string, string>> settings;
	string snapshot;        // of this request alone; empty: that of the attachment
	string catalog_version; // empty: no check
	vector<ObjectVersion> objects;
	string group; // statements of one group see one snapshot
	uint32_t group_size = 0;
	vector<ObjectVersion> tell; // what a CREATE or ALTER gives back: rows of openduck_catalog_entry()
};

class Remote;

//! A server session: temporary objects, settings and one transaction at a time.
class RemoteSession {
public:
	RemoteSession(shared_ptr<Remote> remote);
	~RemoteSession();
	od_session *Handle() {
		return session;
	}
	bool InTransaction() const;
	//! The next statement begins a transaction; until one has succeeded, so does each.
	void EnterTransaction();
	//! False: the server knows nothing of it yet.
	bool HasTransaction();
	//! What follows is outside it.
	void LeaveTransaction();

	std::recursive_mutex lock; // held while a statement is being started
	//! Later statements need this session, also outside transactions: it has settings or temporary objects.
	std::atomic<bool> has_state {false};

private:
	friend class Remote;
	void Open();
	//! In place of a lost session.
	void Renew();

	enum class Inside : uint8_t { NO, NOTHING_SENT, UNCONFIRMED, YES };

	shared_ptr<Remote> remote;
	od_session *session = nullptr;
	Inside inside = Inside::NO;
};

class RemoteQuery {
public:
	RemoteQuery(shared_ptr<Remote> remote, od_query *query);
	~RemoteQuery();

	//! Result types and names (never empty schemas: a statement without a result has zero columns).
	void Schema(vector<LogicalType> &types, vector<string> &names);
	const ArrowSchema &Arrow();
	//! 0 rows, 1 a count of changed rows, 2 nothing.
	int ResultKind() const;
	bool ReadOnly() const;
	bool InTransaction() const;
	string CatalogVersion() const;
	string CatalogName() const;
	string Incarnation() const;
	string Statement() const;
	//! The whole result came with the answer.
	bool IsComplete() const;
	//! Next batch in order: BATCH, END, FAILED, or EMPTY when a waker is given.
	enum od_pop Next(struct od_batch **batch, struct od_waker waker, struct od_error *err);
	//! Waits for the next batch but notices an interrupt of the client. nullptr at the end.
	struct od_batch *Wait(ClientContext &context);
	void Cancel();

private:
	shared_ptr<Remote> remote;
	od_query *query;
	ArrowSchema schema;
};

//! The rows of a small result as values.
class ResultRows {
public:
	ResultRows(ClientContext &context, RemoteQuery &query);
	//! Takes the batch.
	void Add(struct od_batch *batch);

	vector<vector<Value>> rows;

private:
	BatchDecoder decoder;
	DataChunk chunk;
};

//! Rows on their way to the server, read there as openduck_upload('ID').
class RemoteUpload {
public:
	RemoteUpload(shared_ptr<Remote> remote, const vector<LogicalType> &types, const vector<string> &names);
	~RemoteUpload();
	const string &Id() const {
		return id;
	}
	//! Takes the batch. False with err filled when the server or a cancel refused.
	bool Send(struct od_batch *batch, struct od_error *err);
	bool Finish(struct od_error *err);
	void Cancel();

private:
	shared_ptr<Remote> remote;
	od_upload_stream *stream = nullptr;
	string id;
};

struct Traffic {
	uint64_t bytes_sent, bytes_received, batches_received, batches_sent, round_trips, retries, resumes;
};

class Remote : public duckdb::enable_shared_from_this<Remote> {
public:
	explicit Remote(ConnectOptions options);
	~Remote();

	const ConnectOptions &Options() const {
		return options;
	}
	//! Starts a statement. Throws DuckDB's exceptions with the server's words, or CatalogStaleException.
	unique_ptr<RemoteQuery> Execute(const RemoteRequest &request, optional_ptr<RemoteSession> session);
	//! The whole result of a small statement as rows of values.
	vector<vector<Value>> Collect(ClientContext &context, const RemoteRequest &request,
	                              optional_ptr<RemoteSession> session, string *catalog_version = nullptr,
	                              string *catalog_name = nullptr);
	//! Result columns of a statement, asked once per text and catalog version.
	struct Description {
		vector<LogicalType> types;
		vector<string> names;
	};
	Description Described(const string &sql, const string &catalog_version, optional_ptr<RemoteSession> session,
	                      vector<std::pair<string, string>> settings);
	void ForgetDescription(const string &sql);
	//! Does the server have a built-in function of this name? (Asked once.)
	bool HasFunction(ClientContext &context, const string &name);
	Traffic GetTraffic() const;
	od_client *Handle() {
		return client;
	}

	std::atomic<uint64_t> rows_read {0}; // rows handed to DuckDB, by every query of this attachment

private:
	ConnectOptions options;
	od_client *client = nullptr;
	std::mutex descriptions_lock;
	unordered_map<string, std::pair<string, Description>> descriptions; // text -> version, columns; bounded
	//! Runs it on a session; the caller holds the session's lock.
	od_code ExecuteInside(RemoteSession &session, struct od_request &request, od_query **query, struct od_error &err);

	std::mutex functions_lock;
	bool functions_known = false;
	case_insensitive_set_t functions;
};

//! A batch source over a query, for BatchScanGlobal; owns the query.
class QuerySource : public BatchSource {
public:
	QuerySource(shared_ptr<Remote> remote, unique_ptr<RemoteQuery> query)
	    : remote(std::move(remote)), query(std::move(query)) {
	}
	enum od_pop Next(struct od_batch **batch, struct od_waker waker, struct od_error *err) override;

private:
	shared_ptr<Remote> remote;
	unique_ptr<RemoteQuery> query;
};

[[noreturn]] void ThrowRemote(const struct od_error &err);

} // namespace openduck

#endif
