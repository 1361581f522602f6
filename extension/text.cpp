// text.cpp - see text.hpp.
#include "text.hpp"

#include "duckdb/parser/keyword_helper.hpp"

namespace openduck {

string QuotedName(const string &name) {
	return KeywordHelper::WriteQuoted(name, '"');
}

string QualifiedText(const string &catalog, const string &schema, const string &name) {
	string result;
	for (auto part : {&catalog, &schema}) {
		if (!part->empty()) {
			result += QuotedName(*part) + ".";
		}
	}
	return result + QuotedName(name);
}

string TextLiteral(const string &text) {
	string result;
	idx_t begin = 0, parts = 0;
	for (idx_t i = 0; i <= text.size(); i++) {
		if (i < text.size() && text[i] != '\0') {
			continue;
		}
		if (i > begin || text.empty()) {
			result += parts++ ? ", " : "";
			result += "'" + StringUtil::Replace(text.substr(begin, i - begin), "'", "''") + "'";
		}
		if (i < text.size()) {
			result += parts++ ? ", " : "";
			result += "system.main.chr(0)";
		}
		begin = i + 1;
	}
	return parts > 1 ? "system.main.concat(" + result + ")" : result;
}

} // namespace openduck
