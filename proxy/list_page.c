/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/list_page.h"

#include "proxy/reply.h"

/* ---- what is asked for ---- */

static bool refuse(struct request *r, const char *sentence)
{
	reply_error(r, 400, CODE_PAGINATION_NUMBER_INVALID, sentence, NULL);
	return false;
}

bool list_page_read(struct request *r, struct list_ask *out)
{
	struct span value;
	unsigned times = http_query_find(r->head->query, "n", &value);
	enum err err;

	memset(out, 0, sizeof(*out));
	if (times == 1) {
		err = span_uint(value, &out->n);
		if (err == ERR_TOO_BIG)
			out->n = LIST_PAGE_MAX;
		else if (err != ERR_OK)
			times = 2;
		out->has_n = true;
		out->n = MIN(out->n, (uint64_t)LIST_PAGE_MAX);
	}
	if (times > 1)
		return refuse(r, "the parameter n is not one number");
	times = http_query_find(r->head->query, "last", &value);
	out->has_last = times > 0;
	if (times && !request_query(r, "last", out->last, sizeof(out->last)))
		return refuse(r, "the parameter last is not one tag");
	return true;
}

/* ---- what is held ---- */

struct held {
	struct list_text text;
	uint64_t max;
	bool more;
	char first[TAG_MAX + 1], last[TAG_MAX + 1];
};

static bool add_tag(void *arg, const char *tag, size_t len,
		    const struct tag_row *row)
{
	struct held *h = arg;

	if (row->state == TAG_GONE || !tag_valid(tag, len))
		return true;
	h->more = h->text.n >= h->max;
	if (h->more || h->text.full)
		return false;
	snprintf(h->last, sizeof(h->last), "%.*s", (int)len, tag);
	if (!h->text.n)
		memcpy(h->first, h->last, sizeof(h->first));
	list_tags_add(&h->text, tag, len);
	return true;
}

enum err list_page_tags(struct index_txn *txn, uint64_t repo, const char *name,
			const struct list_ask *ask, struct list_page *out,
			char next[LIST_NEXT_MAX])
{
	struct held h = {.max = ask->has_n ? ask->n : LIST_PAGE_MAX};
	enum err err;

	memset(out, 0, sizeof(*out));
	next[0] = '\0';
	list_tags_begin(&h.text, name);
	err =
	    tag_walk(txn, repo, ask->has_last ? ask->last : NULL, add_tag, &h);
	list_tags_end(&h.text);
	if (err == ERR_OK && h.text.full)
		err = ERR_BUSY;
	if (err != ERR_OK) {
		list_text_release(&h.text);
		return err;
	}
	if (h.more && h.max)
		snprintf(next, LIST_NEXT_MAX, "n=%" PRIu64 "&last=%s", h.max,
			 h.last);
	memcpy(out->first, h.first, sizeof(h.first));
	out->text = h.text;
	return ERR_OK;
}

/* ---- the next page ---- */

void list_page_link(struct request *r, const char *next)
{
	const struct span path = r->head->path;
	char ns[3 * sizeof(r->ns)];
	bool has_ns = r->ns[0] && list_escape(r->ns, ns, sizeof(ns));

	reply_header(r, "Link", "<%.*s?%s%s%s>; rel=\"next\"", (int)path.len,
		     path.ptr, next, has_ns ? "&ns=" : "", has_ns ? ns : "");
}

/* ---- by a worker, and to the client ---- */

void list_page_submit(const struct request *r, struct job *job)
{
	job->lane = JOB_DATA;
	request_submit_on(r, r->server->lists, job);
}

struct body_list {
	struct body b;
	struct list_text text;
	size_t at;
};

static enum body_state body_list_send(struct body *b, struct sink *s)
{
	struct body_list *l = container_of(b, struct body_list, b);

	l->at +=
	    sink_memory(s, l->text.text + l->at, l->text.len - l->at, false);
	return l->at == l->text.len ? BODY_END : BODY_MORE;
}

static void body_list_free(struct body *b)
{
	struct body_list *l = container_of(b, struct body_list, b);

	list_text_release(&l->text);
	free(l);
}

void list_page_send(struct request *r, struct list_text *text)
{
	static const struct body_ops ops = {body_list_send, body_list_free};
	struct body_list *l = xcalloc(1, sizeof(*l));

	l->b.ops = &ops;
	l->text = *text;
	memset(text, 0, sizeof(*text));
	reply_send(r, l->text.len, &l->b);
}

void list_page_failed(struct request *r, enum err err)
{
	bool busy = err == ERR_BUSY;
	struct why why;

	(void)why_set(&why, err, busy ? LIST_BUSY : "the index cannot be read");
	reply_err(r, err, CODE_NAME_UNKNOWN, busy, &why);
}
