// catalog.hpp - the attached database as DuckDB's binder sees it: a catalog of stock, empty entries made from the
// server's definitions, one immutable version at a time.
//
// Invariants:
//   C1  Nothing local ever creates, alters or drops an entry of this catalog: effects happen on the server, then a newer
//       CatalogSnapshot is read. Every DuckDB entry point that would change it throws.
//   C2  A CatalogSnapshot never changes what it says. Entries in it are made at first look-up, from its own definitions.
//   C3  A transaction keeps every snapshot it has looked into alive (TransactionState::kept); plans that outlive their
//       transaction hold the entries they need themselves.
//   C4  No row is ever read from an entry's own (empty) storage: bind.cpp replaces every scan or fails.
//   C5  Schema entries live as long as the catalog, because entries refer to them.
//
// Locks: OdCatalog::lock covers `current` and `schemas`; CatalogSnapshot::lock covers entry creation (recursive: making
// an entry looks up others). Neither is held during a round trip.
#ifndef OPENDUCK_EXTENSION_CATALOG_HPP
#define OPENDUCK_EXTENSION_CATALOG_HPP

#include "duckdb/catalog/catalog_entry/duck_schema_entry.hpp"
#include "duckdb/catalog/duck_catalog.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "remote.hpp"

#include <chrono>

namespace openduck {

class OdCatalog;
class OdSchema;
struct DefinitionChange;

//! The sets DuckDB keeps apart within a schema: two entries of one set cannot have the same name.
enum class EntrySet : uint8_t { RELATION, INDEX, FUNCTION, TABLE_FUNCTION, SEQUENCE, TYPE, NONE };
EntrySet EntrySetOf(CatalogType type);

//! One object of the server's catalog.
struct CatalogItem {
	string kind; // "table", "view", "macro", "table macro", "type", "sequence", "index"
	string schema, name, table_name;
	string definition; // CREATE statement; may be fetched later
	bool has_definition = false;
	string hash;
	Value comment;
	idx_t estimated_rows = 0;
	idx_t oid = 0; // the server's
	vector<std::pair<string, Value>> column_comments;
	shared_ptr<CatalogEntry> entry; // made at first look-up
	bool making = false;            // guards against definitions that refer to themselves
};

//! The columns of the server's catalog, as it sends them unasked with a CREATE or ALTER, and those from the definition on.
extern const char *const CATALOG_COLUMNS;
//! What such a row says of an item, from its definition on, which is column `at`.
void ReadDefinition(CatalogItem &item, const vector<Value> &row, idx_t at);

class CatalogSnapshot {
public:
	CatalogSnapshot(string version, idx_t number) : version(std::move(version)), number(number) {
	}

	const string version; // the server's
	const idx_t number;   // ours, different for each snapshot
	string selector;      // the snapshot of the database it describes, as the server names it; empty: the newest
	string catalog_name;  // of the database in the server's SQL

	std::recursive_mutex lock;
	case_insensitive_map_t<Value> schemas; // name -> comment
	//! Keyed by schema, then set, then name.
	struct SchemaItems {
		case_insensitive_map_t<CatalogItem> sets[6];
	};
	case_insensitive_map_t<SchemaItems> items;
	idx_t size = 0;

	optional_ptr<CatalogItem> Find(const string &schema, EntrySet set, const string &name);
};

//! What one DuckDB transaction knows about this catalog.
struct TransactionState {
	shared_ptr<CatalogSnapshot> snapshot;         // the one to look into; unset until the first look-up
	vector<shared_ptr<CatalogSnapshot>> kept;     // C3
	vector<shared_ptr<CatalogEntry>> kept_entries; // that no snapshot has
	bool verified = false;                        // snapshot was compared with the server within this statement
	bool own_definitions = false;                 // an explicit transaction has changed definitions
	string base_version;                          // of the committed definitions it began with; empty: not known, or
	                                              // `snapshot` is not these with its changes
	bool began = false;                           // the server session is inside our transaction
	bool wrote = false;
	shared_ptr<RemoteSession> session;            // of an explicit transaction
	unordered_map<string, shared_ptr<CatalogSnapshot>> past; // by selector: read once in a transaction
	shared_ptr<CatalogSnapshot> making_past;      // an entry of it is being made: all names are its names
};

class OdTransactionManager : public DuckTransactionManager {
public:
	OdTransactionManager(AttachedDatabase &db, OdCatalog &catalog);

