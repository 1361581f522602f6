// hybrid_unparse.cpp - bound operators as SQL text that gives exactly their rows and types; see hybrid.hpp.
//
// Each operator becomes SELECT ... AS c0, ... AS c1 FROM (child) q1, so that a column of the plan is always q<k>.c<i>.
// Expressions are filter.cpp's, with its rule: what is not known to be exact is not written.
//
// Not written, and why:
//   windows, ORDER BY within aggregates, grouping sets   their text is not proven equal yet
//   delim joins                        a decorrelated subquery has no SQL form
//   asof, positional joins             depend on row order, or on a comparison that has no ON form
//   samples                            draw anew at each run
//   ORDER BY without LIMIT             order is made where rows are used
//   LIMIT by expression or percentage  may be a subquery's value
//   CTE references, recursion          their definition is elsewhere in the plan
//   tables of values                   cross no smaller as text
#include "duckdb/planner/expression/list.hpp"
#include "duckdb/planner/operator/list.hpp"
#include "filter.hpp"
#include "hybrid.hpp"
#include "scan.hpp"
#include "text.hpp"

namespace openduck {

namespace {

bool HasText(const LogicalType &type) {
	string text;
	return LiteralToSql(Value(type), text);
}

//! Aggregates whose value depends on their rows alone, not on the rows' order.
const case_insensitive_set_t EXACT_AGGREGATES = {
    "count",   "count_star", "sum",     "avg",    "mean",        "min",        "max",      "bool_and", "bool_or",
    "bit_and", "bit_or",     "bit_xor", "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop"};

bool IsProduct(const LogicalOperator &op) {
	return op.type == LogicalOperatorType::LOGICAL_CROSS_PRODUCT ||
	       (op.type == LogicalOperatorType::LOGICAL_FILTER && IsProduct(*op.children[0]));
}

//! An equality of two things that are not constants, or several conditions with one among them.
bool IsJoinCondition(const Expression &expression) {
	if (expression.GetExpressionType() == ExpressionType::CONJUNCTION_AND) {
		for (auto &child : expression.Cast<BoundConjunctionExpression>().children) {
			if (IsJoinCondition(*child)) {
				return true;
			}
		}
		return false;
	}
	if (expression.GetExpressionType() != ExpressionType::COMPARE_EQUAL) {
		return false;
	}
	auto &comparison = expression.Cast<BoundComparisonExpression>();
	return !comparison.left->IsFoldable() && !comparison.right->IsFoldable();
}

//! The value of an aggregate without groups, perhaps computed further.
bool IsOneRow(const LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY) {
		return op.Cast<LogicalAggregate>().groups.empty();
	}
	return op.type == LogicalOperatorType::LOGICAL_PROJECTION && IsOneRow(*op.children[0]);
}

class Unparser {
public:
	explicit Unparser(UnparsedPlan &out) : out(out) {}
	//! Appends the statement of one operator and everything below it.
	bool Write(LogicalOperator &op, string &sql);

private:
	//! A child as it stands in FROM, and how its columns are named.
	struct Source {
		vector<ColumnBinding> bindings;
		string name;
	};
	bool WriteSource(LogicalOperator &op, string &from, Source &source) {
		string sql;
		if (!Write(op, sql)) {
			return false;
		}
		source.bindings = op.GetColumnBindings();
		source.name = "q" + std::to_string(next++);
		from += "(" + sql + ") " + source.name;
		return true;
	}
	static bool Find(const vector<Source> &sources, const ColumnBinding &binding, string &sql) {
		for (auto &source : sources) {
			for (idx_t i = 0; i < source.bindings.size(); i++) {
				if (source.bindings[i] == binding) {
					sql += source.name + ".c" + std::to_string(i);
					return true;
				}
			}
		}
		return false;
	}
	static bool WriteValue(const Expression &expression, const vector<Source> &sources, string &sql) {
		auto namer = [&](const Expression &column, string &text) {
			if (column.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF) {
				return false;
			}
			auto &ref = column.Cast<BoundColumnRefExpression>();
			return ref.depth == 0 && Find(sources, ref.binding, text);
		};
		return !expression.IsVolatile() && !expression.HasParameter() && ExpressionToSql(expression, namer, sql);
	}
	//! A value of exactly the expression's type.
	static bool WriteTyped(const Expression &expression, const vector<Source> &sources, string &sql) {
		if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
			return WriteValue(expression, sources, sql);
		}
		string value;
		if (!HasText(expression.return_type) || !WriteValue(expression, sources, value)) {
			return false;
		}
		sql += "CAST(" + value + " AS " + expression.return_type.ToString() + ")";
		return true;
	}
	//! SELECT and the columns that the operator hands on from its children.
	static bool WriteColumns(LogicalOperator &op, const vector<Source> &sources, string &sql,
	                         const char *select = "SELECT ") {
		sql += select;
		auto bindings = op.GetColumnBindings();
		for (idx_t i = 0; i < bindings.size(); i++) {
			sql += i ? ", " : "";
			if (!Find(sources, bindings[i], sql)) {
				return false;
			}
			sql += " AS c" + std::to_string(i);
		}
		return !bindings.empty();
	}
	static bool WriteAll(const vector<unique_ptr<Expression>> &conditions, const vector<Source> &sources, string &sql) {
		for (idx_t i = 0; i < conditions.size(); i++) {
			sql += i ? " AND " : "";
			if (!WriteValue(*conditions[i], sources, sql)) {
				return false;
			}
		}
		return true;
	}

