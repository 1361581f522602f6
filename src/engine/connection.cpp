// connection.cpp - opening, closing and interrupting a connection. Running a statement is statement.cpp.
//
// A connection's catalog is the database: unqualified names never reach the instance's in-memory main database.
#include "engine/engine_internal.hpp"

#include "engine/statement.hpp"

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/main/client_data.hpp"

using namespace duckdb;

od_code od_connection_open(struct od_engine *engine, struct od_connection **connection, struct od_error *err) {
	return openduck::Guarded(err, [&] {
		auto c = make_uniq<od_connection>();
		c->engine = engine;
		c->con = make_uniq<Connection>(*engine->db);
		auto &context = c->Context();
		// The path is set without looking the schema up: "main" of an attached database always exists.
		ClientData::Get(context).catalog_search_path->Set(CatalogSearchEntry(engine->catalog_name, DEFAULT_SCHEMA),
		                                                  CatalogSetPathType::SET_DIRECTLY);
		openduck::ApplyConnectionPolicy(*engine, context);
		openduck::Run::Attach(*c);
		*connection = c.release();
	});
}

void od_connection_close(struct od_connection *connection) {
	if (!connection) {
		return;
	}
	(void)openduck::Guarded(nullptr, [&] { connection->con.reset(); });
	delete connection;
}

void od_connection_interrupt(struct od_connection *connection) {
	std::lock_guard<std::mutex> guard(connection->lock);
	if (connection->running) {
		connection->interrupted = true;
		connection->Context().Interrupt();
	}
}

bool od_connection_in_transaction(struct od_connection *connection) {
	return !connection->Context().transaction.IsAutoCommit();
}

bool od_connection_has_state(const struct od_connection *connection) {
	return connection->has_state || !connection->con->context->transaction.IsAutoCommit();
}
