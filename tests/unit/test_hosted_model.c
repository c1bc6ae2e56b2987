/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that push, mount, delete, purge and collect the same few digests.
 * Each pusher has a repository of its own, of which it knows what must be in
 * it, and disturbs one that all share.  What the journal was told is replayed
 * beside, into a model of all hosted repositories.
 *
 * After each quiescence the checker is content, all files have their digests,
 * and the index holds exactly what the journal's model does.
 */
#include "tests/unit/hosted_help.h"
#include "tests/unit/unit.h"

#include <stdatomic.h>

#define PUSHERS 3
#define IMAGES 6
#define TAGS 3
#define BLOBS 5
#define ROUNDS 150
#define QUIESCENCES 3

/* ---- the journal's model ---- */

struct model_link {
	char repo[16];
	struct digest dg;
	enum link_kind kind;
};

struct model_tag {
	char repo[16], tag[16];
	struct digest dg;
};

struct model {
	struct model_link links[256];
	struct model_tag tags[64];
	char repos[16][16];
	size_t n_links, n_tags, n_repos;
	uint64_t last;
	unsigned bad;
	struct index_log journal; /* the cache's own, behind it */
};

static void set_link(struct model *m, const struct journal_entry *e)
{
	size_t i = 0;

	while (i < m->n_links && (strcmp(m->links[i].repo, e->repo) != 0 ||
				  !digest_equal(&m->links[i].dg, &e->dg)))
		i++;
	if (e->kind == JOURNAL_UNLINK) {
		m->bad += i == m->n_links;
		if (i < m->n_links)
			m->links[i] = m->links[--m->n_links];
		return;
	}
	if (i == m->n_links)
		m->n_links++;
	assert(m->n_links <= ARRAY_LEN(m->links));
	snprintf(m->links[i].repo, sizeof(m->links[i].repo), "%s", e->repo);
	m->links[i].dg = e->dg;
	m->links[i].kind = e->link;
}

static void set_tag(struct model *m, const struct journal_entry *e)
{
	size_t i = 0;

	while (i < m->n_tags && (strcmp(m->tags[i].repo, e->repo) != 0 ||
				 strcmp(m->tags[i].tag, e->tag) != 0))
		i++;
	if (e->kind == JOURNAL_UNTAG) {
		m->bad += i == m->n_tags;
		if (i < m->n_tags)
			m->tags[i] = m->tags[--m->n_tags];
		return;
	}
	if (i == m->n_tags)
		m->n_tags++;
	assert(m->n_tags <= ARRAY_LEN(m->tags));
	snprintf(m->tags[i].repo, sizeof(m->tags[i].repo), "%s", e->repo);
	snprintf(m->tags[i].tag, sizeof(m->tags[i].tag), "%s", e->tag);
	m->tags[i].dg = e->dg;
}

static void replay(struct model *m, const struct journal_entry *e)
{
	switch (e->kind) {
	case JOURNAL_REPO:
		assert(m->n_repos < ARRAY_LEN(m->repos) && e->hosted);
		snprintf(m->repos[m->n_repos++], sizeof(m->repos[0]), "%s",
			 e->repo);
		break;
	case JOURNAL_LINK:
	case JOURNAL_UNLINK:
		set_link(m, e);
		break;
	case JOURNAL_TAG:
	case JOURNAL_UNTAG:
		set_tag(m, e);
		break;
	}
}

static enum err log_append(void *arg, const void *records, size_t len,
			   uint64_t first, size_t n, struct why *why)
{
	const uint8_t *at = records, *end = at + len;
	struct model *m = arg;

	m->bad += first != m->last + 1;
	m->last += n;
	while (at < end) {
		size_t size = get_be32(at);
		struct journal_entry e;

		if (journal_entry_decode(at + 4, size, &e) == ERR_OK)
			replay(m, &e);
		else
			m->bad++;
		at += 4 + size;
	}
	return m->journal.append(m->journal.arg, records, len, first, n, why);
}

static void log_cut(void *arg UNUSED)
{
	abort(); /* no commit fails here */
}

struct compare {
	const struct model *m;
	const char *repo;
	size_t links, tags;
};

static bool compare_link(void *arg, const struct digest *dg,
			 const struct link_row *row)
{
	struct compare *cmp = arg;
	size_t i = 0;

	while (i < cmp->m->n_links &&
	       (strcmp(cmp->m->links[i].repo, cmp->repo) != 0 ||
		!digest_equal(&cmp->m->links[i].dg, dg)))
		i++;
	CHECK(i < cmp->m->n_links && cmp->m->links[i].kind == row->kind &&
	      row->hosted);
	cmp->links++;
	return true;
}

