// filter.hpp - DuckDB's table filters as SQL text that means exactly the same on the server.
//
// The rule of this file: what is not known to be exact is not written. A filter that cannot be written runs locally
// (ResidualFilter), an optional one is dropped, and the answer is the same either way.
#ifndef OPENDUCK_EXTENSION_FILTER_HPP
#define OPENDUCK_EXTENSION_FILTER_HPP

#include "duckdb.hpp"
#include "duckdb/execution/expression_executor.hpp"
#include "duckdb/planner/column_binding.hpp"
#include "duckdb/planner/table_filter.hpp"
#include "expression.hpp"

namespace openduck {

enum class FilterText {
	WRITTEN,    //! out has a condition; rows that fail it are not wanted
	NOTHING,    //! the filter asks for nothing that must be done (optional, or not known yet)
	IMPOSSIBLE, //! it must be applied, and has no exact text
};
//! Appends the condition of a table filter on the column written as `column` (quoted SQL).
FilterText FilterToSql(const TableFilter &filter, const string &column, const LogicalType &type, string &out);

//! Filters that must be applied to fetched chunks, because they had no text. Not thread-safe: one per scan thread.
class ResidualFilter {
public:
	explicit ResidualFilter(ClientContext &context);
	//! `column` is the filtered column's position in the chunks.
	void Add(const TableFilter &filter, idx_t column, const LogicalType &type);
	bool Empty() const {
		return expressions.empty();
	}
	//! Keeps the rows that pass all filters.
	void Apply(DataChunk &chunk);

private:
	ClientContext &context;
	vector<unique_ptr<Expression>> expressions;
	unique_ptr<ExpressionExecutor> executor;
	unique_ptr<Expression> conjunction;
};

} // namespace openduck

#endif