	Transaction &StartTransaction(ClientContext &context) override;
	ErrorData CommitTransaction(ClientContext &context, Transaction &transaction) override;
	void RollbackTransaction(Transaction &transaction) override;
	void Checkpoint(ClientContext &context, bool force = false) override;

	//! The state that belongs to a context's running transaction.
	shared_ptr<TransactionState> StateOf(ClientContext &context);
	shared_ptr<TransactionState> StateOf(Transaction &transaction);

private:
	shared_ptr<TransactionState> Take(Transaction &transaction);

	OdCatalog &catalog;
	std::mutex state_lock;
	unordered_map<Transaction *, shared_ptr<TransactionState>> states;
};

class OdCatalog : public DuckCatalog {
public:
	OdCatalog(AttachedDatabase &db, shared_ptr<Remote> remote);

	//! The catalog as one of ours, or nullptr.
	static optional_ptr<OdCatalog> From(Catalog &catalog);

	string GetCatalogType() override {
		return "openduck";
	}
	string GetDBPath() override;
	bool InMemory() override {
		return false;
	}
	void Initialize(bool load_builtin) override;
	optional_idx GetCatalogVersion(ClientContext &context) override;
	optional_ptr<DependencyManager> GetDependencyManager() override;
	DatabaseSize GetDatabaseSize(ClientContext &context) override;
	vector<MetadataBlockInfo> GetMetadataInfo(ClientContext &context) override;
	void OnDetach(ClientContext &context) override;
	bool HasConflictingAttachOptions(const string &path, const AttachOptions &options) override;

	// Look-up.
	optional_ptr<SchemaCatalogEntry> LookupSchema(CatalogTransaction transaction, const EntryLookupInfo &schema_lookup,
	                                              OnEntryNotFound if_not_found) override;
	void ScanSchemas(ClientContext &context, std::function<void(SchemaCatalogEntry &)> callback) override;

	// Effects: rows can be inserted from a local plan; everything else is shipped as text before it gets here (C1).
	optional_ptr<CatalogEntry> CreateSchema(CatalogTransaction transaction, CreateSchemaInfo &info) override;
	PhysicalOperator &PlanInsert(ClientContext &context, PhysicalPlanGenerator &planner, LogicalInsert &op,
	                             optional_ptr<PhysicalOperator> plan) override;
	PhysicalOperator &PlanCreateTableAs(ClientContext &context, PhysicalPlanGenerator &planner, LogicalCreateTable &op,
	                                    PhysicalOperator &plan) override;
	PhysicalOperator &PlanDelete(ClientContext &context, PhysicalPlanGenerator &planner, LogicalDelete &op,
	                             PhysicalOperator &plan) override;
	PhysicalOperator &PlanUpdate(ClientContext &context, PhysicalPlanGenerator &planner, LogicalUpdate &op,
	                             PhysicalOperator &plan) override;
	PhysicalOperator &PlanMergeInto(ClientContext &context, PhysicalPlanGenerator &planner, LogicalMergeInto &op,
	                                PhysicalOperator &plan) override;

	// ---- for the rest of the extension
	shared_ptr<Remote> GetRemote() {
		return remote;
	}
	//! The snapshot this transaction sees. `verify`: compare with the server first unless that was done just now.
	shared_ptr<CatalogSnapshot> Snapshot(ClientContext &context, bool verify);
	shared_ptr<CatalogSnapshot> Snapshot(CatalogTransaction transaction, bool verify);
	shared_ptr<TransactionState> State(ClientContext &context);
	//! Reads the catalog again; true when it has changed.
	bool Refresh(ClientContext &context);
	//! A statement that may have changed definitions has run in this context's transaction.
	void DefinitionsChanged(ClientContext &context);
	//! The same where the change is known: it was made to the definitions of version `before`. told: rows of the catalog.
	void DefinitionChanged(ClientContext &context, const DefinitionChange &change, const string &before,
	                       const vector<vector<Value>> &told, const RemoteQuery &query);
	//! A transaction has been committed; `version` is what the server said then.
	void TransactionCommitted(const TransactionState &state, const string &version);
	//! The newest version of the server's catalog that is known here; empty: none.
	string KnownVersion();
	//! A reply said which version the server is at.
	void SawVersion(const string &version);
	//! Is this context inside BEGIN ... COMMIT?
	static bool InExplicitTransaction(ClientContext &context);
	//! The session to run a statement of this context in; nullptr: none is needed (autocommit). Begins the server's
	//! transaction when needed. `together`: also outside BEGIN ... COMMIT, for a statement of several requests.
	shared_ptr<RemoteSession> SessionFor(ClientContext &context, bool force = false, bool together = false);
	//! Database name in the server's SQL.
	string ServerName(ClientContext &context);
	//! Fills in what the plan was bound to.
	void AddCatalogCheck(ClientContext &context, RemoteRequest &request, const vector<ObjectVersion> &objects);

