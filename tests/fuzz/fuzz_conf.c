/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a configuration file: it loads or says why not, and a
 * configuration that loads is whole.
 */
#include "proxy/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_upstream(const struct conf *conf,
			   const struct conf_upstream *up)
{
	assert(conf_upstream_find(conf, up->name, strlen(up->name)) == up);
	assert(up->endpoints.n > 0 && up->endpoints.v[0].port > 0);
	assert(up->credentials != CONF_CRED_AUTO);
	assert(up->credentials != CONF_CRED_DOCKER || up->docker_config);
	assert(up->retry_min_ms <= up->retry_max_ms);
	for (size_t i = 0; i < up->aliases.n; i++)
		assert(conf_upstream_find(conf, up->aliases.v[i],
					  strlen(up->aliases.v[i])) == up);
	(void)conf_check_ms(up, "v1.2.3-alpine");
	(void)conf_redirect_allowed(up, "10.0.0.1", 443, NULL);
}

static void check_hook(const struct conf_hook *hook)
{
	assert(hook->name && hook->url && strncmp(hook->url, "http", 4) == 0);
	assert(hook->retry_min_ms <= hook->retry_max_ms);
	for (size_t i = 0; i < hook->headers.n; i++)
		assert(!strpbrk(hook->headers.v[i].value, "\r\n"));
	(void)conf_hook_wants(hook, "team/app");
}

static void check_conf(const struct conf *conf)
{
	(void)conf_tag_is_immutable(conf, "team/app", "v1");
	(void)conf_is_sparse(conf, "team/app");
	for (size_t i = 0; i < conf->notifications.endpoints.n; i++)
		check_hook(&conf->notifications.endpoints.v[i]);
	assert(conf->data[0] == '/' && conf->control[0] == '/');
	assert(conf->listen.n > 0 && conf->server.loops > 0);
	assert(!conf->default_upstream ||
	       conf_upstream_find(conf, conf->default_upstream,
				  strlen(conf->default_upstream)));
	for (size_t i = 0; i < conf->upstreams.n; i++)
		check_upstream(conf, &conf->upstreams.v[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_strings errors = {0};
	struct conf *conf = NULL, *again = NULL;
	struct why why = {""};

	setenv("HOME", "/home/u", 1);
	if (conf_load_text("F", (const char *)data, size, NULL, &conf, &errors,
			   &why) == ERR_OK) {
		check_conf(conf);
		/* the same text is the same configuration */
		if (conf_load_text("F", (const char *)data, size, NULL, &again,
				   NULL, NULL) != ERR_OK ||
		    conf_diff_reload(conf, again, &errors) != 0)
			abort();
	} else {
		assert(!conf && errors.n > 0 && why.text[0]);
	}
	conf_unref(&conf);
	conf_unref(&again);
	conf_strings_release(&errors);
	return 0;
}
