// gate.hpp - nothing is told to a client before everything it reveals is acknowledged: on this machine's
// disk, or in a layer, as the database and the session want it.
#ifndef OD_ENGINE_GATE_HPP
#define OD_ENGINE_GATE_HPP

#include "engine/engine_internal.hpp"
#include "engine/filesystem.hpp"

#include "duckdb/common/types/column/column_data_collection.hpp"

namespace openduck {

class Gate {
public:
	explicit Gate(struct od_engine &engine_p) : engine(engine_p) {}

	//! Everything that is visible now has to be durable. A commit is visible only after its barrier was appended.
	void Sample();
	//! Waits until it is: one group sync, or one object that all who wait share. Throws OD_OUTCOME_UNKNOWN when the scope's
	//! request has made a barrier that may be lost, else OD_UNAVAILABLE.
	void Pass(const CommitScope &scope, enum od_durability level);
	bool Passed() const {
		return passed;
	}
	uint64_t Lsn() const {
		return lsn;
	}

private:
	struct od_engine &engine;
	uint64_t lsn = 0;
	bool passed = false;
};

//! SET openduck_durability = 'database' | 'local' | 'remote': of one session.
extern const char *const DURABILITY_SETTING;
void AddDurabilitySetting(duckdb::DBConfig &config);
enum od_durability SessionDurability(duckdb::ClientContext &context);

//! The result of a statement that changed rows, made of the number.
duckdb::unique_ptr<duckdb::ColumnDataCollection> CountedRows(uint64_t rows);
//! For COMMIT: lends `scope` to the thread that executes it.
duckdb::unique_ptr<duckdb::PhysicalOperator> MakeCommitCollector(duckdb::PreparedStatementData &data,
                                                                 CommitScope &scope);
//! Collects such a result, and tells the running request its number before DuckDB commits.
duckdb::unique_ptr<duckdb::PhysicalOperator> MakeCountCollector(duckdb::PreparedStatementData &data);

} // namespace openduck

#endif
