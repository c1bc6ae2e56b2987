/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/sink.h"

void body_free(struct body **b)
{
	if (!*b)
		return;
	(*b)->ops->free(*b);
	*b = NULL;
}

/* ---- memory ---- */

struct body_memory {
	struct body b;
	char *buf;
	size_t len, at;
};

static enum body_state memory_send(struct body *b, struct sink *s)
{
	struct body_memory *m = container_of(b, struct body_memory, b);

	m->at += sink_memory(s, m->buf + m->at, m->len - m->at, false);
	return m->at == m->len ? BODY_END : BODY_MORE;
}

static void memory_free(struct body *b)
{
	struct body_memory *m = container_of(b, struct body_memory, b);

	free(m->buf);
	free(m);
}

struct body *body_memory(void *buf, size_t len)
{
	static const struct body_ops ops = {memory_send, memory_free};
	struct body_memory *m = xcalloc(1, sizeof(*m));

	m->b.ops = &ops;
	m->buf = buf;
	m->len = len;
	return &m->b;
}

/* ---- one after the other ---- */

struct body_chain {
	struct body b;
	struct body **parts;
	size_t n, at;
};

static enum body_state chain_send(struct body *b, struct sink *s)
{
	struct body_chain *chain = container_of(b, struct body_chain, b);
	bool more_follows = s->more_follows;
	enum body_state state = BODY_END;

	while (chain->at < chain->n) {
		struct body *part = chain->parts[chain->at];

		part->conn = b->conn;
		s->more_follows = more_follows || chain->at + 1 < chain->n;
		state = part->ops->send(part, s);
		if (state != BODY_END)
			break;
		body_free(&chain->parts[chain->at++]);
	}
	s->more_follows = more_follows;
	return chain->at == chain->n ? BODY_END : state;
}

static void chain_free(struct body *b)
{
	struct body_chain *chain = container_of(b, struct body_chain, b);

	while (chain->at < chain->n)
		body_free(&chain->parts[chain->at++]);
	free(chain->parts);
	free(chain);
}

struct body *body_chain(struct body **parts, size_t n)
{
	static const struct body_ops ops = {chain_send, chain_free};
	struct body_chain *chain = xcalloc(1, sizeof(*chain));

	chain->b.ops = &ops;
	chain->parts = parts;
	chain->n = n;
	return &chain->b;
}
