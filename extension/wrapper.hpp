// wrapper.hpp - an operator above one other, whose rows it passes on: a place to change how that one runs.
#ifndef OPENDUCK_EXTENSION_WRAPPER_HPP
#define OPENDUCK_EXTENSION_WRAPPER_HPP

#include "duckdb/planner/operator/logical_extension_operator.hpp"

namespace openduck {

using namespace duckdb;

struct LogicalWrapper : public LogicalExtensionOperator {
	//! name: static text. The child's types may be resolved later.
	LogicalWrapper(unique_ptr<LogicalOperator> child, const char *name) : name(name) {
		estimated_cardinality = child->estimated_cardinality;
		has_estimated_cardinality = child->has_estimated_cardinality;
		types = child->types;
		children.push_back(std::move(child));
	}
	vector<ColumnBinding> GetColumnBindings() override {
		return children[0]->GetColumnBindings();
	}
	string GetName() const override {
		return name;
	}
	string GetExtensionName() const override {
		return "openduck";
	}
	bool SupportSerialization() const override {
		return false;
	}

protected:
	void ResolveTypes() override {
		types = children[0]->types;
	}

private:
	const char *name;
};

} // namespace openduck

#endif
