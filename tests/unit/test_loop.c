/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/loop.h"
#include "proxy/thread.h"
#include "tests/unit/unit.h"

#include <semaphore.h>
#include <unistd.h>

#define MAGIC 0x7465u

static sem_t done;

static void say_done(void *arg)
{
	(void)arg;
	sem_post(&done);
}

/* Run fn on the loop and wait for it. */
static void on_loop(struct loop *l, void (*fn)(void *arg), void *arg)
{
	loop_call(l, fn, arg);
	loop_call(l, say_done, NULL);
	sem_wait(&done);
}

struct letter {
	struct message msg;
	int sender, number;
};

static int last_number[4], letters, out_of_order;

static void letter_run(struct message *msg, void *object)
{
	struct letter *letter = container_of(msg, struct letter, msg);

	(void)object;
	if (letter->number != last_number[letter->sender] + 1)
		out_of_order++;
	last_number[letter->sender] = letter->number;
	if (++letters == 4 * 5000)
		sem_post(&done);
	free(letter);
}

struct sender {
	struct loop *loop;
	int id;
};

static void *send_letters(void *arg)
{
	struct sender *s = arg;

	for (int i = 1; i <= 5000; i++) {
		struct letter *letter = xcalloc(1, sizeof(*letter));

		letter->msg.run = letter_run;
		letter->sender = s->id;
		letter->number = i;
		loop_post(s->loop, &letter->msg);
	}
	return NULL;
}

static void letters_of_each_sender_stay_in_order(void)
{
	struct loop *l = loop_new("test");
	struct sender senders[4];
	pthread_t threads[4];

	loop_start(l);
	for (int i = 0; i < 4; i++) {
		senders[i] = (struct sender){l, i};
		threads[i] = thread_start("sender", send_letters, &senders[i]);
	}
	for (int i = 0; i < 4; i++)
		thread_join(threads[i]);
	sem_wait(&done);
	loop_stop(l);
	CHECK(letters == 4 * 5000);
	CHECK(out_of_order == 0);
	loop_free(&l);
	CHECK(l == NULL);
}

struct visit {
	struct message msg;
	void *saw;
	bool ran;
};

static void visit_run(struct message *msg, void *object)
{
	struct visit *v = container_of(msg, struct visit, msg);

	v->saw = object;
	v->ran = true;
}

static void letter_finds_its_object_or_null(void)
{
	struct loop *l = loop_new("test");
	int first = 1, second = 2;
	struct handle h = loop_register(l, &first, MAGIC), old = h, other;
	struct visit alive = {.msg = {.to = h, .magic = MAGIC}};
	struct visit gone = alive, nobody = {.msg = {.magic = 0}};

	alive.msg.run = gone.msg.run = nobody.msg.run = visit_run;
	CHECK(loop_lookup(l, h, MAGIC) == &first);
	loop_start(l);
	loop_post(l, &alive.msg);
	loop_post(l, &nobody.msg);
	on_loop(l, say_done, NULL);
	sem_wait(&done);
	loop_stop(l);
	CHECK(alive.saw == &first && nobody.ran && !nobody.saw);

	loop_unregister(l, &h);
	CHECK(h.generation == 0);
	/* The slot is used again; the old name does not mean the new one. */
	other = loop_register(l, &second, MAGIC);
	CHECK(other.slot == old.slot && other.generation != old.generation);
	CHECK(loop_lookup(l, old, MAGIC) == NULL);
	CHECK(loop_lookup(l, other, MAGIC) == &second);
	CHECK(loop_lookup(l, h, MAGIC) == NULL);
	loop_unregister(l, &other);
	loop_post(l, &gone.msg);
	loop_free(&l);
	CHECK(gone.ran && gone.saw == NULL);
}

static void handles_grow_past_the_first_table(void)
{
	enum { N = 1000 };
	static struct handle h[N];
	static int objects[N];
	struct loop *l = loop_new("test");
	int wrong = 0;

	for (int i = 0; i < N; i++)
		h[i] = loop_register(l, &objects[i], MAGIC);
	for (int i = 0; i < N; i++)
		wrong += loop_lookup(l, h[i], MAGIC) != &objects[i];
	CHECK(wrong == 0);
	for (int i = 0; i < N; i++)
		loop_unregister(l, &h[i]);
	loop_free(&l);
}

static char trace[64];
static struct loop *traced;

