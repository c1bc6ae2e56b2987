/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/event.h"

#include "tests/unit/cache_help.h"
#include "tests/unit/unit.h"

static enum err put_one(struct index_txn *txn, void *arg)
{
	event_put(txn, test_text(arg));
	return ERR_OK;
}

static void put(struct cache *c, const char *text)
{
	char *copy = xstrdup(text);

	CHECK(test_write(c->index, put_one, copy) == ERR_OK);
	free(copy);
}

/* "<seq>:<text> " of what comes after a sequence. */
struct listed {
	char text[512];
	unsigned max;
};

static bool list_one(void *arg, uint64_t seq, struct slice text)
{
	struct listed *l = arg;
	size_t used = strlen(l->text);

	snprintf(l->text + used, sizeof(l->text) - used, "%u:%.*s ",
		 (unsigned)seq, (int)text.len, (const char *)text.ptr);
	return --l->max > 0;
}

static void expect(struct cache *c, uint64_t after, unsigned max,
		   const char *want)
{
	struct index_txn *txn = index_read(c->index);
	struct listed l = {.max = max};

	CHECK(event_walk(txn, after, list_one, &l) == ERR_OK);
	CHECK_STR(l.text, want);
	index_read_end(txn);
}

static uint64_t count(struct cache *c)
{
	struct index_txn *txn = index_read(c->index);
	uint64_t n = event_count(txn);

	index_read_end(txn);
	return n;
}

static uint64_t cursor(struct cache *c, const char *receiver)
{
	struct index_txn *txn = index_read(c->index);
	uint64_t seq = event_cursor(txn, receiver);

	index_read_end(txn);
	return seq;
}

static const char *const both[] = {"a", "b"};

static void events_wait_until_all_were_told(void)
{
	struct cache *c = open_cache(1024);

	expect(c, 0, 9, "");
	put(c, "one");
	put(c, "two");
	put(c, "three");
	expect(c, 0, 9, "1:one 2:two 3:three ");
	expect(c, 0, 2, "1:one 2:two ");
	expect(c, 2, 9, "3:three ");
	expect(c, 3, 9, "");
	CHECK(count(c) == 3 && cursor(c, "a") == 0);
	CHECK(event_told(c, "a", 2, both, 2, 100) == ERR_OK);
	CHECK(count(c) == 3 && cursor(c, "a") == 2);
	CHECK(event_told(c, "b", 1, both, 2, 100) == ERR_OK);
	expect(c, 0, 9, "2:two 3:three ");
	CHECK(event_told(c, "b", 3, both, 2, 100) == ERR_OK);
	CHECK(event_told(c, "a", 1, both, 2, 100) == ERR_OK); /* never back */
	expect(c, 0, 9, "3:three ");
	CHECK(cursor(c, "a") == 2);
	/* One that is no receiver any more holds nothing back. */
	CHECK(event_told(c, "b", 3, both + 1, 1, 100) == ERR_OK);
	CHECK(count(c) == 0);
	put(c, "four"); /* numbers are never given again */
	expect(c, 0, 9, "4:four ");
	CHECK(check_cache(c, false) == 0);
	close_cache(&c);
}

static void the_oldest_go_where_there_are_too_many(void)
{
	struct cache *c = open_cache(1024);

	for (unsigned i = 0; i < 350; i++)
		put(c, "x");
	CHECK(event_told(c, "a", 0, both, 2, 300) == ERR_OK);
	CHECK(count(c) == 300);
	expect(c, 0, 2, "51:x 52:x ");
	CHECK(event_told(c, "a", 0, both, 2, 3) == ERR_OK);
	CHECK(count(c) == 3);
	expect(c, 0, 9, "348:x 349:x 350:x ");
	CHECK(event_told(c, "a", 350, both, 1, 3) == ERR_OK);
	CHECK(count(c) == 0 && check_cache(c, false) == 0);
	close_cache(&c);
}

static void a_text_past_the_limit_is_left_out(void)
{
	struct cache *c = open_cache(1024);
	char *text = xmalloc(64 * 1024 + 2);
	struct index_txn *txn;

	memset(text, 'x', 64 * 1024 + 1);
	text[64 * 1024 + 1] = '\0';
	put(c, text);
	CHECK(count(c) == 0);
	txn = index_read(c->index);
	CHECK(total_get(txn, "events_too_long") == 1);
	index_read_end(txn);
	text[64 * 1024] = '\0';
	put(c, text);
	CHECK(count(c) == 1 && check_cache(c, false) == 0);
	free(text);
	close_cache(&c);
}

static enum err lose_counter(struct index_txn *txn, void *arg UNUSED)
{
	index_put(txn, TABLE_META, test_text("event/next"), test_text("rot"));
	return ERR_OK;
}

static void a_lost_counter_is_counted_again(void)
{
	struct cache *c = open_cache(1024);

	put(c, "one");
	put(c, "two");
	CHECK(test_write(c->index, lose_counter, NULL) == ERR_OK);
	put(c, "three");
	expect(c, 0, 9, "1:one 2:two 3:three ");
	CHECK(check_cache(c, false) == 0);
	close_cache(&c);
}

int main(void)
{
	RUN(events_wait_until_all_were_told);
	RUN(the_oldest_go_where_there_are_too_many);
	RUN(a_text_past_the_limit_is_left_out);
	RUN(a_lost_counter_is_counted_again);
	return unit_done();
}
