// options.hpp - what ATTACH was told: the path's query, its options, a secret, the environment, the defaults.
#ifndef OPENDUCK_EXTENSION_OPTIONS_HPP
#define OPENDUCK_EXTENSION_OPTIONS_HPP

#include "duckdb/main/attached_database.hpp"
#include "remote.hpp"

namespace openduck {

//! Reads (and removes from `options`) everything that is ours. Throws BinderException for what it does not know.
ConnectOptions ReadOptions(ClientContext &context, const string &path, AttachOptions &options);

} // namespace openduck

#endif
