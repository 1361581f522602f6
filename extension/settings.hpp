// settings.hpp - client settings that change what a statement means, sent along with each request.
#ifndef OPENDUCK_EXTENSION_SETTINGS_HPP
#define OPENDUCK_EXTENSION_SETTINGS_HPP

#include "duckdb.hpp"

namespace openduck {

using namespace duckdb; // NOLINT

//! Those of this connection that differ from DuckDB's defaults.
vector<std::pair<string, string>> MirroredSettings(ClientContext &context);

} // namespace openduck

#endif
