// state.hpp - what the extension remembers for one DuckDB connection: its server sessions, and the statement that is
// being replaced between the binder's first run and OperatorExtension::Bind.
#ifndef OPENDUCK_EXTENSION_STATE_HPP
#define OPENDUCK_EXTENSION_STATE_HPP

#include "catalog.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/planner/bound_statement.hpp"

namespace openduck {

//! Set by post_bind when it refuses a bound plan, used up by OperatorExtension::Bind of the same planner.
struct PendingShip {
	bool armed = false;
	bool replacing = false; // the plan that comes back through post_bind is ours: leave it alone
	bool writes = false;    // the statement changes `catalog`
	optional_ptr<OdCatalog> catalog;
	BoundStatement bound; // what the first bind gave
};

class OdContextState : public ClientContextState {
public:
	static shared_ptr<OdContextState> Get(ClientContext &context);
	//! The same, but nullptr where nothing was ever asked of the extension.
	static shared_ptr<OdContextState> Find(ClientContext &context);

	void QueryBegin(ClientContext &context) override;
	void QueryEnd(ClientContext &context) override;
	//! A statement that did not bind is bound again when the server's definitions turn out to be newer.
	bool CanRequestRebind() override {
		return true;
	}
	RebindQueryInfo OnPlanningError(ClientContext &context, SQLStatement &statement, ErrorData &error) override;

	//! The connection's session on this attached database, made when first asked for.
	shared_ptr<RemoteSession> Session(OdCatalog &catalog);
	bool IsSessionKept(OdCatalog &catalog);
	//! Forgets the session (it is lost, or the database is detached).
	void DropSession(OdCatalog &catalog);
	//! Name of the snapshot group of a statement's scans: the same for all scans of one execution.
	string GroupName(ClientContext &context);

	//! For this statement, joins say which keys they have up to this many, unless the user has chosen a number.
	void RaiseJoinKeys(ClientContext &context, idx_t keys);

	PendingShip ship;
	//! The user has fixed this connection's random numbers: those of his statements must be drawn here.
	bool seeded = false;
	//! A look-up failed without asking the server: worth asking before an error is believed.
	void Missed(OdCatalog &catalog, const CatalogSnapshot &snapshot);

private:
	void RestoreJoinKeys(ClientContext &context);

	bool raised_keys = false;
	std::mutex lock;
	unordered_map<idx_t, shared_ptr<RemoteSession>> sessions; // by the attached database's number: addresses come again
	//! Database (by name, because it may be detached meanwhile) and the number of the snapshot first looked into.
	case_insensitive_map_t<idx_t> missed;
	string group;
};

} // namespace openduck

#endif