static void note(void *arg)
{
	const char *text = arg;

	strncat(trace, text, sizeof(trace) - strlen(trace) - 1);
}

static void defer_two(void *arg)
{
	static char one[] = "1", two[] = "2", here[] = "a";

	(void)arg;
	loop_assert(traced);
	CHECK(loop_current() == traced);
	loop_defer(traced, note, one);
	loop_defer(traced, note, two);
	note(here);
}

static void deferred_calls_come_after_callbacks(void)
{
	static char last[] = "b";

	traced = loop_new("test");
	trace[0] = '\0';
	/* Both letters are there before the first turn. */
	loop_call(traced, defer_two, NULL);
	loop_call(traced, note, last);
	loop_start(traced);
	on_loop(traced, say_done, NULL);
	sem_wait(&done);
	loop_stop(traced);
	CHECK_STR(trace, "ab12");
	loop_free(&traced);
}

static unsigned mails, deferrals;
static bool chatter_over, timer_was_heard;

static void chat_by_mail(void *arg)
{
	struct loop *l = arg;

	if (!chatter_over && ++mails < 1000000)
		loop_call(l, chat_by_mail, l);
}

static void chat_by_deferral(void *arg)
{
	struct loop *l = arg;

	if (!chatter_over && ++deferrals < 1000000)
		loop_defer(l, chat_by_deferral, l);
}

static void end_chatter(void *arg)
{
	(void)arg;
	timer_was_heard = mails < 1000000 && deferrals < 1000000;
	chatter_over = true;
	sem_post(&done);
}

struct timed {
	struct loop *l;
	struct timer t;
	uint64_t ms;
};

static void arm(void *arg)
{
	struct timed *timed = arg;

	timer_set(&timed->t, timed->ms);
	CHECK(timer_is_set(&timed->t));
}

static void mail_and_deferred_calls_leave_timers_their_turn(void)
{
	struct timed timed = {.l = loop_new("test"), .ms = 5};

	timer_init(&timed.t, timed.l, end_chatter, NULL);
	loop_call(timed.l, arm, &timed);
	loop_call(timed.l, chat_by_mail, timed.l);
	loop_call(timed.l, chat_by_deferral, timed.l);
	loop_start(timed.l);
	sem_wait(&done);
	loop_stop(timed.l);
	CHECK(timer_was_heard);
	CHECK(mails > 10 && deferrals > 10);
	timer_release(&timed.t);
	loop_free(&timed.l);
}

static void clear(void *arg)
{
	struct timed *timed = arg;

	timer_clear(&timed->t);
	CHECK(!timer_is_set(&timed->t));
}

static unsigned fired;

static void fire(void *arg)
{
	(void)arg;
	fired++;
	sem_post(&done);
}

static void timers_fire_once_and_can_be_set_again(void)
{
	struct timed timed = {.l = loop_new("test"), .ms = 20};
	uint64_t before = now_ms();

	timer_init(&timed.t, timed.l, fire, NULL);
	loop_start(timed.l);
	loop_call(timed.l, arm, &timed);
	sem_wait(&done);
	CHECK(now_ms() - before >= 15); /* the clock is a coarse one */
	loop_call(timed.l, arm, &timed);
	on_loop(timed.l, clear, &timed);
	usleep(60000);
	CHECK(fired == 1);
	timed.ms = 0;
	on_loop(timed.l, arm, &timed);
	sem_wait(&done);
	CHECK(fired == 2);
	loop_stop(timed.l);
	timer_release(&timed.t);
	CHECK(!timer_is_set(&timed.t));
	loop_free(&timed.l);
}

static void stopping_empties_the_mailbox_first(void)
{
	struct loop *l = loop_new("test");
	static char x[] = "x";

	trace[0] = '\0';
	loop_start(l);
	for (int i = 0; i < 10; i++)
		loop_call(l, note, x);
	loop_stop(l);
	CHECK_STR(trace, "xxxxxxxxxx");
	loop_call(l, note, x);
	loop_free(&l);
	CHECK_STR(trace, "xxxxxxxxxxx");
}

/* Somebody with bytes to move, so many at most in one go, in so many goes. */
struct mover {
	struct bulk bulk;
	char name;
	uint64_t at_most;
	unsigned goes;
	uint64_t given;       /* the most in one go */
	struct mover *cancel; /* what it does to another */
};

