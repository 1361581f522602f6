// statement.hpp - one statement on its way through DuckDB.
#ifndef OD_ENGINE_STATEMENT_HPP
#define OD_ENGINE_STATEMENT_HPP

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/main/pending_query_result.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include "engine/gate.hpp"
#include "engine/settings.hpp"

namespace openduck {

//! Lives on the stack of od_connection_run. DuckDB calls back into it three times before the statement has an effect:
//! see binding.cpp.
class Run {
public:
	Run(struct od_connection &connection, const struct od_statement &statement, struct od_result *result);
	//! Throws on failure.
	void Execute();
	//! Before the outcome is told: see gate.hpp.
	void PassGate();
	//! The same in a handler of what Execute threw; throws what is to be told instead, if anything.
	void Failed();

	//! Makes a new connection call its running statement back.
	static void Attach(struct od_connection &connection);

	void QueryBegin(duckdb::ClientContext &context) noexcept;
	//! Called for every bound statement of the instance, by its planner extension (policy.cpp).
	static void Bound(duckdb::ClientContext &context, duckdb::StatementProperties &properties);
	duckdb::unique_ptr<duckdb::PhysicalOperator> Planned(duckdb::ClientContext &context,
	                                                     duckdb::PreparedStatementData &data);

private:
	duckdb::vector<duckdb::unique_ptr<duckdb::SQLStatement>> Parse();
	void RunAll(duckdb::vector<duckdb::unique_ptr<duckdb::SQLStatement>> statements);
	duckdb::unique_ptr<duckdb::QueryResult> RunOne(duckdb::unique_ptr<duckdb::SQLStatement> statement);
	void Drive(duckdb::PendingQueryResult &pending);
	bool Remembered();
	void AnswerFromLedger(uint64_t changed_rows);
	duckdb::unique_ptr<duckdb::ColumnDataCollection> CommittedRows();
	bool Tells(const duckdb::StatementProperties &properties) const;
	void Describe(duckdb::vector<duckdb::unique_ptr<duckdb::SQLStatement>> statements);
	void DescribeOne(duckdb::unique_ptr<duckdb::SQLStatement> statement);

	void Inspect(duckdb::SQLStatement &statement, bool last);
	void CheckCatalog(duckdb::ClientContext &context, bool may_begin);
	void Admit(duckdb::StatementProperties &properties);
	void DescribeResult(const duckdb::vector<duckdb::LogicalType> &types, const duckdb::vector<std::string> &names,
	                    const duckdb::StatementProperties &properties, const std::string &parameter_schema);
	bool WritesDatabase(const duckdb::StatementProperties &properties) const;
	CatalogVersion FinalVersion();
	void Reject(od_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
	void ThrowIfRejected();
	[[noreturn]] void Throw(const duckdb::ErrorData &error);
	void ThrowIfInterrupted();

	struct od_connection &connection;
	const struct od_statement &statement;
	struct od_result *result;
	duckdb::ClientContext &context;
	CommitScope scope;
	Gate gate;
	duckdb::unique_ptr<duckdb::ColumnDataCollection> rows_of_commit; // of one that DuckDB reported as failed
	duckdb::unique_ptr<duckdb::ColumnDataCollection> told;           // od_statement.tell

	// the statement at hand
	duckdb::StatementType type = duckdb::StatementType::INVALID_STATEMENT;
	bool last = false;          // its result is the client's
	bool plain_explain = false; // plans a statement without running it
	bool wrote = false;
	bool streaming = false;
	bool described = false;
	bool tells = false; // its result is what od_statement.tell asks for
	bool rejected = false; // by a rule of ours: `rejection` says why, whatever DuckDB makes of it
	struct od_error rejection {};

	CatalogVersion bound; // what the statement's transaction saw when it began
	bool has_bound = false;
	bool catalog_changed = false; // by this statement, or by the transaction it commits
};

//! How DuckDB finds the connection's running statement.
class ConnectionState : public duckdb::ClientContextState {
public:
	static constexpr const char *KEY = "openduck";
	explicit ConnectionState(struct od_connection &connection_p) : connection(connection_p) {}
	void QueryBegin(duckdb::ClientContext &context) override {
		if (connection.run) {
			connection.run->QueryBegin(context);
		}
	}
	struct od_connection &connection;
};

} // namespace openduck

#endif
