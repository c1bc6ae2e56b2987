/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to token servers and what they say: the pure parts of
 * upstream_token.h. */
#include "proxy/upstream_token.h"

#include "cache/digest.h"

#include <jansson.h>

static bool token_text_ok(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > TOKEN_TEXT_MAX)
		return false;
	for (; *text; text++)
		if (*text <= 0x20 || *text >= 0x7f)
			return false;
	return true;
}

static uint64_t life_of(const json_t *value)
{
	double s = json_number_value(value); /* 0 if it is none */

	if (!(s >= TOKEN_LIFE_MIN_S))
		return TOKEN_LIFE_MIN_S;
	return s > TOKEN_LIFE_MAX_S ? TOKEN_LIFE_MAX_S : (uint64_t)s;
}

enum err token_answer_parse(const char *body, size_t len, char **token,
			    uint64_t *expires_s, struct why *why)
{
	json_t *json = json_loadb(body, len, 0, NULL);
	const char *text =
	    json_string_value(json_object_get(json, "access_token"));

	if (!text || !*text)
		text = json_string_value(json_object_get(json, "token"));
	if (!text || !token_text_ok(text)) {
		json_decref(json);
		return why_set(why, ERR_INVALID,
			       "the token server's answer has no token");
	}
	*token = xstrdup(text);
	*expires_s = life_of(json_object_get(json, "expires_in"));
	json_decref(json);
	return ERR_OK;
}

bool token_realm_trusted(const struct conf_upstream *conf,
			 const struct http_url *own,
			 const struct http_url *realm)
{
	char place[HTTP_URL_HOST_MAX + 16], port[8] = "";

	if (strcmp(own->host, realm->host) == 0)
		return true;
	if (realm->port != 443)
		snprintf(port, sizeof(port), ":%u", realm->port);
	snprintf(place, sizeof(place), "%s%s%s%s", realm->v6 ? "[" : "",
		 realm->host, realm->v6 ? "]" : "", port);
	for (size_t i = 0; i < conf->token_realms.n; i++)
		if (strcmp(conf->token_realms.v[i], place) == 0 ||
		    strcmp(conf->token_realms.v[i], realm->host) == 0)
			return true;
	return false;
}

/* `text` = text + name + '=' + escaped value. */
static void append(char **text, const char *before, const char *name,
		   const char *value)
{
	char *escaped = http_url_escape(value);
	char *longer = xasprintf("%s%s%s=%s", *text, before, name, escaped);

	secret_wipe(text);
	secret_wipe(&escaped);
	*text = longer;
}

char *token_get_url(const struct http_url *realm, const char *service,
		    const char *scope, const struct credential *cred)
{
	char *url = xstrdup(realm->text);
	const char *before = strchr(url, '?') ? "&" : "?";

	if (*service) {
		append(&url, before, "service", service);
		before = "&";
	}
	while (*(scope += strspn(scope, " "))) {
		char *one = xstrndup(scope, strcspn(scope, " "));

		append(&url, before, "scope", one);
		before = "&";
		scope += strlen(one);
		free(one);
	}
	if (cred && cred->username)
		append(&url, before, "account", cred->username);
	return url;
}

char *token_post_form(const char *service, const char *scope,
		      const struct credential *cred)
{
	char *form;

	if (cred->identity_token) {
		form = xstrdup("grant_type=refresh_token");
		append(&form, "&", "refresh_token", cred->identity_token);
	} else {
		form = xstrdup("grant_type=password");
		append(&form, "&", "username", cred->username);
		append(&form, "&", "password", cred->password);
	}
	append(&form, "&", "service", service);
	append(&form, "&", "client_id", "entrepot");
	if (*scope)
		append(&form, "&", "scope", scope);
	return form;
}

char *credential_basic(const char *username, const char *password)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	char *plain = xasprintf("%s:%s", username, password);
	size_t len = strlen(plain);
	char *text = xmalloc(6 + (len + 2) / 3 * 4 + 1), *p = text + 6;

	memcpy(text, "Basic ", 6);
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)(uint8_t)plain[i] << 16;

		if (i + 1 < len)
			v |= (uint32_t)(uint8_t)plain[i + 1] << 8;
		if (i + 2 < len)
			v |= (uint8_t)plain[i + 2];
		*p++ = digits[v >> 18];
		*p++ = digits[v >> 12 & 63];
		*p++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*p++ = i + 2 < len ? digits[v & 63] : '=';
	}
	*p = '\0';
	secret_wipe(&plain);
	return text;
}

/* ---- keys ---- */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "b a" and "a b" are one set. */
static char *scope_set(const char *scope)
{
	char *parts[64], *text = xstrdup("");
	size_t n = 0;

	while (*(scope += strspn(scope, " ")) && n < ARRAY_LEN(parts)) {
		parts[n] = xstrndup(scope, strcspn(scope, " "));
		scope += strlen(parts[n++]);
	}
	qsort(parts, n, sizeof(*parts), compare_texts);
	for (size_t i = 0; i < n; i++) {
		char *longer = xasprintf("%s %s", text, parts[i]);

		free(text);
		free(parts[i]);
		text = longer;
	}
	return text;
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

char *token_key(const struct token_spec *spec)
{
	static const struct credential none;
	const struct credential *c = spec->cred ? spec->cred : &none;
	char *scopes = scope_set(spec->scope), hash[DIGEST_TEXT_MAX];
	char *who, *key;
	struct digest dg;

	who = xasprintf("%s\n%s\n%s", or_empty(c->username),
			or_empty(c->password), or_empty(c->identity_token));
	digest_of(DIGEST_SHA256, who, strlen(who), &dg);
	secret_wipe(&who);
	key = xasprintf("%s\n%s\n%s\n%s\n%s\n%s", upstream_name(spec->up),
			spec->own->host, spec->realm, spec->service, scopes,
			credential_is_none(c) ? "-" : digest_text(&dg, hash));
	free(scopes);
	return key;
}