static bool compare_tag(void *arg, const char *tag, size_t tag_len,
			const struct tag_row *row)
{
	struct compare *cmp = arg;
	size_t i = 0;

	while (i < cmp->m->n_tags &&
	       (strcmp(cmp->m->tags[i].repo, cmp->repo) != 0 ||
		strlen(cmp->m->tags[i].tag) != tag_len ||
		memcmp(cmp->m->tags[i].tag, tag, tag_len) != 0))
		i++;
	CHECK(i < cmp->m->n_tags &&
	      digest_equal(&cmp->m->tags[i].dg, &row->held[0]) &&
	      !row->held[1].alg);
	cmp->tags++;
	return true;
}

static void compare_all(struct cache *c, const struct model *m)
{
	struct index_txn *txn = index_read(c->index);
	struct compare cmp = {.m = m};
	uint64_t id;

	for (size_t i = 0; i < m->n_repos; i++) {
		cmp.repo = m->repos[i];
		CHECK(repo_id(txn, "", cmp.repo, &id) == ERR_OK);
		CHECK(link_walk(txn, id, NULL, compare_link, &cmp) == ERR_OK);
		CHECK(tag_walk(txn, id, NULL, compare_tag, &cmp) == ERR_OK);
	}
	CHECK(cmp.links == m->n_links && cmp.tags == m->n_tags);
	CHECK(index_log_last(txn) == m->last && m->bad == 0);
	index_read_end(txn);
}

/* ---- a pusher, and what it knows of its own repository ---- */

struct pusher {
	struct cache *c;
	unsigned n, seed;
	uint64_t grace_ms;
	char repo[16];
	bool held[IMAGES];
	int tags[TAGS]; /* the image, or -1 */
	unsigned pushed, refused;
};

static atomic_bool stop;

static unsigned roll(struct pusher *p, unsigned n)
{
	p->seed = p->seed * 1103515245 + 12345;
	return (p->seed >> 16) % n;
}

static unsigned config_of(unsigned image)
{
	return image % 2;
}

static unsigned layer_of(unsigned image)
{
	return 2 + image % 3;
}

static char *text_of(unsigned image)
{
	return image_of(config_of(image), layer_of(image), NULL);
}

static struct digest digest_of_image(unsigned image)
{
	char *text = text_of(image);
	struct digest dg = text_digest(text);

	free(text);
	return dg;
}

/* Does an image that is here need blob `b`, so that it must be here? */
static bool is_named(const struct pusher *p, unsigned b)
{
	for (unsigned i = 0; i < IMAGES; i++)
		if (p->held[i] && (config_of(i) == b || layer_of(i) == b))
			return true;
	return false;
}

static void push_own(struct pusher *p, unsigned image, bool with_blobs)
{
	bool must =
	    is_named(p, config_of(image)) && is_named(p, layer_of(image));
	uint64_t from = now_ms();
	unsigned t = roll(p, TAGS);
	char *text = text_of(image), tag[16];
	struct hosted_result res;

	snprintf(tag, sizeof(tag), "t%u", t);
	if (with_blobs) {
		upload(p->c, p->repo, config_of(image));
		upload(p->c, p->repo, layer_of(image));
	}
	res = push(p->c, p->repo, tag, text);
	free(text);
	must |= with_blobs && now_ms() - from < p->grace_ms;
	CHECK(res.err == ERR_OK || (!must && res.err == ERR_NOT_FOUND));
	if (res.err != ERR_OK) {
		p->refused++;
		return;
	}
	p->pushed++;
	/* The six images are of six pairs: none is another. */
	p->held[image] = true;
	p->tags[t] = (int)image;
}

static void delete_own(struct pusher *p, unsigned image)
{
	struct digest dg = digest_of_image(image);
	enum err err = remove_manifest(p->c, p->repo, &dg).err;

	CHECK(err == (p->held[image] ? ERR_OK : ERR_NOT_FOUND));
	p->held[image] = false;
	for (unsigned t = 0; t < TAGS; t++)
		if (p->tags[t] == (int)image)
			p->tags[t] = -1;
}

