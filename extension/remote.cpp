// remote.cpp - see remote.hpp.
#include "remote.hpp"

#include "arrow/ipc.h"
#include "client/client.h"
#include "duckdb/common/arrow/arrow.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/main/client_context.hpp"

#include <condition_variable>

namespace openduck {

void ThrowRemote(const struct od_error &err) {
	if (err.code == OD_CATALOG_STALE) {
		throw CatalogStaleException(err.message);
	}
	ErrorToDuck(err).Throw();
	throw InternalException("openduck: an error without a class: %s", err.message);
}

//===--------------------------------------------------------------------===//
// Remote
//===--------------------------------------------------------------------===//
Remote::Remote(ConnectOptions options_p) : options(std::move(options_p)) {
	struct od_client_options copts = {};
	copts.struct_bytes = sizeof(copts);
	copts.address = options.endpoint.empty() ? nullptr : options.endpoint.c_str();
	copts.token = options.token.empty() ? nullptr : options.token.c_str();
	copts.tls_ca_file = options.ca_file.empty() ? nullptr : options.ca_file.c_str();
	copts.tls_certificate_file = options.certificate_file.empty() ? nullptr : options.certificate_file.c_str();
	copts.tls_key_file = options.key_file.empty() ? nullptr : options.key_file.c_str();
	copts.compression = static_cast<enum od_compression>(options.Codec());
	struct od_error err = {};
	if (od_client_open(&copts, &client, &err) != OD_OK) {
		ThrowRemote(err);
	}
}

Remote::~Remote() {
	if (client) {
		od_client_close(client);
	}
}

Traffic Remote::GetTraffic() const {
	struct od_client_traffic t = {};
	od_client_get_traffic(client, &t);
	return {t.bytes_sent, t.bytes_received, t.batches_received, t.batches_sent, t.round_trips, t.retries, t.resumes};
}

//! One row of parameters as the two IPC messages the request carries: schema, batch.
static string EncodeParameters(const vector<Value> &parameters) {
	vector<LogicalType> types;
	vector<string> names;
	for (idx_t i = 0; i < parameters.size(); i++) {
		types.push_back(parameters[i].type());
		names.push_back(std::to_string(i + 1));
	}
	string result = SchemaMessage(types, names, true);
	DataChunk chunk;
	chunk.Initialize(Allocator::DefaultAllocator(), types, 1);
	for (idx_t i = 0; i < parameters.size(); i++) {
		chunk.SetValue(i, 0, parameters[i]);
	}
	chunk.SetCardinality(1);
	BatchEncoder encoder(types, true);
	(void)encoder.Append(chunk);
	auto batch = encoder.Finish();
	for (size_t i = 0; i < batch->segment_count; i++) {
		result.append(const_char_ptr_cast(batch->segments[i].data), batch->segments[i].bytes);
	}
	od_batch_unref(batch);
	return result;
}

//! Borrows.
static vector<struct od_request_object> RequestObjects(const vector<ObjectVersion> &objects) {
	vector<struct od_request_object> result;
	for (auto &object : objects) {
		result.push_back({object.kind.c_str(), object.schema.c_str(), object.name.c_str(), object.hash.c_str()});
	}
	return result;
}

unique_ptr<RemoteQuery> Remote::Execute(const RemoteRequest &request, optional_ptr<RemoteSession> session) {
	struct od_request req = {};
	req.struct_bytes = sizeof(req);
	req.database = options.database.c_str();
	req.sql = request.sql.c_str();
	req.sql_bytes = request.sql.size();
	req.exact_types = true;
	req.describe_only = request.describe_only;
	req.read_only = request.read_only;
	string parameters;
	if (!request.parameters.empty()) {
		parameters = EncodeParameters(request.parameters);
		req.parameter_bytes = const_data_ptr_cast(parameters.data());
		req.parameter_bytes_count = parameters.size();
	}
	vector<struct od_request_setting> settings;
	for (auto &setting : request.settings) {
		settings.push_back({setting.first.c_str(), setting.second.c_str()});
	}
	req.settings = settings.data();
	req.setting_count = settings.size();
	vector<struct od_request_object> objects, tell;
	if (!request.catalog_version.empty()) {
		req.catalog_version = request.catalog_version.c_str();
		objects = RequestObjects(request.objects);
		req.objects = objects.data();
		req.object_count = objects.size();
	}
	tell = RequestObjects(request.tell);
	req.tell = tell.data();
	req.tell_count = tell.size();
	auto &snapshot = request.snapshot.empty() ? options.snapshot : request.snapshot;
	if (!snapshot.empty()) {
		req.snapshot = snapshot.c_str();
	}
	if (!request.group.empty()) {
		req.snapshot_group = request.group.c_str();
		req.snapshot_group_size = request.group_size;
	}
	struct od_error err = {};
	struct od_query *query = nullptr;
	od_code rc;
	if (session) {
		std::lock_guard<std::recursive_mutex> guard(session->lock);
		rc = ExecuteInside(*session, req, &query, err);
	} else {
		rc = od_client_execute(client, nullptr, &req, &query, &err);
	}
	if (rc != OD_OK) {
		ThrowRemote(err);
	}
	return make_uniq<RemoteQuery>(shared_from_this(), query);
}

od_code Remote::ExecuteInside(RemoteSession &session, struct od_request &request, od_query **query,
                              struct od_error &err) {
	using Inside = RemoteSession::Inside;
	bool first = session.inside == Inside::NOTHING_SENT;
	if (first) {
		session.inside = Inside::UNCONFIRMED;
	}
	request.begin_transaction = session.inside == Inside::UNCONFIRMED;
	auto rc = od_client_execute(client, session.session, &request, query, &err);
	if (rc == OD_SESSION_LOST) {
		// Outside a transaction nothing is lost with it but temporary objects and settings: if there are any, this is
		// said once.
		bool has_state = session.has_state.exchange(false);
		if (session.inside == Inside::YES || (session.inside == Inside::UNCONFIRMED && !first)) {
			return rc;
		}
		session.Renew();
		if (!has_state) {
			rc = od_client_execute(client, session.session, &request, query, &err);
		}
	}
	if (rc == OD_OK && session.inside == Inside::UNCONFIRMED) {
		session.inside = Inside::YES;
	}
	return rc;
}

ResultRows::ResultRows(ClientContext &context, RemoteQuery &query) : decoder(context, query.Arrow()) {
	vector<LogicalType> types;
	vector<string> names;
	query.Schema(types, names);
	if (!types.empty()) {
		chunk.Initialize(Allocator::Get(context), types);
	}
}

void ResultRows::Add(struct od_batch *batch) {
	if (chunk.ColumnCount() == 0) {
		od_batch_unref(batch);
		return;
	}
	try {
		decoder.Load(batch);
	} catch (...) {
		od_batch_unref(batch);
		throw;
	}
	od_batch_unref(batch);
	while (decoder.Remaining() > 0) {
		chunk.Reset();
		decoder.Read(chunk);
		for (idx_t row = 0; row < chunk.size(); row++) {
			vector<Value> values;
			for (idx_t col = 0; col < chunk.ColumnCount(); col++) {
				values.push_back(chunk.GetValue(col, row));
			}
			rows.push_back(std::move(values));
		}
	}
}

vector<vector<Value>> Remote::Collect(ClientContext &context, const RemoteRequest &request,
                                      optional_ptr<RemoteSession> session, string *catalog_version,
                                      string *catalog_name) {
	auto query = Execute(request, session);
	ResultRows result(context, *query);
	while (auto batch = query->Wait(context)) {
		result.Add(batch);
	}
	if (catalog_version) {
		*catalog_version = query->CatalogVersion();
	}
	if (catalog_name) {
		*catalog_name = query->CatalogName();
	}
	return std::move(result.rows);
}

static constexpr idx_t DESCRIPTIONS_MAX = 1024;

Remote::Description Remote::Described(const string &sql, const string &catalog_version,
                                      optional_ptr<RemoteSession> session,
                                      vector<std::pair<string, string>> settings) {
	auto key = sql;
	for (auto &setting : settings) {
		key += '\0' + setting.first + '=' + setting.second;
	}
	if (!session && !catalog_version.empty()) {
		std::lock_guard<std::mutex> guard(descriptions_lock);
		auto entry = descriptions.find(key);
		if (entry != descriptions.end() && entry->second.first == catalog_version) {
			return entry->second.second;
		}
	}
	RemoteRequest request;
	request.sql = sql;
	request.describe_only = true;
	request.settings = std::move(settings);
	auto query = Execute(request, session);
	Description result;
	query->Schema(result.types, result.names);
	if (!session) {
		std::lock_guard<std::mutex> guard(descriptions_lock);
		if (descriptions.size() >= DESCRIPTIONS_MAX) {
			descriptions.clear();
		}
		descriptions[key] = {query->CatalogVersion(), result};
	}
	return result;
}

void Remote::ForgetDescription(const string &sql) {
	std::lock_guard<std::mutex> guard(descriptions_lock);
	descriptions.clear();
}

bool Remote::HasFunction(ClientContext &context, const string &name) {
	std::lock_guard<std::mutex> guard(functions_lock);
	if (!functions_known) {
		RemoteRequest request;
		request.sql = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE internal";
		for (auto &row : Collect(context, request, nullptr)) {
			functions.insert(row[0].ToString());
		}
		functions_known = true;
	}
	return functions.find(name) != functions.end();
}

//===--------------------------------------------------------------------===//
// RemoteSession
//===--------------------------------------------------------------------===//
RemoteSession::RemoteSession(shared_ptr<Remote> remote_p) : remote(std::move(remote_p)) {
	Open();
}

void RemoteSession::Open() {
	struct od_error err = {};
	if (od_session_open(remote->Handle(), remote->Options().database.c_str(), &session, &err) != OD_OK) {
		ThrowRemote(err);
	}
}

RemoteSession::~RemoteSession() {
	if (session) {
		od_session_close(session);
	}
}

void RemoteSession::Renew() {
	od_session_close(session);
	session = nullptr;
	Open();
}

bool RemoteSession::InTransaction() const {
	return od_session_in_transaction(session);
}

void RemoteSession::EnterTransaction() {
	std::lock_guard<std::recursive_mutex> guard(lock);
	inside = Inside::NOTHING_SENT;
}

bool RemoteSession::HasTransaction() {
	std::lock_guard<std::recursive_mutex> guard(lock);
	return inside == Inside::UNCONFIRMED || inside == Inside::YES;
}

void RemoteSession::LeaveTransaction() {
	std::lock_guard<std::recursive_mutex> guard(lock);
	inside = Inside::NO;
}

//===--------------------------------------------------------------------===//
// RemoteQuery
//===--------------------------------------------------------------------===//
RemoteQuery::RemoteQuery(shared_ptr<Remote> remote_p, od_query *query_p)
    : remote(std::move(remote_p)), query(query_p), schema() {
}

RemoteQuery::~RemoteQuery() {
	if (schema.release) {
		schema.release(&schema);
	}
	od_query_close(query);
}

const ArrowSchema &RemoteQuery::Arrow() {
	if (!schema.release) {
		struct od_error err = {};
		if (od_query_schema(query, &schema, &err) != OD_OK) {
			ThrowRemote(err);
		}
	}
	return schema;
}

void RemoteQuery::Schema(vector<LogicalType> &types, vector<string> &names) {
	auto &arrow = Arrow();
	if (!SchemaIsExact(arrow)) {
		throw NotImplementedException("the server does not send DuckDB's own types; use openduck_query() on a server of "
		                              "this version");
	}
	TypesFromSchema(arrow, types, names);
}

static od_query_info InfoOf(od_query *query) {
	struct od_query_info info = {};
	od_query_get_info(query, &info);
	return info;
}

static string TextOf(const char *text) {
	return text ? string(text) : string();
}

int RemoteQuery::ResultKind() const {
	return InfoOf(query).result;
}
bool RemoteQuery::ReadOnly() const {
	return InfoOf(query).read_only;
}
bool RemoteQuery::InTransaction() const {
	return InfoOf(query).in_transaction;
}
string RemoteQuery::CatalogVersion() const {
	return TextOf(InfoOf(query).catalog_version);
}
string RemoteQuery::CatalogName() const {
	return TextOf(InfoOf(query).catalog_name);
}
string RemoteQuery::Incarnation() const {
	return TextOf(InfoOf(query).incarnation);
}
string RemoteQuery::Statement() const {
	return TextOf(InfoOf(query).statement);
}

bool RemoteQuery::IsComplete() const {
	return od_query_is_complete(query);
}

enum od_pop RemoteQuery::Next(struct od_batch **batch, struct od_waker waker, struct od_error *err) {
	return od_query_next_batch(query, batch, waker, err);
}

namespace {
//! A waker that a waiting thread sleeps on. Shared with the callback, which may come after the wait was given up.
struct Doorbell {
	std::mutex lock;
	std::condition_variable rung;
	bool ring = false;