static uint64_t mover_run(struct bulk *b, uint64_t bytes)
{
	struct mover *m = container_of(b, struct mover, bulk);
	char name[] = {m->name, '\0'};

	note(name);
	if (--m->goes > 0)
		loop_bulk_queue(traced, b);
	if (m->cancel)
		loop_bulk_cancel(traced, &m->cancel->bulk);
	m->given = MAX(m->given, bytes);
	return MIN(bytes, m->at_most);
}

static struct mover mover(char name, uint64_t at_most, unsigned goes)
{
	return (struct mover){
	    .bulk = {.run = mover_run},
	    .name = name,
	    .at_most = at_most,
	    .goes = goes,
	};
}

/* A dash in the trace is a turn of the loop. */
static void mark(void *arg)
{
	static char dash[] = "-";
	unsigned *turns = arg;

	note(dash);
	if (--*turns > 0)
		loop_call(traced, mark, turns);
	else
		sem_post(&done);
}

static void queue(void *arg)
{
	struct mover *m = arg;

	loop_bulk_queue(traced, &m->bulk);
	loop_bulk_queue(traced, &m->bulk); /* no effect */
}

/* The movers as they stand, and so many turns of the loop. */
static void run_movers(struct mover *m, size_t n, unsigned turns)
{
	traced = loop_new("test");
	trace[0] = '\0';
	for (size_t i = 0; i < n; i++)
		loop_call(traced, queue, &m[i]);
	loop_call(traced, mark, &turns);
	loop_start(traced);
	sem_wait(&done);
	loop_stop(traced);
	loop_free(&traced);
}

static void bulk_work_is_shared_out_over_the_turns(void)
{
	/* Two that take all they get; between them one whose socket is
	 * small, and who comes after it has what it left. */
	struct mover m[] = {
	    mover('a', UINT64_MAX, 2),
	    mover('b', LOOP_BULK_BYTES / 4, 3),
	    mover('c', UINT64_MAX, 2),
	};

	run_movers(m, ARRAY_LEN(m), 6);
	CHECK_STR(trace, "-a-bc-a-bc-b-");
	CHECK(m[0].given == LOOP_BULK_BYTES);
	CHECK(m[2].given == LOOP_BULK_BYTES / 4 * 3);
}

static void nobody_gets_the_scraps_of_a_turn(void)
{
	struct mover m[] = {
	    mover('a', LOOP_BULK_BYTES - 1, 1),
	    mover('b', UINT64_MAX, 1),
	    mover('c', UINT64_MAX, 1),
	};

	run_movers(m, ARRAY_LEN(m), 3);
	CHECK_STR(trace, "-ab-c-");
	CHECK(m[1].given >= 64 * KIB && m[1].given < LOOP_BULK_BYTES);
}

static void who_can_move_nothing_runs_once_in_a_turn(void)
{
	struct mover m[] = {mover('a', 0, 3), mover('b', 1, 2)};

	run_movers(m, ARRAY_LEN(m), 4);
	CHECK_STR(trace, "-ab-ab-a-");
}

static void bulk_work_can_be_cancelled(void)
{
	struct mover m[] = {mover('a', 0, 2), mover('b', 0, 1),
			    mover('c', 0, 1)};

	m[0].cancel = &m[2];
	run_movers(m, ARRAY_LEN(m), 3);
	CHECK_STR(trace, "-ab-a-");
	/* One that ran cancels the rest of the queue, itself among them. */
	m[0] = mover('a', 0, 2);
	m[0].cancel = &m[0];
	run_movers(m, 1, 2);
	CHECK_STR(trace, "-a-");
}

int main(void)
{
	sem_init(&done, 0, 0);
	RUN(letters_of_each_sender_stay_in_order);
	RUN(letter_finds_its_object_or_null);
	RUN(handles_grow_past_the_first_table);
	RUN(deferred_calls_come_after_callbacks);
	RUN(mail_and_deferred_calls_leave_timers_their_turn);
	RUN(timers_fire_once_and_can_be_set_again);
	RUN(stopping_empties_the_mailbox_first);
	RUN(bulk_work_is_shared_out_over_the_turns);
	RUN(nobody_gets_the_scraps_of_a_turn);
	RUN(who_can_move_nothing_runs_once_in_a_turn);
	RUN(bulk_work_can_be_cancelled);
	return unit_done();
}