	bool WriteGet(LogicalGet &get, string &sql);
	bool WriteProjection(LogicalProjection &projection, string &sql);
	bool WriteAggregate(LogicalAggregate &aggregate, string &sql);
	static bool WriteAggregateCall(const BoundAggregateExpression &call, const vector<Source> &sources, string &sql);
	bool WriteConditions(LogicalComparisonJoin &join, const vector<Source> &sources, string &sql);
	bool WriteJoin(LogicalJoin &join, string &sql);
	bool WriteLimit(LogicalLimit &limit, string &sql);
	bool WriteSetOperation(LogicalSetOperation &set, string &sql);

	UnparsedPlan &out;
	idx_t next = 0;
};

bool Unparser::WriteGet(LogicalGet &get, string &sql) {
	if (get.function.name != "openduck_scan" || !get.children.empty() || !get.table_filters.filters.empty() ||
	    get.ordinality_idx.IsValid() || get.extra_info.sample_options || get.dynamic_filters ||
	    !get.projection_ids.empty()) {
		return false;
	}
	auto &bind = get.bind_data->Cast<ScanBindData>();
	if (bind.IsText() || !bind.catalog || !bind.conditions.empty() || bind.limit.IsValid() ||
	    (out.catalog && out.catalog.get() != bind.catalog)) {
		return false;
	}
	sql += "SELECT ";
	auto &ids = get.GetColumnIds();
	for (idx_t i = 0; i < ids.size(); i++) {
		auto &id = ids[i];
		sql += i ? ", " : "";
		if (id.HasChildren() || id.HasType()) {
			return false;
		}
		if (id.GetPrimaryIndex() == COLUMN_IDENTIFIER_ROW_ID) {
			sql += "rowid";
		} else if (id.GetPrimaryIndex() == COLUMN_IDENTIFIER_EMPTY) {
			sql += "false";
		} else if (id.GetPrimaryIndex() < bind.names.size()) {
			sql += QuotedName(bind.names[id.GetPrimaryIndex()]);
		} else {
			return false;
		}
		sql += " AS c" + std::to_string(i);
	}
	sql += " FROM " + bind.relation;
	out.catalog = bind.catalog;
	out.catalog_alias = bind.catalog_alias;
	out.catalog_version = bind.catalog_version;
	for (auto &object : bind.objects) {
		bool known = false;
		for (auto &other : out.objects) {
			known = known || (other.kind == object.kind && other.schema == object.schema && other.name == object.name);
		}
		if (!known) {
			out.objects.push_back(object);
		}
	}
	return !ids.empty();
}