static void delete_own_tag(struct pusher *p, unsigned t)
{
	char tag[16];
	enum err err;

	snprintf(tag, sizeof(tag), "t%u", t);
	err = remove_tag(p->c, p->repo, tag).err;
	CHECK(err == (p->tags[t] >= 0 ? ERR_OK : ERR_NOT_FOUND));
	p->tags[t] = -1;
}

static void delete_own_blob(struct pusher *p, unsigned b)
{
	struct digest dg = blob_digest(b);
	enum err err = remove_blob(p->c, p->repo, &dg).err;

	if (is_named(p, b))
		CHECK(err == ERR_BUSY);
	else
		CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
}

static void mount_some(struct pusher *p, unsigned b)
{
	struct digest dg = blob_digest(b);
	char from[16];
	enum err err;

	snprintf(from, sizeof(from), "own%u", roll(p, PUSHERS));
	if (roll(p, 2))
		err = mount(p->c, p->repo, "", from, &dg).err;
	else
		err = mount(p->c, p->repo, NULL, NULL, &dg).err;
	CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
	CHECK(err == ERR_OK || !is_named(p, b));
}

/* Nobody knows what the others do there. */
static void disturb_shared(struct pusher *p, unsigned image)
{
	struct digest dg = digest_of_image(image);
	struct digest layer = blob_digest(layer_of(image));
	struct push_manifest m = {
	    .to = {.shadow_host = HOST, .shadow_name = "app"}};
	char *text = text_of(image);
	enum err err;

	switch (roll(p, 5)) {
	case 0:
		upload(p->c, "shared", config_of(image));
		upload(p->c, "shared", layer_of(image));
		err = push(p->c, "shared", "latest", text).err;
		break;
	case 1:
		err = push_with(p->c, &m, "shared", "latest", text).err;
		break;
	case 2:
		err = remove_manifest(p->c, "shared", &dg).err;
		break;
	case 3:
		err = remove_tag(p->c, "shared", "latest").err;
		break;
	default:
		err = remove_blob(p->c, "shared", &layer).err;
	}
	free(text);
	CHECK(err == ERR_OK || err == ERR_NOT_FOUND || err == ERR_BUSY);
}

/* What was acknowledged is there. */
static void look(struct pusher *p)
{
	for (unsigned i = 0; i < IMAGES; i++) {
		struct digest dg = digest_of_image(i);

		CHECK(has_manifest(p->c, p->repo, &dg) == p->held[i]);
		CHECK(!p->held[i] || has_file(p->c, &dg));
	}
	for (unsigned b = 0; b < BLOBS; b++) {
		struct digest dg = blob_digest(b);

		CHECK(!is_named(p, b) ||
		      (has_blob(p->c, p->repo, &dg) && has_file(p->c, &dg)));
	}
	for (unsigned t = 0; t < TAGS; t++) {
		struct digest want = {0}, got;
		char tag[16];

		snprintf(tag, sizeof(tag), "t%u", t);
		if (p->tags[t] >= 0)
			want = digest_of_image((unsigned)p->tags[t]);
		got = tag_digest(p->c, p->repo, tag);
		CHECK(digest_equal(&got, &want));
	}
}

static void act(struct pusher *p)
{
	unsigned image = roll(p, IMAGES), b = roll(p, BLOBS);

	switch (roll(p, 10)) {
	case 0:
	case 1:
	case 2:
		push_own(p, image, true);
		break;
	case 3:
		push_own(p, image, false);
		break;
	case 4:
	case 5:
		delete_own(p, image);
		break;
	case 6:
		delete_own_tag(p, roll(p, TAGS));
		break;
	case 7:
		delete_own_blob(p, b);
		break;
	case 8:
		mount_some(p, b);
		break;
	default:
		disturb_shared(p, image);
	}
}

static void *pusher_main(void *arg)
{
	struct pusher *p = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		act(p);
		if (i % 8 == 0)
			look(p);
	}
	index_thread_done(p->c->index);
	return NULL;
}

/* ---- the mirror, and the collector ---- */

static void *mirror_main(void *arg)
{
	struct hosting h = {.repo = "app"};
	struct pusher *p = arg;

	while (!atomic_load(&stop)) {
		unsigned image = roll(p, IMAGES);
		struct digest dg = digest_of_image(image), layer;
		struct outcome o = OUTCOME;
		char *text = text_of(image);

		layer = fetch_blob(p->c, "app", layer_of(image), roll(p, 2));
		fetch_blob(p->c, "app", config_of(image), true);
		store(p->c, "app", "v1", text, roll(p, 2));
		if (roll(p, 2))
			cache_purge_manifest(p->c, HOST, &h, &dg, came_out, &o);
		else
			cache_purge_blob(p->c, HOST, &h, &layer, came_out, &o);
		CHECK(result_of(&o).err == ERR_OK);
		free(text);
	}
	index_thread_done(p->c->index);
	return NULL;
}

