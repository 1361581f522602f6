// transaction.cpp - DuckDB's transactions on the attached database, carried to the server.
//
// A statement outside BEGIN ... COMMIT is its own transaction on the server and costs one round trip; nothing is sent
// when DuckDB commits its local one. Inside an explicit transaction the server's begins with, and in the request of, the
// first statement that needs it. COMMIT goes to the server first: when that fails, the local (empty) transaction is
// rolled back.
#include "catalog.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/transaction/duck_transaction.hpp"
#include "state.hpp"

namespace openduck {

OdTransactionManager::OdTransactionManager(AttachedDatabase &db, OdCatalog &catalog)
    : DuckTransactionManager(db), catalog(catalog) {
}

Transaction &OdTransactionManager::StartTransaction(ClientContext &context) {
	auto &transaction = DuckTransactionManager::StartTransaction(context);
	auto state = make_shared_ptr<TransactionState>();
	if (!catalog.IsPast() && OdCatalog::InExplicitTransaction(context) && Settings::Get<ImmediateTransactionModeSetting>(context)) {
		// The snapshot is wanted now: begin, and look at something so that the server takes it.
		try {
			auto session = OdContextState::Get(context)->Session(catalog);
			session->EnterTransaction();
			RemoteRequest request;
			request.sql = "SELECT kind FROM openduck_catalog() LIMIT 0";
			catalog.GetRemote()->Execute(request, session.get());
			state->began = true;
			state->session = std::move(session);
		} catch (...) {
			DuckTransactionManager::RollbackTransaction(transaction);
			throw;
		}
	}
	std::lock_guard<std::mutex> guard(state_lock);
	states[&transaction] = std::move(state);
	return transaction;
}

shared_ptr<TransactionState> OdTransactionManager::StateOf(Transaction &transaction) {
	std::lock_guard<std::mutex> guard(state_lock);
	auto entry = states.find(&transaction);
	if (entry == states.end()) {
		throw InternalException("openduck: a transaction this catalog did not begin");
	}
	return entry->second;
}

shared_ptr<TransactionState> OdTransactionManager::StateOf(ClientContext &context) {
	return StateOf(Transaction::Get(context, db));
}

shared_ptr<TransactionState> OdTransactionManager::Take(Transaction &transaction) {
	std::lock_guard<std::mutex> guard(state_lock);
	auto entry = states.find(&transaction);
	if (entry == states.end()) {
		return nullptr;
	}
	auto state = std::move(entry->second);
	states.erase(entry);
	return state;
}

//! The server says "Failed to commit: ..." and DuckDB says it again.
static ErrorData WithoutCommitPrefix(ErrorData error) {
	static const string PREFIX = "Failed to commit: ";
	auto message = error.RawMessage();
	if (!StringUtil::StartsWith(message, PREFIX)) {
		return error;
	}
	return ErrorData(error.Type(), message.substr(PREFIX.size()));
}

ErrorData OdTransactionManager::CommitTransaction(ClientContext &context, Transaction &transaction) {
	auto state = Take(transaction);
	if (state && state->began && state->session->HasTransaction()) {
		ErrorData error;
		try {
			RemoteRequest request;
			request.sql = "COMMIT";
			auto query = catalog.GetRemote()->Execute(request, state->session.get());
			while (auto batch = query->Wait(context)) {
				od_batch_unref(batch);
			}
			catalog.TransactionCommitted(*state, query->CatalogVersion());
		} catch (std::exception &ex) {
			error = WithoutCommitPrefix(ErrorData(ex));
		}
		if (error.HasError()) {
			state->session->LeaveTransaction();
			if (state->session->InTransaction()) {
				OdContextState::Get(context)->DropSession(catalog);
			}
			DuckTransactionManager::RollbackTransaction(transaction);
			return error;
		}
	}
	if (state && state->began) {
		state->session->LeaveTransaction();
	}
	return DuckTransactionManager::CommitTransaction(context, transaction);
}

void OdTransactionManager::RollbackTransaction(Transaction &transaction) {
	auto state = Take(transaction);
	auto context = transaction.context.lock();
	if (state && state->began && state->session->HasTransaction()) {
		try {
			RemoteRequest request;
			request.sql = "ROLLBACK";
			catalog.GetRemote()->Execute(request, state->session.get());
		} catch (std::exception &) {
			// A lost session has rolled back by itself; any other is closed, which rolls back too.
			if (context) {
				OdContextState::Get(*context)->DropSession(catalog);
			}
		}
	}
	if (state && state->began) {
		state->session->LeaveTransaction();
	}
	DuckTransactionManager::RollbackTransaction(transaction);
}

void OdTransactionManager::Checkpoint(ClientContext &context, bool force) {
	RemoteRequest request;
	request.sql = string(force ? "FORCE " : "") + "CHECKPOINT";
	auto query = catalog.GetRemote()->Execute(request, nullptr);
	while (auto batch = query->Wait(context)) {
		od_batch_unref(batch);
	}
}

//===--------------------------------------------------------------------===//
// Sessions
//===--------------------------------------------------------------------===//
bool OdCatalog::InExplicitTransaction(ClientContext &context) {
	return !context.transaction.IsAutoCommit();
}

shared_ptr<RemoteSession> OdCatalog::SessionFor(ClientContext &context, bool force, bool together) {
	if (IsPast()) {
		return nullptr;
	}
	bool in_transaction = InExplicitTransaction(context) || together;
	if (!in_transaction && !force && !OdContextState::Get(context)->IsSessionKept(*this)) {
		return nullptr;
	}
	auto session = OdContextState::Get(context)->Session(*this);
	if (!in_transaction) {
		return session;
	}
	auto state = State(context);
	std::lock_guard<std::recursive_mutex> guard(session->lock);
	if (!state->began) {
		session->EnterTransaction();
		state->began = true;
		state->session = session;
	}
	return state->session;
}

} // namespace openduck