bool Unparser::WriteProjection(LogicalProjection &projection, string &sql) {
	string from;
	vector<Source> sources(1);
	if (!WriteSource(*projection.children[0], from, sources[0])) {
		return false;
	}
	sql += "SELECT ";
	for (idx_t i = 0; i < projection.expressions.size(); i++) {
		sql += i ? ", " : "";
		if (!WriteTyped(*projection.expressions[i], sources, sql)) {
			return false;
		}
		sql += " AS c" + std::to_string(i);
	}
	sql += " FROM " + from;
	return !projection.expressions.empty();
}

bool Unparser::WriteAggregateCall(const BoundAggregateExpression &call, const vector<Source> &sources, string &sql) {
	if (!EXACT_AGGREGATES.count(call.function.name) || call.order_bys || call.children.size() > 1 ||
	    !HasText(call.return_type)) {
		return false;
	}
	string text = call.function.name == "count_star" ? string("count(") : QuotedName(call.function.name) + "(";
	text += call.IsDistinct() ? "DISTINCT " : "";
	if (call.children.empty()) {
		text += "*";
	} else if (!HasText(call.children[0]->return_type) || !WriteTyped(*call.children[0], sources, text)) {
		return false;
	}
	text += ")";
	if (call.filter) {
		text += " FILTER (WHERE ";
		if (!WriteValue(*call.filter, sources, text)) {
			return false;
		}
		text += ")";
	}
	sql += "CAST(" + text + " AS " + call.return_type.ToString() + ")";
	return true;
}

bool Unparser::WriteAggregate(LogicalAggregate &aggregate, string &sql) {
	auto &sets = aggregate.grouping_sets;
	if (!aggregate.grouping_functions.empty() || sets.size() > 1 ||
	    (sets.size() == 1 && sets[0].size() != aggregate.groups.size()) ||
	    aggregate.groups.size() + aggregate.expressions.size() == 0) {
		return false;
	}
	string from;
	vector<Source> sources(1);
	if (!WriteSource(*aggregate.children[0], from, sources[0])) {
		return false;
	}
	string groups;
	idx_t column = 0;
	sql += "SELECT ";
	for (auto &group : aggregate.groups) {
		sql += column ? ", " : "";
		if (!HasText(group->return_type) || !WriteTyped(*group, sources, sql)) {
			return false;
		}
		sql += " AS c" + std::to_string(column++);
		groups += (groups.empty() ? " GROUP BY " : ", ") + std::to_string(column);
	}
	for (auto &expression : aggregate.expressions) {
		sql += column ? ", " : "";
		if (expression->GetExpressionClass() != ExpressionClass::BOUND_AGGREGATE ||
		    !WriteAggregateCall(expression->Cast<BoundAggregateExpression>(), sources, sql)) {
			return false;
		}
		sql += " AS c" + std::to_string(column++);
	}
	sql += " FROM " + from + groups;
	out.reduces = true;
	return true;
}

bool Unparser::WriteConditions(LogicalComparisonJoin &join, const vector<Source> &sources, string &sql) {
	if (!join.duplicate_eliminated_columns.empty() || join.conditions.empty()) {
		return false;
	}
	vector<unique_ptr<Expression>> conditions;
	for (auto &condition : join.conditions) {
		conditions.push_back(make_uniq<BoundComparisonExpression>(condition.comparison, condition.left->Copy(),
		                                                          condition.right->Copy()));
	}
	if (join.predicate) {
		conditions.push_back(join.predicate->Copy());
	}
	return WriteAll(conditions, sources, sql);
}

const char *JoinWord(JoinType type) {
	switch (type) {
	case JoinType::INNER:
		return " JOIN ";
	case JoinType::LEFT:
		return " LEFT JOIN ";
	case JoinType::RIGHT:
		return " RIGHT JOIN ";
	case JoinType::OUTER:
		return " FULL JOIN ";
	case JoinType::SEMI:
		return " SEMI JOIN ";
	case JoinType::ANTI:
		return " ANTI JOIN ";
	default:
		return nullptr;
	}
}

