/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CHORES_H
#define PROXY_CHORES_H
/*
 * What nobody waits for: sessions that have expired, hosted content that has
 * lost its last owner, a journal that has grown long.  One piece a job in the
 * slow lane, so that other long work comes in between.
 *
 *   chores_new -> chores_tick* -> chores_free
 */
struct server;
struct chores;

struct chores *chores_new(struct server *s) __attribute__((warn_unused_result));
/* Begin a round if collect.interval has passed since the last one ended, and
 * none is under way.  Main thread. */
void chores_tick(struct chores *c);
/* After the workers have ended. */
void chores_free(struct chores **c);

#endif
