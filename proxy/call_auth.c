/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a call that say who we are: what an endpoint is known to want,
 * the credential, the token, and what to make of a 401.
 */
#include "proxy/call_int.h"

void call_forget_authorization(struct call *c)
{
	secret_wipe(&c->authorization);
	secret_wipe(&c->token);
	free(c->challenge);
	c->challenge = NULL;
	c->authorized = c->token_fresh = c->challenged = false;
	c->pinged = c->renewed = c->rescoped = false;
}

/* ---- AUTHORISE, CREDENTIAL, TOKEN ---- */

static bool scope_is_repository(const char *scope)
{
	return strncmp(scope, "repository:", 11) == 0;
}

static void set_scope(struct call *c, const char *scope)
{
	char *own = *scope ? NULL : call_scope(call_conf(c)->prefix, c->repo);

	free(c->scope);
	c->scope = own ? own : xstrdup(scope);
}

static void set_challenge(struct call *c, const struct http_challenge *ch,
			  const struct http_url *from)
{
	free(c->challenge);
	c->challenge = xmemdup(ch, sizeof(*ch));
	http_url_release(&c->challenger);
	if (http_url_parse(span_of(from->text), &c->challenger))
		assert(!"a URL that was parsed before");
}

/* The endpoint's last challenge tells what this request will need, which
 * saves the 401. */
void call_authorise_step(struct call *c)
{
	const struct http_challenge *known =
	    peer_challenge(c->peer, c->endpoint, c->endpoint_url);

	c->next = STEP_ENTER;
	if (!known || (known->scheme == HTTP_AUTH_BASIC && c->anonymous))
		return;
	set_challenge(c, known, &c->own);
	set_scope(c, scope_is_repository(known->scope) ? "" : known->scope);
	c->next = STEP_CREDENTIAL;
}

static void credential_found(void *arg, enum err err,
			     const struct credential *found,
			     const struct why *why)
{
	struct call *c = arg;

	c->cred_ask = NULL;
	if (c->over)
		return;
	if (err) {
		call_fail(c, err, "%s: %s", call_upstream(c), why->text);
		return;
	}
	credential_copy(&c->cred, found);
	c->cred_known = true;
	call_soon(c, STEP_TOKEN);
}

/* Redirect targets have challenges of their own, but never our secrets. */
static bool may_use_credentials(const struct call *c)
{
	return !c->anonymous && !c->left;
}

void call_credential_step(struct call *c)
{
	c->next = STEP_TOKEN;
	if (c->cred_known || !may_use_credentials(c) ||
	    !upstream_has_credentials(c->up))
		return;
	if (credential_now(c->caller->credentials, c->up, c->repo, &c->cred)) {
		c->cred_known = true;
		return;
	}
	c->next = STEP_NONE;
	c->cred_ask = credential_ask(c->caller->credentials, c->up, c->repo,
				     credential_found, c);
}

static void set_bearer(struct call *c, const char *token, bool fresh,
		       bool authorized)
{
	secret_wipe(&c->authorization);
	secret_wipe(&c->token);
	c->token = xstrdup(token);
	c->authorization = xasprintf("Bearer %s", token);
	c->token_fresh = fresh;
	if (!c->left) /* what the registry was shown counts */
		c->authorized = authorized;
}

static void set_basic(struct call *c)
{
	secret_wipe(&c->authorization);
	secret_wipe(&c->token);
	c->authorization = credential_basic(c->cred.username, c->cred.password);
	c->token_fresh = true;
	c->authorized = true;
}

static void token_spec_of(const struct call *c, struct token_spec *spec)
{
	*spec = (struct token_spec){
	    .up = c->up,
	    .own = &c->challenger,
	    .limit = c->own_class != ENDPOINT_CLASS_UNKNOWN
			 ? c->own_class
			 : upstream_endpoint_class(c->up, c->endpoint),
	    .realm = c->challenge->realm,
	    .service = c->challenge->service,
	    .scope = c->scope,
	    .cred = may_use_credentials(c) ? &c->cred : NULL,
	};
}