bool Unparser::WriteJoin(LogicalJoin &join, string &sql) {
	string left, right;
	vector<Source> sources(2);
	if (!WriteSource(*join.children[0], left, sources[0]) || !WriteSource(*join.children[1], right, sources[1])) {
		return false;
	}
	out.reduces = true;
	if (join.join_type == JoinType::MARK) {
		// x IN (SELECT y ...): what such a join was made of.
		auto &mark = join.Cast<LogicalComparisonJoin>();
		if (join.type != LogicalOperatorType::LOGICAL_COMPARISON_JOIN || mark.conditions.size() != 1 ||
		    mark.predicate || !mark.duplicate_eliminated_columns.empty() ||
		    mark.conditions[0].comparison != ExpressionType::COMPARE_EQUAL || join.HasProjectionMap()) {
			return false;
		}
		auto &condition = mark.conditions[0];
		string key, other;
		if (!HasText(condition.left->return_type) || !WriteTyped(*condition.left, {sources[0]}, key) ||
		    !WriteTyped(*condition.right, {sources[1]}, other)) {
			return false;
		}
		sql += "SELECT ";
		auto count = sources[0].bindings.size();
		for (idx_t i = 0; i < count; i++) {
			auto column = ".c" + std::to_string(i);
			sql += sources[0].name + column + " AS c" + std::to_string(i) + ", ";
		}
		sql +=
		    "(" + key + " IN (SELECT " + other + " FROM " + right + ")) AS c" + std::to_string(count) + " FROM " + left;
		return true;
	}
	auto word = JoinWord(join.join_type);
	string condition;
	if (!word || !WriteColumns(join, sources, sql)) {
		return false;
	}
	if (join.type == LogicalOperatorType::LOGICAL_ANY_JOIN) {
		auto &any = join.Cast<LogicalAnyJoin>();
		if (!WriteValue(*any.condition, sources, condition)) {
			return false;
		}
	} else if (!WriteConditions(join.Cast<LogicalComparisonJoin>(), sources, condition)) {
		return false;
	}
	sql += " FROM " + left + word + right + " ON (" + condition + ")";
	return true;
}

//! LIMIT, and the ORDER BY it cuts: together they keep their meaning as a subquery.
bool Unparser::WriteLimit(LogicalLimit &limit, string &sql) {
	auto plain = [](const BoundLimitNode &node) {
		return node.Type() == LimitNodeType::UNSET || node.Type() == LimitNodeType::CONSTANT_VALUE;
	};
	if (!plain(limit.limit_val) || !plain(limit.offset_val)) {
		return false;
	}
	auto &child = *limit.children[0];
	bool ordered = child.type == LogicalOperatorType::LOGICAL_ORDER_BY;
	string from, order;
	vector<Source> sources(1);
	if (!WriteSource(ordered ? *child.children[0] : child, from, sources[0]) || !WriteColumns(limit, sources, sql)) {
		return false;
	}
	if (ordered) {
		for (auto &node : child.Cast<LogicalOrder>().orders) {
			if (node.expression->GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF ||
			    !HasText(node.expression->return_type) || node.type == OrderType::ORDER_DEFAULT ||
			    node.null_order == OrderByNullType::ORDER_DEFAULT) {
				return false; // a constant would be a position
			}
			order += order.empty() ? " ORDER BY " : ", ";
			if (!WriteValue(*node.expression, sources, order)) {
				return false;
			}
			order += node.type == OrderType::DESCENDING ? " DESC" : " ASC";
			order += node.null_order == OrderByNullType::NULLS_FIRST ? " NULLS FIRST" : " NULLS LAST";
		}
	}
	sql += " FROM " + from + order;
	if (limit.limit_val.Type() == LimitNodeType::CONSTANT_VALUE) {
		sql += " LIMIT " + std::to_string(limit.limit_val.GetConstantValue());
	}
	if (limit.offset_val.Type() == LimitNodeType::CONSTANT_VALUE) {
		sql += " OFFSET " + std::to_string(limit.offset_val.GetConstantValue());
	}
	out.reduces = true;
	return true;
}

