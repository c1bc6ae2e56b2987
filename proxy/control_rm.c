/* SPDX-License-Identifier: Apache-2.0 */
/* rm --release NAME: undo the claim of a name that holds nothing any more. */
#include "cache/hosted.h"
#include "proxy/control_commands.h"
#include "proxy/server.h"

#define RELEASE_MAGIC 0x524c5345

/* The command, while it waits; and what the writer sends back to it. */
struct release {
	struct control_call *call;
	struct loop *loop;
	struct handle handle;
	char name[REPO_NAME_MAX + 1];
};

struct release_note {
	struct message msg;
	struct loop *loop;
	enum err err;
	struct why why;
};

static void release_free(struct release *r)
{
	loop_unregister(r->loop, &r->handle);
	free(r);
}

static void told(struct message *msg, void *object)
{
	struct release_note *note = container_of(msg, struct release_note, msg);
	struct release *r = object;

	if (r) {
		if (note->err == ERR_OK) {
			control_print(r->call, "%s is no longer hosted",
				      r->name);
			control_end(r->call, 0, "%s", "");
		} else {
			control_end(r->call, 1, "%s",
				    note->why.text[0] ? note->why.text
						      : err_name(note->err));
		}
		release_free(r);
	}
	free(note);
}

/* Writer's thread. */
static void released(void *arg, const struct hosted_result *res)
{
	struct release_note *note = arg;

	note->err = res->err;
	note->why = res->why;
	loop_post(note->loop, &note->msg);
}

void rm_start(struct control_call *call, unsigned n_words, char *const *words)
{
	struct release_note *note;
	struct release *r;

	if (n_words != 3 || strcmp(words[1], "--release") != 0 ||
	    !repo_name_valid(words[2], strlen(words[2]))) {
		control_end(call, 2, "expected rm --release NAME");
		return;
	}
	r = xcalloc(1, sizeof(*r));
	r->call = call;
	r->loop = control_loop(call);
	snprintf(r->name, sizeof(r->name), "%s", words[2]);
	r->handle = loop_register(r->loop, r, RELEASE_MAGIC);
	control_set_state(call, r);
	note = xcalloc(1, sizeof(*note));
	note->loop = r->loop;
	note->msg.to = r->handle;
	note->msg.magic = RELEASE_MAGIC;
	note->msg.run = told;
	cache_release_repo(control_server(call)->cache, r->name, released,
			   note);
}

void rm_gone(struct control_call *call)
{
	release_free(control_state(call));
}
