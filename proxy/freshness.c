/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/freshness.h"

#define SLEW_MS 2000

uint64_t freshness_age_ms(uint64_t now_ms, uint64_t then_ms)
{
	if (then_ms > now_ms)
		return then_ms - now_ms <= SLEW_MS ? 0 : UINT64_MAX;
	return now_ms - then_ms;
}

/* "never" and "unlimited" are UINT64_MAX, which not even an age that nobody
 * knows passes. */
static bool is_past(uint64_t age_ms, uint64_t limit_ms)
{
	return age_ms >= limit_ms && limit_ms != UINT64_MAX;
}

static bool checked_lately(const struct freshness *f)
{
	return f->known &&
	       !is_past(freshness_age_ms(f->now_ms, f->row.checked_ms),
			f->check_ms);
}

static bool denied_lately(const struct freshness *f)
{
	return f->denied_ms &&
	       !is_past(freshness_age_ms(f->now_ms, f->denied_checked_ms),
			f->deny_check_ms);
}

/* Denied for longer than anything held may still be given out. */
static bool denied_for_good(const struct freshness *f)
{
	return f->denied_ms &&
	       is_past(freshness_age_ms(f->now_ms, f->denied_ms),
		       f->max_denied_ms);
}

static bool may_be_stale(const struct freshness *f)
{
	return f->held &&
	       !is_past(freshness_age_ms(f->now_ms, f->row.checked_ms),
			f->max_stale_ms);
}

static enum freshness_step stale(enum stale_reason why,
				 enum stale_reason *reason)
{
	*reason = why;
	return FRESHNESS_STALE;
}

/* A denial is dated: nobody is asked again before the check is due, and past
 * max_denied only a yes counts. */
static enum freshness_step while_denied(const struct freshness *f)
{
	return denied_lately(f) || f->offline ? FRESHNESS_DENIED
					      : FRESHNESS_ASK;
}

enum freshness_step freshness_decide(const struct freshness *f,
				     enum stale_reason *reason)
{
	bool gone = f->known && f->row.state == TAG_GONE;

	*reason = STALE_NOT;
	if (denied_for_good(f))
		return while_denied(f);
	if (gone && f->follow && checked_lately(f))
		return FRESHNESS_GONE;
	if (!f->held)
		return FRESHNESS_ASK;
	if (gone && (checked_lately(f) || f->offline))
		return stale(STALE_GONE, reason);
	if (f->offline || (checked_lately(f) && f->seen_held))
		return FRESHNESS_HIT;
	if (denied_lately(f))
		return stale(STALE_DENIED, reason);
	if (!may_be_stale(f))
		return FRESHNESS_ASK;
	return f->out ? stale(STALE_OUT, reason) : FRESHNESS_LATE;
}

/* With max_denied 0 the first denial is the last word. */
static bool may_outlive_denial(const struct freshness *f)
{
	if (f->denied_ms)
		return !denied_for_good(f);
	return f->max_denied_ms > 0;
}

enum freshness_step freshness_after(const struct freshness *f, enum err err,
				    enum stale_reason *reason)
{
	*reason = STALE_NOT;
	if (err == ERR_DENIED) {
		if (f->held && may_outlive_denial(f))
			return stale(STALE_DENIED, reason);
		return FRESHNESS_DENIED;
	}
	if (denied_for_good(f))
		return FRESHNESS_DENIED;
	if (err == ERR_NOT_FOUND) {
		if (f->held && !f->follow)
			return stale(STALE_GONE, reason);
		return FRESHNESS_GONE;
	}
	if (may_be_stale(f))
		return stale(STALE_FAILURE, reason);
	return FRESHNESS_FAIL;
}

enum freshness_step freshness_of_digest(const struct freshness *f)
{
	return denied_for_good(f) ? while_denied(f) : FRESHNESS_HIT;
}
