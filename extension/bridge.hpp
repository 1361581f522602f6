// bridge.hpp - what crosses between a server and here, counted; and what is learnt from it of the link and of results.
//
// What is learnt belongs to the endpoint, whoever attached it: measured round trip and bandwidth, and how many rows texts
// gave. It only feeds estimates (src/plan/meter.h).
#ifndef OPENDUCK_EXTENSION_BRIDGE_HPP
#define OPENDUCK_EXTENSION_BRIDGE_HPP

#include "plan/meter.h"
#include "remote.hpp"

#include <chrono>

namespace openduck {

//! Of one endpoint; lock it to look.
struct LinkKnowledge {
	std::mutex lock;
	struct od_link_meter meter = {};
	struct od_observed observed = {};
};
shared_ptr<LinkKnowledge> KnowledgeOf(const ConnectOptions &options);
//! Under which the rows of a text are remembered.
uint64_t ObservedKey(const ConnectOptions &options, const string &catalog_version, const string &sql);

//! One execution of one remote part or scan. Counted by the thread that takes batches, read by EXPLAIN ANALYZE.
struct BridgeTally {
	std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
	std::atomic<uint64_t> rows {0}, batches {0}, bytes {0};
	std::atomic<uint64_t> answered_us {0}, ended_us {0}; // since it began: first word of the server, last row
	uint64_t retries_before = 0;                         // of the whole attachment
	uint64_t key = 0;                                    // ObservedKey, when the rows are the text's own; else 0

	uint64_t Elapsed() const;
	//! "1000 rows, 12.3 KB in 2 batches, 3.4 ms"
	string Text(uint64_t retries_now) const;
};

//! Counts what another source gives.
class CountedSource : public BatchSource {
public:
	CountedSource(unique_ptr<BatchSource> source, shared_ptr<BridgeTally> tally, shared_ptr<LinkKnowledge> knowledge)
	    : source(std::move(source)), tally(std::move(tally)), knowledge(std::move(knowledge)) {}
	enum od_pop Next(struct od_batch **batch, struct od_waker waker, struct od_error *err) override;

private:
	unique_ptr<BatchSource> source;
	shared_ptr<BridgeTally> tally;
	shared_ptr<LinkKnowledge> knowledge;
};

//! "12.3 KB"
string BytesText(double bytes);

} // namespace openduck

#endif
