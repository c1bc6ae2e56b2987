/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_chunked.h"

/*
 *   SIZE -> [EXT] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                          \-> LINE -> NAME -> VALUE -> VALUE_LF -> LINE ...
 *                                 \-> END_LF -> OVER
 */
enum state {
	SIZE,    /* hexadecimal digits */
	EXT,     /* after ';' up to CR */
	SIZE_LF, /* CR seen */
	DATA,    /* left > 0 */
	DATA_CR, /* the chunk is complete */
	DATA_LF,
	LINE,  /* at the start of a trailer line, or of the last line */
	NAME,  /* of a trailer field, at least one byte seen */
	VALUE, /* of a trailer field */
	VALUE_LF,
	END_LF, /* the CR of the last line seen */
	OVER,
	BROKEN,
};

void http_chunked_init(struct http_chunked *c)
{
	*c = (struct http_chunked){.state = SIZE};
}

static bool refuse(struct http_chunked *c, struct http_refusal *refusal,
		   const char *text)
{
	c->state = BROKEN;
	*refusal = (struct http_refusal){400, text};
	return false;
}

/* What may stand in an extension or a trailer's value. */
static bool is_text(char c)
{
	unsigned char u = (unsigned char)c;

	return u == '\t' || (u >= 0x20 && u != 0x7f);
}

static bool take_digit(struct http_chunked *c, int value,
		       struct http_refusal *refusal)
{
	/* Sixteen digits cannot overflow; more would be leading zeros. */
	if (c->digits == 16)
		return refuse(c, refusal, "a chunk size is too long");
	c->digits++;
	c->left = c->left << 4 | (uint64_t)value;
	return true;
}

static bool take_size(struct http_chunked *c, char byte,
		      struct http_refusal *refusal)
{
	int value = http_hex_value(byte);

	if (value >= 0)
		return take_digit(c, value, refusal);
	if (c->digits && byte == ';')
		c->state = EXT;
	else if (c->digits && byte == '\r')
		c->state = SIZE_LF;
	else
		return refuse(c, refusal, "a chunk size is not hexadecimal");
	return true;
}

static bool take_extension(struct http_chunked *c, char byte,
			   struct http_refusal *refusal)
{
	if (byte == '\r') {
		c->state = SIZE_LF;
		return true;
	}
	if (!is_text(byte))
		return refuse(c, refusal,
			      "a chunk extension holds a control byte");
	if (++c->ext_bytes > HTTP_CHUNK_EXT_MAX ||
	    ++c->ext_total > HTTP_CHUNK_EXT_TOTAL)
		return refuse(c, refusal, "chunk extensions are too long");
	return true;
}

static bool begin_chunk(struct http_chunked *c, struct http_refusal *refusal)
{
	if (!size_add(c->announced, c->left, &c->announced) ||
	    c->announced > INT64_MAX)
		return refuse(c, refusal, "the chunks are too big");
	c->state = c->left ? DATA : LINE;
	c->digits = 0;
	c->ext_bytes = 0;
	return true;
}

/* `byte` must be `want`; then go on in `next`. */
static bool expect(struct http_chunked *c, char byte, char want,
		   enum state next, struct http_refusal *refusal)
{
	if (byte != want)
		return refuse(c, refusal, "a CRLF is missing in the chunks");
	c->state = next;
	return true;
}

static bool take_trailer(struct http_chunked *c, char byte,
			 struct http_refusal *refusal)
{
	bool token = http_is_token((struct span){&byte, 1});

	if (++c->trailer_bytes > HTTP_TRAILER_MAX)
		return refuse(c, refusal, "the trailer is too long");
	if (c->state == LINE && byte == '\r')
		c->state = END_LF;
	else if (c->state == LINE && token)
		c->state = NAME;
	else if (c->state == NAME && byte == ':')
		c->state = VALUE;
	else if (c->state == VALUE && byte == '\r')
		c->state = VALUE_LF;
	else if (!(c->state == NAME && token) &&
		 !(c->state == VALUE && is_text(byte)))
		return refuse(c, refusal, "a trailer line is malformed");
	return true;
}

/* Every byte that is not payload. */
static bool take_byte(struct http_chunked *c, char byte,
		      struct http_refusal *refusal)
{
	switch ((enum state)c->state) {
	case SIZE:
		return take_size(c, byte, refusal);
	case EXT:
		return take_extension(c, byte, refusal);
	case SIZE_LF:
		return expect(c, byte, '\n', DATA, refusal) &&
		       begin_chunk(c, refusal);
	case DATA_CR:
		return expect(c, byte, '\r', DATA_LF, refusal);
	case DATA_LF:
		return expect(c, byte, '\n', SIZE, refusal);
	case LINE:
	case NAME:
	case VALUE:
		return take_trailer(c, byte, refusal);
	case VALUE_LF:
		return expect(c, byte, '\n', LINE, refusal);
	case END_LF:
		return expect(c, byte, '\n', OVER, refusal);
	case DATA:
	case OVER:
	case BROKEN:
		break;
	}
	assert(!"a state that takes no single byte");
	return false;
}

static void take_data(struct http_chunked *c, const char *buf, size_t len,
		      struct span *data)
{
	*data = (struct span){buf, (size_t)MIN(c->left, (uint64_t)len)};
	c->left -= data->len;
	c->total += data->len;
	if (!c->left)
		c->state = DATA_CR;
}

enum http_progress http_chunked_feed(struct http_chunked *c, const char *buf,
				     size_t len, size_t *used,
				     struct span *data,
				     struct http_refusal *refusal)
{
	size_t n = 0;

	assert(c->state != OVER && c->state != BROKEN);
	*data = (struct span){buf, 0};
	*used = 0;
	while (n < len && c->state != OVER && !data->len) {
		if (c->state == DATA) {
			take_data(c, buf + n, len - n, data);
			n += data->len;
		} else if (!take_byte(c, buf[n++], refusal)) {
			return HTTP_REFUSED;
		}
	}
	*used = n;
	return c->state == OVER ? HTTP_DONE : HTTP_MORE;
}

uint64_t http_chunked_left(const struct http_chunked *c)
{
	return c->state == DATA ? c->left : 0;
}