static void token_found(void *arg, enum err err, const char *token,
			const struct why *why)
{
	struct call *c = arg;

	c->token_ask = NULL;
	if (c->over)
		return;
	if (err == ERR_DENIED || err == ERR_LIMITED) {
		/* What we knew may be what was wrong. */
		if (!c->challenged)
			peer_learn(c->peer, c->endpoint, NULL, NULL);
		call_finish(c, err, why);
		return;
	}
	if (err) {
		if (!c->challenged)
			peer_learn(c->peer, c->endpoint, NULL, NULL);
		call_elsewhere(c, err, "%s", why->text);
		return;
	}
	set_bearer(c, token, true,
		   may_use_credentials(c) && !credential_is_none(&c->cred));
	call_soon(c, STEP_ENTER);
}

static void basic_step(struct call *c)
{
	if (may_use_credentials(c) && c->cred.username && c->cred.password) {
		set_basic(c);
		c->next = STEP_ENTER;
	} else if (!c->challenged) {
		c->next = STEP_ENTER; /* perhaps this one is free */
	} else {
		call_fail(c, ERR_DENIED, "%s wants a user and a password%s",
			  call_upstream(c),
			  upstream_has_credentials(c->up)
			      ? ""
			      : "; none are configured for it");
	}
}

void call_token_step(struct call *c)
{
	struct token_spec spec;
	const char *token;

	c->next = STEP_NONE;
	if (c->challenge->scheme == HTTP_AUTH_BASIC) {
		basic_step(c);
		return;
	}
	if (may_use_credentials(c) && c->cred.registry_token) {
		set_bearer(c, c->cred.registry_token, true, true);
		c->next = STEP_ENTER;
		return;
	}
	token_spec_of(c, &spec);
	token = token_cached(c->caller->tokens, &spec);
	if (token) {
		set_bearer(c, token, false,
			   spec.cred && !credential_is_none(spec.cred));
		c->next = STEP_ENTER;
		return;
	}
	c->token_ask = token_ask(c->caller->tokens, &spec, token_found, c);
}

/* ---- 401 ---- */

/* Does this 401 leave something to try?  Says which scope to ask for. */
static bool try_again(struct call *c, const struct http_challenge *ch)
{
	struct token_spec spec;

	if (ch->scheme == HTTP_AUTH_BASIC)
		return !c->authorization || c->token;
	if (!c->authorization) {
		set_scope(c, ch->scope);
		return true;
	}
	if (c->token && c->challenge && !c->token_fresh && !c->renewed) {
		/* An old one of ours: it may have been revoked. */
		token_spec_of(c, &spec);
		token_forget(c->caller->tokens, &spec, c->token);
		c->renewed = true;
		set_scope(c, ch->scope);
		return true;
	}
	if (c->token && *ch->scope && strcmp(ch->scope, c->scope) != 0 &&
	    !c->rescoped) {
		c->rescoped = true;
		set_scope(c, ch->scope);
		return true;
	}
	return false;
}

bool call_unauthorized(struct call *c, const struct fetch_head *h)
{
	struct http_challenge ch;

	call_head_challenge(h, &ch);
	if (ch.scheme == HTTP_AUTH_NONE) {
		if (c->redirects || c->pinged || c->authorization)
			return call_deliver(c, h);
		return call_go_on(c, h, STEP_PING);
	}
	if (c->redirects == 0)
		peer_learn(c->peer, c->endpoint, c->endpoint_url, &ch);
	/* A redirect's target is asked once more at most, as nobody. */
	if (c->redirects && (c->challenged || !c->left || c->authorization ||
			     ch.scheme != HTTP_AUTH_BEARER))
		return call_deliver(c, h);
	if (!try_again(c, &ch))
		return call_deliver(c, h);
	c->challenged = true;
	set_challenge(c, &ch, &c->url);
	return call_go_on(c, h, STEP_CREDENTIAL);
}

bool call_pinged(struct call *c, const struct fetch_head *h)
{
	struct http_challenge ch;

	call_head_challenge(h, &ch);
	if (c->status != 401 || ch.scheme == HTTP_AUTH_NONE)
		return call_refuse_later(
		    c, h, ERR_DENIED,
		    "%s refuses this name and does not say "
		    "what it wants (401 without a challenge)",
		    call_upstream(c));
	peer_learn(c->peer, c->endpoint, c->endpoint_url, &ch);
	set_challenge(c, &ch, &c->own);
	set_scope(c, ch.scope);
	c->challenged = true;
	return call_go_on(c, h, STEP_CREDENTIAL);
}
