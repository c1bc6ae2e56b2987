/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/fault.h"

static const char *const names[FAULT_POINTS_COUNT] = {
#define FAULT_TEXT(name) #name,
    FAULT_POINT_LIST(FAULT_TEXT)
#undef FAULT_TEXT
};

const char *fault_name(unsigned i)
{
	return i < FAULT_POINTS_COUNT ? names[i] : NULL;
}

#ifdef FAULT_POINTS

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum fault_action { ACT_NONE, ACT_KILL, ACT_ENOSPC, ACT_EIO };

struct armed {
	enum fault_action action;
	unsigned long at;
	bool onward; /* and at every passage after it */
	atomic_ulong passed;
};

static struct armed armed[FAULT_POINTS_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned point_named(const char *name, size_t len)
{
	for (unsigned i = 0; i < FAULT_POINTS_COUNT; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return i;
	abort(); /* a test that names a point there is not tests nothing */
}

static const char *const words[] = {"", "kill", "enospc", "eio"};

static enum fault_action action_named(const char *word, size_t len)
{
	for (unsigned i = ACT_KILL; i < ARRAY_LEN(words); i++)
		if (strlen(words[i]) == len && memcmp(words[i], word, len) == 0)
			return (enum fault_action)i;
	abort();
}

/* One "name:N:action" or "name:N+:action", which ends at a comma or at the end
 * of the text. */
static const char *arm_one(const char *text)
{
	size_t name_len = strcspn(text, ":"), word_len;
	struct armed *a = &armed[point_named(text, name_len)];
	char *word;

	if (!text[name_len])
		abort();
	a->at = strtoul(text + name_len + 1, &word, 10);
	a->onward = *word == '+';
	word += a->onward;
	if (*word != ':' || a->at == 0)
		abort();
	word_len = strcspn(++word, ",");
	a->action = action_named(word, word_len);
	word += word_len;
	return *word ? word + 1 : word;
}

static void arm(void)
{
	const char *text = secure_getenv("ENTREPOT_FAULT");

	while (text && *text)
		text = arm_one(text);
}

int fault_pass(enum fault_point point)
{
	struct armed *a = &armed[point];
	unsigned long passage;

	pthread_once(&once, arm);
	if (a->action == ACT_NONE)
		return 0;
	passage = atomic_fetch_add(&a->passed, 1) + 1;
	if (passage < a->at || (passage > a->at && !a->onward))
		return 0;
	dprintf(STDERR_FILENO, "fault: %s:%lu:%s\n", names[point], passage,
		words[a->action]);
	if (a->action == ACT_KILL)
		raise(SIGKILL);
	return a->action == ACT_ENOSPC ? ENOSPC : EIO;
}

#endif