	optional_ptr<CatalogEntry> EntryFor(ClientContext &context, CatalogSnapshot &snapshot, OdSchema &schema,
	                                    CatalogItem &item);
	//! The definitions that AT (TIMESTAMP => ...) or AT (VERSION => ...) is about.
	shared_ptr<CatalogSnapshot> PastSnapshot(ClientContext &context, const BoundAtClause &at);
	//! A relation of these, or nullptr.
	optional_ptr<CatalogEntry> PastEntry(ClientContext &context, const shared_ptr<CatalogSnapshot> &snapshot,
	                                     OdSchema &schema, const string &name);
	//! AT in a query is answered.
	bool SupportsTimeTravel() const override {
		return true;
	}
	//! Attached as it was at one point: everything is read from there, outside sessions.
	bool IsPast() const {
		return !remote->Options().snapshot.empty();
	}
	OdSchema &SchemaFor(const string &name);
	//! An entry's number in this DuckDB: that of the server, apart from those of other databases.
	idx_t LocalOid(const CatalogItem &item);
	//! The sequences of a schema as they stand now; they live as long as the transaction.
	vector<reference<CatalogEntry>> Sequences(ClientContext &context, CatalogSnapshot &snapshot, OdSchema &schema);
	//! Fetches the definitions a listing needs, all at once.
	void FetchDefinitions(ClientContext &context, CatalogSnapshot &snapshot);
	OdTransactionManager &Manager();

private:
	void DropSchema(ClientContext &context, DropInfo &info) override;
	shared_ptr<CatalogSnapshot> Read(ClientContext &context, optional_ptr<RemoteSession> session,
	                                 const string &selector = string());
	bool IsCurrent(ClientContext &context);

	shared_ptr<Remote> remote;
	std::mutex lock;
	shared_ptr<CatalogSnapshot> current;
	string seen_version; // the newest version any reply has named
	std::chrono::steady_clock::time_point last_contact;
	std::atomic<idx_t> next_number {1};
	unordered_map<string, unique_ptr<OdSchema>> schemas; // by the server's name: one that comes again may have other capitals
};

class OdSchema : public DuckSchemaEntry {
public:
	OdSchema(OdCatalog &catalog, CreateSchemaInfo &info);

	optional_ptr<CatalogEntry> LookupEntry(CatalogTransaction transaction, const EntryLookupInfo &lookup_info) override;
	CatalogSet::EntryLookup LookupEntryDetailed(CatalogTransaction transaction,
	                                            const EntryLookupInfo &lookup_info) override;
	SimilarCatalogEntry GetSimilarEntry(CatalogTransaction transaction, const EntryLookupInfo &lookup_info) override;
	void Scan(ClientContext &context, CatalogType type, const std::function<void(CatalogEntry &)> &callback) override;
	void Scan(CatalogType type, const std::function<void(CatalogEntry &)> &callback) override;

	// C1: all of these throw.
	optional_ptr<CatalogEntry> CreateTable(CatalogTransaction transaction, BoundCreateTableInfo &info) override;
	optional_ptr<CatalogEntry> CreateFunction(CatalogTransaction transaction, CreateFunctionInfo &info) override;
	optional_ptr<CatalogEntry> CreateIndex(CatalogTransaction transaction, CreateIndexInfo &info,
	                                       TableCatalogEntry &table) override;
	optional_ptr<CatalogEntry> CreateView(CatalogTransaction transaction, CreateViewInfo &info) override;
	optional_ptr<CatalogEntry> CreateSequence(CatalogTransaction transaction, CreateSequenceInfo &info) override;
	optional_ptr<CatalogEntry> CreateType(CatalogTransaction transaction, CreateTypeInfo &info) override;
	optional_ptr<CatalogEntry> CreateCollation(CatalogTransaction transaction, CreateCollationInfo &info) override;
	void Alter(CatalogTransaction transaction, AlterInfo &info) override;
	void DropEntry(ClientContext &context, DropInfo &info) override;

private:
	OdCatalog &od_catalog;
};

[[noreturn]] void ThrowNotShipped(const char *what);

} // namespace openduck

#endif