	static void Ring(void *argument) {
		auto bell = static_cast<shared_ptr<Doorbell> *>(argument);
		{
			std::lock_guard<std::mutex> guard((*bell)->lock);
			(*bell)->ring = true;
		}
		(*bell)->rung.notify_all();
		delete bell;
	}
};
} // namespace

struct od_batch *RemoteQuery::Wait(ClientContext &context) {
	bool cancelled = false;
	while (true) {
		struct od_error err = {};
		struct od_batch *batch = nullptr;
		auto bell = make_shared_ptr<Doorbell>();
		auto argument = new shared_ptr<Doorbell>(bell);
		switch (od_query_next_batch(query, &batch, {Doorbell::Ring, argument}, &err)) {
		case OD_POP_BATCH:
			delete argument;
			remote->rows_read += batch->rows;
			return batch;
		case OD_POP_END:
			delete argument;
			return nullptr;
		case OD_POP_FAILED:
			delete argument;
			if (cancelled && err.code == OD_CANCELLED) {
				throw InterruptException();
			}
			ThrowRemote(err);
		case OD_POP_EMPTY:
			break;
		}
		std::unique_lock<std::mutex> guard(bell->lock);
		while (!bell->ring) {
			if (context.IsInterrupted() && !cancelled) {
				cancelled = true;
				guard.unlock();
				Cancel();
				guard.lock();
				continue;
			}
			bell->rung.wait_for(guard, std::chrono::milliseconds(20));
		}
	}
}

void RemoteQuery::Cancel() {
	od_query_cancel(query);
}

enum od_pop QuerySource::Next(struct od_batch **batch, struct od_waker waker, struct od_error *err) {
	auto result = query->Next(batch, waker, err);
	if (result == OD_POP_BATCH) {
		remote->rows_read += (*batch)->rows;
	}
	return result;
}

//===--------------------------------------------------------------------===//
// RemoteUpload
//===--------------------------------------------------------------------===//
RemoteUpload::RemoteUpload(shared_ptr<Remote> remote_p, const vector<LogicalType> &types, const vector<string> &names)
    : remote(std::move(remote_p)) {
	auto message = SchemaMessage(types, names, true);
	struct od_error err = {};
	if (od_upload_stream_open_encoded(remote->Handle(), remote->Options().database.c_str(),
	                                  const_data_ptr_cast(message.data()), message.size(), &stream, &err) != OD_OK) {
		ThrowRemote(err);
	}
	id = od_upload_stream_id(stream);
}

RemoteUpload::~RemoteUpload() {
	if (stream) {
		od_upload_stream_close(stream);
	}
}

bool RemoteUpload::Send(struct od_batch *batch, struct od_error *err) {
	return od_upload_stream_send_batch(stream, batch, err) == OD_OK;
}

bool RemoteUpload::Finish(struct od_error *err) {
	return od_upload_stream_finish(stream, err) == OD_OK;
}

void RemoteUpload::Cancel() {
	od_upload_stream_cancel(stream);
}

} // namespace openduck
