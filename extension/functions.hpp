// functions.hpp - openduck_query, openduck_execute, openduck_stats, and the secret type.
#ifndef OPENDUCK_EXTENSION_FUNCTIONS_HPP
#define OPENDUCK_EXTENSION_FUNCTIONS_HPP

#include "duckdb/main/extension/extension_loader.hpp"

namespace openduck {

using namespace duckdb; // NOLINT

void RegisterFunctions(ExtensionLoader &loader);
void RegisterSecret(ExtensionLoader &loader);

} // namespace openduck

#endif
