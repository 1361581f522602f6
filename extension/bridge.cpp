// bridge.cpp - see bridge.hpp.
#include "bridge.hpp"

namespace openduck {

namespace {
constexpr idx_t ENDPOINTS_MAX = 256;
constexpr double US = 1e-6;
} // namespace

shared_ptr<LinkKnowledge> KnowledgeOf(const ConnectOptions &options) {
	static std::mutex lock;
	static unordered_map<string, shared_ptr<LinkKnowledge>> known;
	std::lock_guard<std::mutex> guard(lock);
	if (known.size() >= ENDPOINTS_MAX && known.find(options.endpoint) == known.end()) {
		known.clear(); // learnt anew; whoever holds one keeps it
	}
	auto &entry = known[options.endpoint];
	if (!entry) {
		entry = make_shared_ptr<LinkKnowledge>();
	}
	return entry;
}

uint64_t ObservedKey(const ConnectOptions &options, const string &catalog_version, const string &sql) {
	auto text = options.database + '\0' + catalog_version + '\0' + sql;
	return od_observed_key(text.data(), text.size());
}

string BytesText(double bytes) {
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
	idx_t unit = 0;
	for (; bytes >= 1000 && unit < 4; unit++) {
		bytes /= 1000;
	}
	return StringUtil::Format(unit == 0 || bytes >= 100 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

uint64_t BridgeTally::Elapsed() const {
	auto now = std::chrono::steady_clock::now();
	return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now - begun).count());
}

string BridgeTally::Text(uint64_t retries_now) const {
	auto ended = ended_us.load();
	auto result = StringUtil::Format("%d rows, %s in %d batches, %.1f ms", rows.load(),
	                                 BytesText(static_cast<double>(bytes.load())), batches.load(),
	                                 static_cast<double>(ended ? ended : Elapsed()) / 1000);
	if (retries_now > retries_before) {
		result += StringUtil::Format(", %d retries", retries_now - retries_before);
	}
	return result;
}

enum od_pop CountedSource::Next(struct od_batch **batch, struct od_waker waker, struct od_error *err) {
	auto result = source->Next(batch, waker, err);
	if (result == OD_POP_BATCH) {
		tally->rows += (*batch)->rows;
		tally->bytes += (*batch)->bytes;
		tally->batches++;
	} else if (result == OD_POP_END && tally->ended_us == 0) {
		auto ended = tally->Elapsed();
		tally->ended_us = ended ? ended : 1;
		std::lock_guard<std::mutex> guard(knowledge->lock);
		auto seconds = static_cast<double>(ended) * US - knowledge->meter.round_trip_s;
		od_link_meter_moved(&knowledge->meter, OD_METER_DOWN, tally->bytes, seconds);
		if (tally->key) {
			od_observed_put(&knowledge->observed, tally->key, static_cast<double>(tally->rows.load()));
		}
	}
	return result;
}

} // namespace openduck
