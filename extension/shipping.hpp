// shipping.hpp - the plan that takes the place of a bound statement's: its text, sent to the server.
#ifndef OPENDUCK_EXTENSION_SHIPPING_HPP
#define OPENDUCK_EXTENSION_SHIPPING_HPP

#include "catalog.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/bound_statement.hpp"
#include "pristine.hpp"
#include "rewrite.hpp"

namespace openduck {

struct Shipping {
	ClientContext &context;
	Binder &binder;
	OdCatalog &catalog;
	Pristine pristine;

	//! What is sent for the statement: its own text where that means the same there.
	string Text(RewrittenStatement &rewritten);
};

//! A statement that changes the attached database: sent as text, with local relations staged, or left as it is where its
//! rows can be uploaded. Throws where neither is possible.
BoundStatement ShipWrite(Shipping &shipping, SQLStatement &statement, BoundStatement bound);
//! One that reads nothing else: a scan of its text stands for the plan, or for the SELECT in it. What cannot be sent stays.
BoundStatement ShipSelect(Shipping &shipping, BoundStatement bound);

} // namespace openduck

#endif