bool Unparser::WriteSetOperation(LogicalSetOperation &set, string &sql) {
	const char *word = set.type == LogicalOperatorType::LOGICAL_UNION    ? " UNION "
	                   : set.type == LogicalOperatorType::LOGICAL_EXCEPT ? " EXCEPT "
	                                                                     : " INTERSECT ";
	if (set.children.size() != 2) {
		return false;
	}
	for (idx_t i = 0; i < set.children.size(); i++) {
		auto &child = *set.children[i];
		if (child.types != set.types) {
			return false;
		}
		string from;
		vector<Source> sources(1);
		sql += i ? word + string(set.setop_all ? "ALL (" : "(") : string("(");
		if (!WriteSource(child, from, sources[0]) || !WriteColumns(child, sources, sql)) {
			return false;
		}
		sql += " FROM " + from + ")";
	}
	for (auto &type : set.types) {
		if (!HasText(type)) {
			return false;
		}
	}
	out.reduces = out.reduces || !set.setop_all;
	return true;
}

bool Unparser::Write(LogicalOperator &op, string &sql) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_GET:
		return WriteGet(op.Cast<LogicalGet>(), sql);
	case LogicalOperatorType::LOGICAL_PROJECTION:
		return WriteProjection(op.Cast<LogicalProjection>(), sql);
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
		return WriteAggregate(op.Cast<LogicalAggregate>(), sql);
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
		return WriteJoin(op.Cast<LogicalJoin>(), sql);
	case LogicalOperatorType::LOGICAL_LIMIT:
		return WriteLimit(op.Cast<LogicalLimit>(), sql);
	case LogicalOperatorType::LOGICAL_UNION:
	case LogicalOperatorType::LOGICAL_EXCEPT:
	case LogicalOperatorType::LOGICAL_INTERSECT:
		return WriteSetOperation(op.Cast<LogicalSetOperation>(), sql);
	case LogicalOperatorType::LOGICAL_FILTER: {
		string from, condition;
		vector<Source> sources(1);
		if (!WriteSource(*op.children[0], from, sources[0]) || !WriteColumns(op, sources, sql) ||
		    !WriteAll(op.expressions, sources, condition) || condition.empty()) {
			return false;
		}
		sql += " FROM " + from + " WHERE " + condition;
		for (auto &expression : op.expressions) {
			out.reduces = out.reduces || (IsProduct(*op.children[0]) && IsJoinCondition(*expression));
		}
		return true;
	}
	case LogicalOperatorType::LOGICAL_CROSS_PRODUCT: {
		string left, right;
		vector<Source> sources(2);
		if (!WriteSource(*op.children[0], left, sources[0]) || !WriteSource(*op.children[1], right, sources[1]) ||
		    !WriteColumns(op, sources, sql)) {
			return false;
		}
		sql += " FROM " + left + ", " + right;
		out.reduces = IsOneRow(*op.children[0]) || IsOneRow(*op.children[1]);
		return true;
	}
	case LogicalOperatorType::LOGICAL_DISTINCT: {
		auto &distinct = op.Cast<LogicalDistinct>();
		string from;
		vector<Source> sources(1);
		auto count = op.GetColumnBindings().size();
		if (distinct.distinct_type != DistinctType::DISTINCT || distinct.order_by ||
		    distinct.distinct_targets.size() != count || !WriteSource(*op.children[0], from, sources[0]) ||
		    !WriteColumns(op, sources, sql, "SELECT DISTINCT ")) {
			return false;
		}
		for (idx_t i = 0; i < count; i++) {
			auto &target = *distinct.distinct_targets[i];
			if (target.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF || !HasText(target.return_type) ||
			    target.Cast<BoundColumnRefExpression>().binding != sources[0].bindings[i]) {
				return false;
			}
		}
		sql += " FROM " + from;
		out.reduces = true;
		return true;
	}
	case LogicalOperatorType::LOGICAL_DUMMY_SCAN:
		sql += "SELECT '0'::INTEGER AS c0";
		return op.types.size() == 1 && op.types[0] == LogicalType::INTEGER;
	default:
		return false;
	}
}

} // namespace

bool HasExactText(const Expression &expression) {
	string text;
	auto namer = [](const Expression &, string &) {
		return true;
	};
	return !expression.IsVolatile() && !expression.HasParameter() && ExpressionToSql(expression, namer, text);
}

bool UnparsePlan(LogicalOperator &op, UnparsedPlan &out) {
	Unparser unparser(out);
	return unparser.Write(op, out.sql) && out.catalog;
}

} // namespace openduck
