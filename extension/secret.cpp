// secret.cpp - CREATE SECRET (TYPE openduck, ENDPOINT '...', TOKEN '...', SCOPE 'openduck:DB').
#include "functions.hpp"

#include "duckdb/main/secret/secret.hpp"
#include "duckdb/main/secret/secret_manager.hpp"

namespace openduck {

static unique_ptr<BaseSecret> CreateSecret(ClientContext &context, CreateSecretInput &input) {
	auto scope = input.scope;
	auto secret = make_uniq<KeyValueSecret>(scope, "openduck", "config", input.name);
	for (auto &option : input.options) {
		secret->secret_map[StringUtil::Lower(option.first)] = option.second;
	}
	secret->redact_keys = {"token"};
	return std::move(secret);
}

void RegisterSecret(ExtensionLoader &loader) {
	SecretType type;
	type.name = "openduck";
	type.deserializer = KeyValueSecret::Deserialize<KeyValueSecret>;
	type.default_provider = "config";
	type.extension = "openduck";
	loader.RegisterSecretType(type);
	CreateSecretFunction function = {"openduck", "config", CreateSecret, {}};
	function.named_parameters["endpoint"] = LogicalType::VARCHAR;
	function.named_parameters["token"] = LogicalType::VARCHAR;
	loader.RegisterFunction(function);
}

} // namespace openduck
