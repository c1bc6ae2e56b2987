/* SPDX-License-Identifier: Apache-2.0 */
/* serve: the daemon, as its main thread sees it.  This thread takes every
 * signal and does little else. */
#include "proxy/command.h"
#include "proxy/log.h"
#include "proxy/metrics.h"
#include "proxy/notify.h"
#include "proxy/server.h"

#include <errno.h>
#include <signal.h>

#define TICK_MS 5000
#define DRAIN_TICK_MS 20

static void set_signals(sigset_t *ours)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGPIPE, &ignore, NULL);
	sigemptyset(ours);
	sigaddset(ours, SIGHUP);
	sigaddset(ours, SIGTERM);
	sigaddset(ours, SIGINT);
	pthread_sigmask(SIG_BLOCK, ours, NULL);
}

/* The next signal, or 0 after `ms`. */
static int next_signal(const sigset_t *ours, uint64_t ms)
{
	struct timespec ts = {
	    .tv_sec = (time_t)(ms / 1000),
	    .tv_nsec = (long)(ms % 1000) * 1000000,
	};
	int sig = sigtimedwait(ours, NULL, &ts);

	return sig > 0 ? sig : 0;
}

/* ---- reloading ---- */

static void log_warnings(const struct conf *conf)
{
	for (size_t i = 0; i < conf->warnings.n; i++)
		log_warn("%s", conf->warnings.v[i]);
}

/* What waits for a restart, in one line. */
static void log_unchanged(const struct conf *start, const struct conf *conf)
{
	struct conf_strings changed = {0};
	char *all = xstrdup("");

	if (conf_diff_reload(start, conf, &changed) > 0) {
		for (size_t i = 0; i < changed.n; i++) {
			char *longer = xasprintf("%s%s%s", all, i ? ", " : "",
						 changed.v[i]);

			free(all);
			all = longer;
		}
		log_warn("changed, but needs a restart: %s", all);
	}
	free(all);
	conf_strings_release(&changed);
}

static void log_refusal(struct conf_strings *errors, const struct why *why)
{
	for (size_t i = 0; i < errors->n; i++)
		log_error("%s", errors->v[i]);
	if (errors->n == 0)
		log_error("%s", why->text);
	log_error("not reloaded: everything stays as it was");
}

static void reload(struct server *s, const struct conf_args *args)
{
	struct conf_strings errors = {0};
	struct conf *conf;
	struct why why;

	notify_reloading();
	if (conf_load(args->config, args, &conf, &errors, &why) == ERR_OK) {
		server_reload(s, conf);
		log_warnings(conf);
		log_unchanged(s->conf_start, conf);
		log_info("configuration reloaded");
		conf_unref(&conf);
	} else {
		log_refusal(&errors, &why);
	}
	conf_strings_release(&errors);
	notify_ready();
}

/* ---- its life ---- */

/* Until it is asked to end. */
static void run(struct server *s, const struct conf_args *args,
		const sigset_t *ours)
{
	uint64_t tick_ms = now_ms() + TICK_MS;

	for (;;) {
		uint64_t now = now_ms();
		int sig = next_signal(ours, tick_ms > now ? tick_ms - now : 0);

		if (sig == SIGTERM || sig == SIGINT)
			return;
		if (sig == SIGHUP)
			reload(s, args);
		if (now_ms() >= tick_ms) {
			server_tick(s);
			tick_ms = now_ms() + TICK_MS;
		}
	}
}

static uint64_t drain_ms(struct server *s)
{
	struct conf *conf = server_conf(s);
	uint64_t ms = conf->server.drain_ms;

	conf_unref(&conf);
	return ms;
}

/* Let requests end, for a while, or until it is asked a second time. */
static void drain(struct server *s, const sigset_t *ours)
{
	uint64_t begin = now_ms(), most = drain_ms(s);

	log_info("draining: no new connections; requests may end within "
		 "%" PRIu64 " ms",
		 most);
	server_drain(s);
	while (!server_is_idle(s)) {
		int sig = next_signal(ours, DRAIN_TICK_MS);

		if (sig == SIGTERM || sig == SIGINT) {
			log_warn("asked again: cutting what is left");
			return;
		}
		if (now_ms() - begin >= most) {
			log_warn("drained for %" PRIu64 " ms: cutting what is "
				 "left",
				 most);
			return;
		}
	}
}

static int status_of(enum err err)
{
	return err == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED;
}

/* What an operator asks of a log first. */
static void log_what_runs(const struct conf *conf, const struct conf_args *args)
{
	char *all = xstrdup(conf->upstreams.n ? "" : "nothing");

	for (size_t i = 0; i < conf->upstreams.n; i++) {
		char *longer = xasprintf("%s%s%s", all, i ? ", " : "",
					 conf->upstreams.v[i].name);

		free(all);
		all = longer;
	}
	log_info("entrepot %s: configuration %s, data %s, mirrors %s",
		 ENTREPOT_VERSION, args->config ? args->config : "built in",
		 conf->data, all);
	free(all);
}

static int serve(struct conf *conf, const struct conf_args *args,
		 const sigset_t *ours, uint64_t begin_ms)
{
	struct server server = {0};
	struct why why;
	enum err err;

	log_what_runs(conf, args);
	log_warnings(conf);
	err = server_start(&server, conf, &why);
	if (err) {
		log_error("%s", why.text);
		return status_of(err);
	}
	notify_ready();
	log_info("ready in %" PRIu64 " ms", now_ms() - begin_ms);
	run(&server, args, ours);
	notify_stopping();
	drain(&server, ours);
	server_stop(&server);
	log_info("stopped");
	return EXIT_OK;
}

int command_serve(int argc, char **argv)
{
	uint64_t begin_ms = now_ms();
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;
	sigset_t ours;

	if (command_line_parse(argc, argv, NULL, 0, &line) &&
	    command_load(&line.conf, &conf)) {
		set_signals(&ours);
		notify_init();
		metrics_start(ENTREPOT_VERSION);
		log_start((enum log_level)conf->log_level);
		status = serve(conf, &line.conf, &ours, begin_ms);
		log_stop();
		metrics_free();
	}
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
