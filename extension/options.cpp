// options.cpp - see options.hpp.
//
// Order of precedence: options in parentheses, the path's query, a secret, OPENDUCK_ENDPOINT and OPENDUCK_TOKEN, defaults
// (127.0.0.1:7878, database "main").
#include "options.hpp"

#include "duckdb/main/client_context.hpp"
#include "duckdb/main/secret/secret_manager.hpp"

#include <cstdlib>

namespace openduck {

static string Decoded(const string &text, const string &what) {
	auto digit = [&](char c) -> int {
		if (c >= '0' && c <= '9') {
			return c - '0';
		}
		c = static_cast<char>(c | 32);
		return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
	};
	string result;
	for (idx_t i = 0; i < text.size(); i++) {
		if (text[i] != '%') {
			result += text[i];
			continue;
		}
		if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) {
			throw BinderException("ATTACH: \"%%\" in %s must be followed by two hexadecimal digits (write %%25 for the "
			                      "character itself)",
			                      what);
		}
		result += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
		i += 2;
	}
	return result;
}

static void SetOption(ConnectOptions &result, const string &name, const string &value) {
	auto key = StringUtil::Lower(name);
	if (key == "endpoint") {
		// Several endpoints: tried in order.
		result.endpoint += (result.endpoint.empty() ? "" : ",") + value;
	} else if (key == "token") {
		result.token = value;
	} else if (key == "database") {
		result.database = value;
	} else if (key == "snapshot") {
		result.snapshot = value;
	} else if (key == "ca" || key == "ca_file") {
		result.ca_file = value;
	} else if (key == "certificate" || key == "certificate_file") {
		result.certificate_file = value;
	} else if (key == "key" || key == "key_file") {
		result.key_file = value;
	} else if (key == "compression") {
		result.compression = StringUtil::Lower(value);
		if (result.compression != "none" && result.compression != "lz4" && result.compression != "zstd") {
			throw BinderException("ATTACH: the compression is none, lz4 or zstd, not \"%s\"", value);
		}
	} else {
		throw BinderException("ATTACH: unknown OpenDuck option \"%s\" (there are: endpoint, token, database, snapshot, "
		                      "read_only, compression, ca_file, certificate_file, key_file, secret)",
		                      name);
	}
}

static void ReadQuery(const string &query, ConnectOptions &result, bool &read_only) {
	for (auto &part : StringUtil::Split(query, '&')) {
		if (part.empty()) {
			continue;
		}
		auto equals = part.find('=');
		auto name = Decoded(part.substr(0, equals), "an option's name");
		auto value = equals == string::npos ? string() : Decoded(part.substr(equals + 1), "the option \"" + name + "\"");
		if (StringUtil::CIEquals(name, "read_only")) {
			auto text = StringUtil::Lower(value);
			read_only = text.empty() || text == "true" || text == "1";
			continue;
		}
		SetOption(result, name, value);
	}
}

static void ReadSecret(ClientContext &context, const string &path, const string &name, ConnectOptions &result) {
	if (name.empty() && !result.endpoint.empty() && !result.token.empty()) {
		return; // nothing is missing, and a look at the secrets fixes the settings of their manager
	}
	auto &manager = SecretManager::Get(context);
	auto transaction = CatalogTransaction::GetSystemCatalogTransaction(context);
	unique_ptr<SecretEntry> entry;
	if (!name.empty()) {
		entry = manager.GetSecretByName(transaction, name);
		if (!entry) {
			throw BinderException("ATTACH: there is no secret \"%s\"", name);
		}
	} else {
		auto match = manager.LookupSecret(transaction, path, "openduck");
		if (match.HasMatch()) {
			entry = std::move(match.secret_entry);
		}
	}
	if (!entry) {
		return;
	}
	if (entry->secret->GetType() != "openduck") {
		throw BinderException("ATTACH: the secret \"%s\" is of the type %s, not openduck", name,
		                      entry->secret->GetType());
	}
	auto &secret = dynamic_cast<const KeyValueSecret &>(*entry->secret);
	for (auto key : {"endpoint", "token"}) {
		Value value;
		if (!secret.TryGetValue(key, value) || value.IsNull()) {
			continue;
		}
		auto &target = string(key) == "endpoint" ? result.endpoint : result.token;
		if (target.empty()) {
			target = value.ToString();
		}
	}
}

ConnectOptions ReadOptions(ClientContext &context, const string &path, AttachOptions &options) {
	ConnectOptions from_path, from_options;
	bool read_only = false;
	auto question = path.find('?');
	from_path.database = Decoded(path.substr(0, question), "the database's name");
	if (question != string::npos) {
		ReadQuery(path.substr(question + 1), from_path, read_only);
	}
	string secret;
	for (auto &option : options.options) {
		if (StringUtil::CIEquals(option.first, "secret")) {
			secret = option.second.ToString();
			continue;
		}
		SetOption(from_options, option.first, option.second.ToString());
	}
	options.options.clear(); // DuckDB's storage refuses what it does not know
	if (read_only && options.access_mode != AccessMode::READ_ONLY) {
		throw BinderException("ATTACH: write read_only as an option: ATTACH '%s' (READ_ONLY)", path.substr(0, question));
	}

	auto result = from_options;
	auto take = [](string &target, const string &value) {
		if (target.empty()) {
			target = value;
		}
	};
	take(result.endpoint, from_path.endpoint);
	take(result.token, from_path.token);
	take(result.database, from_path.database);
	take(result.ca_file, from_path.ca_file);
	take(result.certificate_file, from_path.certificate_file);
	take(result.key_file, from_path.key_file);
	take(result.compression, from_path.compression);
	take(result.snapshot, from_path.snapshot);
	ReadSecret(context, "openduck:" + result.database, secret, result);
	auto environment = [](const char *name) {
		auto value = std::getenv(name);
		return string(value ? value : "");
	};
	take(result.endpoint, environment("OPENDUCK_ENDPOINT"));
	take(result.token, environment("OPENDUCK_TOKEN"));
	take(result.endpoint, "127.0.0.1:7878");
	take(result.database, "main");
	return result;
}

} // namespace openduck