static void *collector_main(void *arg)
{
	struct pusher *p = arg;

	while (!atomic_load(&stop)) {
		if (!cache_collect_step(p->c))
			usleep(1000);
	}
	index_thread_done(p->c->index);
	return NULL;
}

/* ---- all of them ---- */

/* Nothing is under way yet, so that its log may be replaced. */
static void listen_in(struct cache *c, struct model *m)
{
	m->journal = c->log;
	c->log = (struct index_log){log_append, log_cut, m};
}

static struct cache *open_model(struct model *m, uint64_t grace_ms)
{
	struct cache_options opt = {
	    .max_inline_bytes = 64 * 1024,
	    .max_open_blobs = 16,
	    .event = ignore_event,
	};
	struct why why = {""};
	struct cache *c = NULL;
	char *data;

	test_dir_make();
	data = test_path("data");
	opt.data = data;
	if (cache_open(&opt, &c, &why) != ERR_OK) {
		fprintf(stderr, "cache_open: %s\n", why.text);
		exit(1);
	}
	listen_in(c, m);
	cache_set_grace(c, grace_ms);
	free(data);
	return c;
}

static void run_all(struct pusher *pushers, struct pusher *others)
{
	pthread_t threads[PUSHERS + 2];

	atomic_store(&stop, false);
	for (unsigned i = 0; i < PUSHERS; i++)
		pthread_create(&threads[i], NULL, pusher_main, &pushers[i]);
	pthread_create(&threads[PUSHERS], NULL, mirror_main, &others[0]);
	pthread_create(&threads[PUSHERS + 1], NULL, collector_main, &others[1]);
	for (unsigned i = 0; i < PUSHERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	pthread_join(threads[PUSHERS], NULL);
	pthread_join(threads[PUSHERS + 1], NULL);
}

/* At the end everything is deleted, and nothing is left but the mirror's. */
static void delete_all(struct pusher *p)
{
	for (unsigned i = 0; i < IMAGES; i++) {
		struct digest dg = digest_of_image(i);

		delete_own(p, i);
		(void)remove_manifest(p->c, "shared", &dg);
	}
	for (unsigned b = 0; b < BLOBS; b++)
		delete_own_blob(p, b);
}

static void run_model(uint64_t grace_ms, unsigned seed)
{
	static struct model model;
	struct pusher pushers[PUSHERS], others[2];
	struct cache *c;

	memset(&model, 0, sizeof(model));
	memset(pushers, 0, sizeof(pushers));
	memset(others, 0, sizeof(others));
	c = open_model(&model, grace_ms);
	for (unsigned i = 0; i < PUSHERS; i++) {
		struct pusher *p = &pushers[i];

		p->c = c;
		p->seed = seed + i;
		p->grace_ms = grace_ms;
		snprintf(p->repo, sizeof(p->repo), "own%u", i);
		for (unsigned t = 0; t < TAGS; t++)
			p->tags[t] = -1;
	}
	others[0].c = others[1].c = c;
	others[0].seed = seed + PUSHERS;
	for (unsigned q = 0; q < QUIESCENCES; q++) {
		run_all(pushers, others);
		expect_sound(c);
		compare_all(c, &model);
		for (unsigned i = 0; i < PUSHERS; i++)
			look(&pushers[i]);
	}
	for (unsigned i = 0; i < PUSHERS; i++) {
		CHECK(pushers[i].pushed > 0);
		delete_all(&pushers[i]);
	}
	collect_all(c);
	expect_sound(c);
	compare_all(c, &model);
	CHECK(model.n_links == 0 && model.n_tags == 0);
	close_cache(&c);
}

static void threads_that_collect_at_once_lose_nothing(void)
{
	run_model(0, 1);
}

static void threads_that_are_given_grace_are_never_refused(void)
{
	run_model(500, 77);
}

int main(void)
{
	RUN(threads_that_collect_at_once_lose_nothing);
	RUN(threads_that_are_given_grace_are_never_refused);
	return unit_done();
}
