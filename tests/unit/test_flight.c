/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flights as their clients see them, and what they ask of an upstream: over
 * the real cache, loops, workers, flows and bodies (flight_help.h).
 */
#include "cache/partial_int.h"
#include "tests/unit/flight_help.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIZE (3 * MIB)

/* ---- joining ---- */

static void one_client_gets_the_blob_and_it_is_stored(void)
{
	struct client c = client_make(whole);

	set_up(SIZE);
	client_go(&c);
	CHECK_WHOLE(&c);
	CHECK(!c.joined);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(count_calls(false) == 1 && count_calls(true) == 0);
	CHECK(!transfer_note(0).ranged);
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void second_reader_joins_running_fetch(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = MIB});
	client_go(&a);
	WAIT_UNTIL(a.got == MIB);
	client_go(&b);
	WAIT_UNTIL(b.got == MIB);
	CHECK(b.joined);
	clear_fault(stall);
	CHECK_WHOLE(&a);
	CHECK_WHOLE(&b);
	CHECK(all_landed());
	CHECK(count_calls(false) == 1 && count_calls(true) == 0);
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void thirty_two_at_once_are_one_fetch(void)
{
	struct client c[32];

	set_up(SIZE);
	for (unsigned i = 0; i < 32; i++) {
		c[i] = client_make(whole);
		client_go(&c[i]);
	}
	for (unsigned i = 0; i < 32; i++)
		wait_end(&c[i]);
	for (unsigned i = 0; i < 32; i++)
		/* The last may come when it is stored already. */
		CHECK((c[i].state == C_WHOLE && !c[i].wrong &&
		       c[i].got == SIZE) ||
		      (c[i].state == C_REFUSED && c[i].err == ERR_EXISTS));
	CHECK(all_landed());
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void who_comes_when_it_is_stored_is_told_so(void)
{
	struct client a = client_make(whole), b = client_make(whole);

	set_up(SIZE);
	client_go(&a);
	CHECK_WHOLE(&a);
	CHECK(all_landed());
	client_go(&b);
	wait_end(&b);
	CHECK(b.state == C_REFUSED && b.err == ERR_EXISTS);
	CHECK(count_calls(false) == 1);
	tear_down();
}

static void empty_and_tiny_blobs_are_served(void)
{
	static const uint64_t sizes[] = {0, 1, 64 * KB - 1, 64 * KB,
					 64 * KB + 1};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct client c = client_make(whole);

		set_up(sizes[i]);
		client_go(&c);
		CHECK_WHOLE(&c);
		CHECK(c.got == sizes[i] && c.size == sizes[i]);
		CHECK(all_landed());
		CHECK(is_stored());
		tear_down();
	}
}

/* ---- ranges ---- */

static void far_range_gets_its_own_transfer(void)
{
	struct client a = client_make(whole);
	struct client far = client_make(bounded(2 * MIB, 2 * MIB + 99));
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = 128 * KB, .times = 1});
	client_go(&a);
	WAIT_UNTIL(a.got == 128 * KB);
	client_go(&far);
	CHECK_WHOLE(&far);
	CHECK(transfer_note(1).first == 2 * MIB);
	CHECK(transfer_note(1).last == 2 * MIB + 99);
	clear_fault(stall);
	CHECK_WHOLE(&a);
	CHECK(all_landed());
	CHECK(is_stored());
	/* Stopped at the far one, then from behind it to the end. */
	CHECK(transfer_note(2).first == 2 * MIB + 100);
	CHECK(bytes_fetched() <= SIZE + PIECE);
	tear_down();
}

static void near_range_waits_for_the_fill(void)
{
	struct client a = client_make(whole);
	struct client near = client_make(bounded(300 * KB, 300 * KB + 9));
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = 128 * KB, .times = 1});
	client_go(&a);
	WAIT_UNTIL(a.got == 128 * KB);
	client_go(&near);
	WAIT_UNTIL(near.state == C_READS);
	usleep(20000);
	CHECK(count_calls(false) == 1);
	clear_fault(stall);
	CHECK_WHOLE(&near);
	CHECK_WHOLE(&a);
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void bounded_range_fetches_only_itself(void)
{
	struct client c = client_make(bounded(MIB, MIB + 1000));

	set_up(SIZE);
	client_go(&c);
	CHECK_WHOLE(&c);
	CHECK(all_landed());
	CHECK(!is_stored());
	CHECK(count_calls(false) == 1 && count_calls(true) == 0);
	CHECK(bytes_fetched() == 1001);
	tear_down();
}

static void suffix_asks_for_the_size_first(void)
{
	struct client c = client_make(suffix(47));

	set_up(SIZE);
	client_go(&c);
	CHECK_WHOLE(&c);
	CHECK(c.want == 47);
	CHECK(all_landed());
	CHECK(count_calls(true) == 1 && count_calls(false) == 1);
	CHECK(bytes_fetched() == 47);
	tear_down();
}

static void open_range_begins_where_it_is_asked_to(void)
{
	struct client c = client_make(open_from(2 * MIB));

	set_up(SIZE);
	client_go(&c);
	CHECK_WHOLE(&c);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(transfer_note(0).first == 2 * MIB);
	CHECK(transfer_note(1).first == 0);
	CHECK(transfer_note(1).last == 2 * MIB - 1);
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void range_past_the_end_fetches_nothing(void)
{
	struct client c = client_make(open_from(SIZE));
	struct client d = client_make(bounded(SIZE + 5, SIZE + 9));

	set_up(SIZE);
	client_go(&c);
	wait_end(&c);
	CHECK(c.state == C_WHOLE && c.want == 0 && c.size == SIZE);
	CHECK(all_landed());
	client_go(&d);
	wait_end(&d);
	CHECK(d.state == C_WHOLE && d.want == 0 && d.size == SIZE);
	CHECK(all_landed());
	CHECK(bytes_fetched() == 0);
	tear_down();
}

static void ranges_that_add_up_are_stored(void)
{
	static const uint64_t parts[] = {2, 0, 1};

	set_up(SIZE);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = parts[i] * MIB;
		struct client c = client_make(bounded(at, at + MIB - 1));

		client_go(&c);
		CHECK_WHOLE(&c);
		CHECK(all_landed());
	}
	CHECK(is_stored());
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void at_most_four_transfers(void)
{
	struct client a = client_make(whole), far[8];

	set_up(8 * MIB);
	fault((struct fault){.slow_ms = 1});
	client_go(&a);
	WAIT_UNTIL(a.got > 0);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t at = (8 - i) * 900 * KB;

		far[i] = client_make(bounded(at, at + 200 * KB));
		client_go(&far[i]);
	}
	for (unsigned i = 0; i < 8; i++)
		CHECK_WHOLE(&far[i]);
	CHECK_WHOLE(&a);
	CHECK(world.most_running <= 4);
	CHECK(world.most_running >= 3);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(bytes_fetched() <= 8 * MIB + 16 * PIECE);
	tear_down();
}

static void gap_transfers_alone_leave_a_place_for_the_fill(void)
{
	struct client a = client_make(whole), far[6];
	unsigned stall;

	set_up(8 * MIB);
	stall =
	    fault((struct fault){.stall_after = 16 * KB, .transfers = true});
	for (unsigned i = 0; i < 6; i++) {
		far[i] = client_make(
		    bounded((i + 1) * MIB, (i + 1) * MIB + 100 * KB));
		client_go(&far[i]);
	}
	WAIT_UNTIL(world.running == 3);
	usleep(10000);
	CHECK(world.most_running == 3);
	client_go(&a);
	WAIT_UNTIL(world.running == 4);
	clear_fault(stall);
	for (unsigned i = 0; i < 6; i++)
		CHECK_WHOLE(&far[i]);
	CHECK_WHOLE(&a);
	CHECK(world.most_running == 4);
	tear_down();
}

static void upstream_without_ranges_gives_right_bytes(void)
{
	struct client c = client_make(bounded(2 * MIB, 2 * MIB + 99));
	struct client d = client_make(suffix(99));
	struct client e = client_make(whole);

	set_up(SIZE);
	fault((struct fault){.ignore_range = true});
	client_go(&c);
	CHECK_WHOLE(&c);
	client_go(&d);
	CHECK_WHOLE(&d);
	CHECK(count_calls(false) == 2);
	client_go(&e);
	CHECK_WHOLE(&e);
	CHECK(all_landed());
	CHECK(is_stored());
	tear_down();
}

/* ---- sizes ---- */

static void upstream_that_tells_no_length_is_counted(void)
{
	struct client c = client_make(whole), d = client_make(suffix(10));

	set_up(SIZE);
	fault((struct fault){.no_length = true});
	client_go(&d);
	CHECK_WHOLE(&d);
	CHECK(all_landed());
	CHECK(is_stored());
	tear_down();

	set_up(SIZE);
	fault((struct fault){.no_length = true});
	c.hint = SIZE; /* by a manifest: no need to wait for the end */
	fault((struct fault){.stall_after = MIB});
	world.faults[0].stall_after = MIB;
	client_go(&c);
	WAIT_UNTIL(c.got == MIB);
	clear_fault(0);
	CHECK_WHOLE(&c);
	tear_down();
}

static void manifest_that_declares_less_holds_back_more(void)
{
	struct client c = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	c.hint = SIZE - 100;
	stall = fault((struct fault){.stall_after = SIZE - 1});
	client_go(&c);
	WAIT_UNTIL(c.got == SIZE - 100 - 64 * KB);
	usleep(10000);
	CHECK(c.got == SIZE - 100 - 64 * KB);
	clear_fault(stall);
	CHECK_WHOLE(&c); /* the digest is right all the same */
	tear_down();
}

static void size_kept_from_before_is_not_believed_for_ever(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned lie;

	set_up(SIZE);
	fault((struct fault){
	    .told_size = SIZE + 7, .break_after = MIB, .times = 1});
	lie = fault((struct fault){.err = ERR_UNAVAILABLE});
	client_go(&a);
	wait_end(&a);
	CHECK(a.state == C_CUT && !a.wrong);
	CHECK(all_landed());
	clear_fault(lie);
	client_go(&b);
	CHECK_WHOLE(&b);
	CHECK(all_landed());
	CHECK(is_stored());
	tear_down();
}

/* ---- proof ---- */

static void last_64k_wait_for_the_digest(void)
{
	struct client a = client_make(whole), b = client_make(open_from(MIB));
	struct client part = client_make(bounded(SIZE - 100, SIZE - 50));
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = SIZE - 1, .times = 1});
	client_go(&a);
	WAIT_UNTIL(a.got == SIZE - 64 * KB);
	client_go(&b);
	WAIT_UNTIL(b.got == SIZE - MIB - 64 * KB);
	client_go(&part); /* bounded ones are relayed unverified */
	CHECK_WHOLE(&part);
	usleep(10000);
	CHECK(a.got == SIZE - 64 * KB && b.got == SIZE - MIB - 64 * KB);
	clear_fault(stall);
	CHECK_WHOLE(&a);
	CHECK_WHOLE(&b);
	tear_down();
}

static void mismatch_cuts_who_had_bytes_and_tries_once_more(void)
{
	struct client had = client_make(whole);
	struct client had_part = client_make(bounded(5, 50));
	struct client late = client_make(whole);
	struct client stays = client_make(bounded(9, 99));
	unsigned again;

	set_up(SIZE);
	fault((struct fault){.flip_at = 7, .times = 1});
	again = fault((struct fault){.stall_after = 128 * KB, .times = 1});
	had_part.limit = 10; /* and reads no further for now */
	client_go(&had);
	client_go(&had_part);
	WAIT_UNTIL(had.state >= C_WHOLE);
	CHECK(had.state == C_CUT);
	CHECK(had.got <= SIZE - 64 * KB);
	WAIT_UNTIL(world.n_notes > 1 && world.notes[1].sent >= 128 * KB);
	client_go(&late);
	client_go(&stays);
	usleep(20000);
	CHECK(late.got == 0 && stays.got == 0); /* not before the proof */
	clear_fault(again);
	CHECK_WHOLE(&late);
	CHECK_WHOLE(&stays);
	client_read_on(&had_part);
	wait_end(&had_part);
	CHECK(had_part.state != C_WHOLE || !had_part.wrong);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(count_calls(false) == 2);
	tear_down();
}

static void second_mismatch_holds_the_digest(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned bad;

	set_up(SIZE);
	/* Whose linger is long: the fresh try is to come to its end. */
	snprintf(a.upstream, sizeof(a.upstream), "other.test");
	snprintf(b.upstream, sizeof(b.upstream), "other.test");
	bad = fault((struct fault){.flip_at = 7});
	client_go(&a);
	wait_end(&a);
	CHECK(a.state == C_CUT);
	CHECK(all_landed());
	CHECK(count_calls(false) == 2);
	clear_fault(bad);
	client_go(&b);
	wait_end(&b);
	CHECK(b.state == C_REFUSED && b.err == ERR_MISMATCH);
	CHECK(count_calls(false) == 2);
	CHECK(!is_stored());
	/* A worker throws it away, when the last reader has left. */
	WAIT_UNTIL(!partial_exists(server.cache, &world.dg, "other.test"));
	tear_down();
}

/* ---- breaks ---- */

static void break_resumes_by_range(void)
{
	struct client c = client_make(whole);

	set_up(SIZE);
	fault((struct fault){.break_after = MIB + 7, .times = 1});
	client_go(&c);
	CHECK_WHOLE(&c);
	CHECK(count_calls(false) == 2);
	CHECK(transfer_note(1).first == MIB + 7);
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void many_breaks_with_progress_are_no_failure(void)
{
	struct client c = client_make(whole);

	set_up(SIZE);
	fault((struct fault){.break_after = 200 * KB, .times = 12});
	client_go(&c);
	CHECK_WHOLE(&c);
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void tries_without_progress_end(void)
{
	struct client c = client_make(whole), again = client_make(whole);
	unsigned down;

	set_up(SIZE);
	fault((struct fault){.break_after = MIB, .times = 1});
	down = fault((struct fault){.err = ERR_UNAVAILABLE});
	client_go(&c);
	wait_end(&c);
	CHECK(c.state == C_CUT && !c.wrong && c.got <= MIB);
	CHECK(all_landed());
	CHECK(count_calls(false) == 1 + 3); /* retries: 3 */
	clear_fault(down);
	client_go(&again);
	CHECK_WHOLE(&again);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void break_before_the_first_byte_is_an_error_not_a_cut(void)
{
	struct client c = client_make(whole);

	set_up(SIZE);
	fault((struct fault){.break_at_once = true});
	client_go(&c);
	wait_end(&c);
	CHECK(c.state == C_REFUSED && c.err == ERR_UNAVAILABLE);
	CHECK(all_landed());
	tear_down();
}

static void reader_at_a_gap_outlives_its_transfer(void)
{
	struct client a = client_make(whole);
	struct client far = client_make(bounded(2 * MIB, 2 * MIB + 300 * KB));
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = 128 * KB, .times = 1});
	fault((struct fault){.from = MIB, .break_after = 20 * KB, .times = 2});
	client_go(&a);
	WAIT_UNTIL(a.got == 128 * KB);
	client_go(&far);
	CHECK_WHOLE(&far);
	clear_fault(stall);
	CHECK_WHOLE(&a);
	CHECK(bytes_fetched() <= SIZE + PIECE);
	tear_down();
}

static void retry_after_that_is_too_long_is_handed_on(void)
{
	struct client c = client_make(whole);

	set_up(SIZE);
	fault((struct fault){.status = 429, .retry_after_s = 3600});
	client_go(&c);
	wait_end(&c);
	CHECK(c.state == C_REFUSED && c.err == ERR_LIMITED);
	CHECK(count_calls(false) == 1);
	tear_down();
}

/* ---- repositories ---- */

static void other_repository_needs_its_own_yes(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	struct client no = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	snprintf(b.repo, sizeof(b.repo), "library/b");
	snprintf(no.repo, sizeof(no.repo), "library/no");
	fault((struct fault){.repo = "library/no", .status = 404});
	stall = fault((struct fault){.stall_after = MIB, .transfers = true});
	client_go(&a);
	WAIT_UNTIL(a.got == MIB);
	client_go(&no);
	wait_end(&no);
	CHECK(no.state == C_REFUSED && no.err == ERR_NOT_FOUND);
	client_go(&b);
	WAIT_UNTIL(b.got == MIB);
	clear_fault(stall);
	CHECK_WHOLE(&a);
	CHECK_WHOLE(&b);
	CHECK(count_calls(false) == 1 && count_calls(true) == 2);
	tear_down();
}

static void refused_repository_does_not_end_the_others(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned slow;

	set_up(SIZE);
	snprintf(b.repo, sizeof(b.repo), "library/b");
	/* Under a's token it begins, is broken off, and is refused then. */
	slow = fault((struct fault){
	    .repo = REPO, .break_after = MIB, .slow_ms = 1, .times = 1});
	(void)slow;
	fault((struct fault){.repo = REPO, .status = 403, .transfers = true});
	client_go(&a);
	WAIT_UNTIL(a.got > 0);
	client_go(&b);
	wait_end(&a);
	CHECK(a.state == C_CUT && !a.wrong);
	CHECK_WHOLE(&b);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

static void refusal_of_the_first_leaves_the_second(void)
{
	struct client a = client_make(whole), b = client_make(whole);

	set_up(SIZE);
	snprintf(a.repo, sizeof(a.repo), "library/no");
	fault((struct fault){.repo = "library/no", .status = 404});
	client_go(&a);
	client_go(&b);
	wait_end(&a);
	CHECK(a.state == C_REFUSED && a.err == ERR_NOT_FOUND &&
	      a.status == 404);
	CHECK_WHOLE(&b);
	tear_down();
}

static void redirect_targets_403_is_no_refusal(void)
{
	struct client c = client_make(whole);

	set_up(SIZE);
	fault((struct fault){.status = 403, .cdn = true, .times = 1});
	client_go(&c);
	CHECK_WHOLE(&c);
	CHECK(count_calls(false) == 2);
	tear_down();
}

/* ---- leaving ---- */

static void readers_gone_fill_goes_on(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = 2 * MIB});
	client_go(&a);
	client_go(&b);
	WAIT_UNTIL(a.got == 2 * MIB && b.got == 2 * MIB);
	client_leave(&a);
	client_leave(&b);
	wait_end(&a);
	wait_end(&b);
	usleep(80000); /* past the linger */
	clear_fault(stall);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(count_calls(false) == 1);
	tear_down();
}

static void linger_ends_a_small_fill(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = MIB, .times = 1});
	client_go(&a);
	WAIT_UNTIL(a.got == MIB);
	client_leave(&a);
	CHECK(all_landed());
	CHECK(!is_stored());
	CHECK(partial_exists(server.cache, &world.dg, UP));
	clear_fault(stall);
	client_go(&b);
	CHECK_WHOLE(&b);
	CHECK(bytes_fetched() == SIZE);
	CHECK(transfer_note(1).first == MIB);
	tear_down();
}

static void return_within_linger_keeps_the_fetch(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = MIB});
	client_go(&a);
	WAIT_UNTIL(a.got == MIB);
	client_leave(&a);
	client_go(&b);
	WAIT_UNTIL(b.got == MIB);
	usleep(80000);
	clear_fault(stall);
	CHECK_WHOLE(&b);
	CHECK(count_calls(false) == 1);
	tear_down();
}

static void slow_reader_holds_nobody_up(void)
{
	struct client slow = client_make(whole), fast = client_make(whole);

	set_up(SIZE);
	slow.limit = 100;
	client_go(&slow);
	client_go(&fast);
	CHECK_WHOLE(&fast);
	CHECK(all_landed());
	CHECK(is_stored());
	client_read_on(&slow); /* from the file that has been published */
	CHECK_WHOLE(&slow);
	tear_down();
}

/* ---- the disk ---- */

static void restart_serves_held_bytes(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall, hold;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = 2 * MIB});
	client_go(&a);
	WAIT_UNTIL(a.got == 2 * MIB);
	client_leave(&a);
	reopen(0);
	clear_fault(stall);
	hold = fault((struct fault){.err = ERR_TIMEOUT, .times = 2});
	b.allowed = true; /* a's yes was recorded */
	client_go(&b);
	WAIT_UNTIL(b.got >= 2 * MIB);
	CHECK_WHOLE(&b);
	CHECK(world.faults[hold].met == 2);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

/* Killed between the link and the record: the file has two names. */
static void leave_complete_file(void)
{
	char staged[PATH_LEN_MAX], named[PATH_LEN_MAX];
	size_t done;
	int fd = store_open(server.cache, staged_path(&world.dg, UP, staged),
			    O_WRONLY | O_CREAT);

	CHECK(store_pwrite(fd, world.blob, SIZE, 0, &done) == 0);
	close(fd);
	CHECK(linkat(server.cache->data_fd, staged, server.cache->data_fd,
		     blob_path(&world.dg, named), 0) == 0);
}

static void complete_file_is_served_and_no_byte_fetched(void)
{
	struct client a = client_make(whole),
		      far = client_make(bounded(SIZE - 100, SIZE - 1));

	set_up(SIZE);
	leave_complete_file();
	reopen(0);
	a.allowed = true;
	client_go(&a);
	client_go(&far);
	CHECK_WHOLE(&a);
	wait_end(&far);
	CHECK(far.state == C_WHOLE ? !far.wrong : far.err == ERR_EXISTS);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(bytes_fetched() == 0);
	while (cache_recover_step(server.cache))
		;
	CHECK(is_stored());
	tear_down();
}

static void whole_partial_needs_a_yes_and_no_byte(void)
{
	struct client a = client_make(bounded(0, SIZE - 2)),
		      b = client_make(whole);

	set_up(SIZE);
	client_go(&a);
	CHECK_WHOLE(&a);
	CHECK(all_landed());
	snprintf(b.repo, sizeof(b.repo), "library/b");
	client_go(&b);
	wait_end(&b);
	CHECK(b.state == C_WHOLE ? !b.wrong : b.err == ERR_EXISTS);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(bytes_fetched() == SIZE);
	tear_down();
}

/* Whoever writes has to wait for us, as for a disk that hangs. */
static void slow_disk_holds_the_upstream_back(void)
{
	const uint64_t most = 2 * MIB; /* cache.memory.fill */
	struct client a = client_make(whole);
	struct partial *p;
	struct why why;

	set_up(8 * MIB);
	CHECK(partial_open(server.cache, &world.dg, UP, &p, &why) == ERR_OK);
	partial_begin(p);
	client_go(&a);
	WAIT_UNTIL(world.notes[0].sent >= most / 2);
	usleep(100 * 1000);
	CHECK(transfer_note(0).sent <= most);
	CHECK(a.got == 0);
	partial_end(p);
	CHECK_WHOLE(&a);
	CHECK(all_landed());
	partial_close(&p);
	CHECK(is_stored());
	tear_down();
}

static void no_room_passes_through(void)
{
	struct client a = client_make(whole), b = client_make(suffix(1000));
	struct client n = client_make(open_from(MIB));

	set_up(SIZE);
	reopen(INT64_MAX);
	client_go(&a);
	client_go(&b);
	client_go(&n);
	CHECK_WHOLE(&a);
	CHECK_WHOLE(&b);
	CHECK_WHOLE(&n);
	CHECK(!is_stored());
	CHECK(!partial_exists(server.cache, &world.dg, UP));
	tear_down();
}

static void passed_through_bytes_are_verified(void)
{
	struct client a = client_make(whole);

	set_up(SIZE);
	reopen(INT64_MAX);
	fault((struct fault){.flip_at = 9});
	client_go(&a);
	wait_end(&a);
	CHECK(a.state == C_CUT && a.got <= SIZE - 64 * KB);
	tear_down();
}

static void pass_through_survives_breaks_and_missing_ranges(void)
{
	struct client a = client_make(whole), b = client_make(open_from(MIB));

	set_up(SIZE);
	reopen(INT64_MAX);
	fault((struct fault){.break_after = MIB, .times = 2});
	fault((struct fault){.ignore_range = true});
	client_go(&a);
	CHECK_WHOLE(&a);
	client_go(&b);
	CHECK_WHOLE(&b);
	tear_down();
}

static void limit_file_size(rlim_t bytes)
{
	struct rlimit lim;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &lim);
	lim.rlim_cur = MIN(bytes, lim.rlim_max);
	setrlimit(RLIMIT_FSIZE, &lim);
}

static void spill_tells_readers(void)
{
	struct client c[3], slow = client_make(whole);
	struct client part = client_make(bounded(100 * KB, 2 * MIB));

	set_up(SIZE);
	for (unsigned i = 0; i < 3; i++) {
		c[i] = client_make(whole);
		client_go(&c[i]);
	}
	slow.limit = 100;
	limit_file_size(MIB);
	client_go(&slow);
	client_go(&part);
	for (unsigned i = 0; i < 3; i++)
		CHECK_WHOLE(&c[i]);
	CHECK_WHOLE(&part);
	CHECK(all_landed());
	client_read_on(&slow);
	CHECK_WHOLE(&slow);
	limit_file_size(RLIM_INFINITY);
	CHECK(!is_stored());
	CHECK(!partial_exists(server.cache, &world.dg, UP));
	tear_down();
}

static void spill_after_a_resume_still_verifies_each_byte(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall;

	/* What is held from before is wrong; then the disk gives up. */
	set_up(SIZE);
	stall =
	    fault((struct fault){.stall_after = MIB, .flip_at = 5, .times = 1});
	client_go(&a);
	WAIT_UNTIL(a.got == MIB);
	client_leave(&a);
	reopen(0);
	clear_fault(stall);
	limit_file_size(MIB + 128 * KB);
	client_go(&b);
	wait_end(&b);
	CHECK(b.state == C_CUT);
	limit_file_size(RLIM_INFINITY);
	tear_down();
}

/* ---- upstreams ---- */

static void other_upstreams_readers_go_on_from_the_file(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	snprintf(b.upstream, sizeof(b.upstream), "other.test");
	stall = fault((struct fault){.upstream = UP, .stall_after = MIB});
	client_go(&a);
	WAIT_UNTIL(a.got == MIB);
	client_go(&b);
	CHECK_WHOLE(&b);
	CHECK_WHOLE(&a);
	CHECK(all_landed());
	CHECK(is_stored());
	CHECK(!partial_exists(server.cache, &world.dg, UP));
	clear_fault(stall);
	tear_down();
}

static void other_upstreams_wrong_bytes_are_cut(void)
{
	struct client a = client_make(whole), b = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	snprintf(b.upstream, sizeof(b.upstream), "other.test");
	stall = fault(
	    (struct fault){.upstream = UP, .stall_after = MIB, .flip_at = 3});
	client_go(&a);
	WAIT_UNTIL(a.got == MIB);
	client_go(&b);
	CHECK_WHOLE(&b);
	wait_end(&a);
	CHECK(a.state == C_CUT);
	CHECK(all_landed());
	CHECK(is_stored());
	clear_fault(stall);
	tear_down();
}

/* ---- the end ---- */

static void shutdown_keeps_what_is_held(void)
{
	struct client a = client_make(whole), p = client_make(whole);
	unsigned stall;

	set_up(SIZE);
	stall = fault((struct fault){.stall_after = 2 * MIB});
	client_go(&a);
	WAIT_UNTIL(a.got == 2 * MIB);
	client_leave(&a);
	reopen(INT64_MAX);
	CHECK(partial_exists(server.cache, &world.dg, UP));
	client_go(&p); /* and while bytes pass through */
	WAIT_UNTIL(p.got > 0);
	client_leave(&p);
	reopen(0);
	clear_fault(stall);
	tear_down();
}

/* ---- by chance ---- */

static uint64_t dice;

static uint64_t roll(uint64_t sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice % sides;
}

static struct flow_range random_range(uint64_t size)
{
	uint64_t first = roll(size), len = roll(400 * KB);

	switch (roll(6)) {
	case 0:
	case 1:
		return whole;
	case 2:
		return open_from(first);
	case 3:
		return suffix(1 + len);
	default:
		return bounded(first, first + len);
	}
}

#define CROWD 24

static void check_one(const struct client *c)
{
	switch (c->state) {
	case C_WHOLE:
		CHECK(c->got == c->want && !c->wrong);
		break;
	case C_REFUSED:
		CHECK(c->err == ERR_EXISTS);
		break;
	case C_LEFT:
		CHECK(!c->wrong);
		break;
	default:
		fprintf(stderr,
			"shape %d first %" PRIu64 " got %" PRIu64 " of %" PRIu64
			"\n",
			c->range.shape, c->first, c->got, c->want);
		CHECK(!"cut without a reason");
	}
}

static void one_random_world(uint64_t seed)
{
	static struct client c[CROWD];
	uint64_t size;

	dice = seed * 2654435761u + 1;
	size = roll(4) ? MIB + roll(3 * MIB) : 1 + roll(200 * KB);
	set_up(size);
	fault((struct fault){.break_after = 40 * KB + roll(300 * KB),
			     .times = 1 + (unsigned)roll(20),
			     .skip = (unsigned)roll(4),
			     .transfers = true});
	if (roll(3) == 0)
		fault((struct fault){.slow_ms = 1, .times = 3});
	if (roll(4) == 0)
		fault((struct fault){
		    .ignore_range = true, .times = 2, .transfers = true});
	for (unsigned i = 0; i < CROWD; i++) {
		c[i] = client_make(random_range(size));
		snprintf(c[i].repo, sizeof(c[i].repo), "library/%c",
			 (char)('a' + roll(3)));
		if (roll(3) == 0)
			c[i].limit = 1 + roll(size);
		client_go(&c[i]);
		if (roll(2))
			usleep((useconds_t)roll(3000));
		if (roll(4) == 0)
			client_leave(&c[roll(i + 1)]);
	}
	for (unsigned i = 0; i < CROWD; i++)
		if (roll(3) == 0)
			client_leave(&c[i]);
		else
			client_read_on(&c[i]);
	for (unsigned i = 0; i < CROWD; i++)
		wait_end(&c[i]);
	for (unsigned i = 0; i < CROWD; i++)
		check_one(&c[i]);
	CHECK(all_landed());
	CHECK(world.most_running <= 4);
	tear_down();
}

/* FLIGHT_SEED and FLIGHT_RUNS choose others, to look into a failure or to look
 * for one. */
static unsigned number(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void random_crowds_get_right_bytes(void)
{
	unsigned first = number("FLIGHT_SEED", 1);
	unsigned runs = number("FLIGHT_RUNS", 40);

	for (unsigned seed = first; seed < first + runs; seed++) {
		int before = unit_failed_checks;

		one_random_world(seed);
		if (unit_failed_checks > before)
			fprintf(stderr, "seed %u\n", seed);
	}
}

int main(void)
{
	if (getenv("FLIGHT_SEED")) {
		RUN(random_crowds_get_right_bytes);
		return unit_done();
	}
	RUN(one_client_gets_the_blob_and_it_is_stored);
	RUN(second_reader_joins_running_fetch);
	RUN(thirty_two_at_once_are_one_fetch);
	RUN(who_comes_when_it_is_stored_is_told_so);
	RUN(empty_and_tiny_blobs_are_served);
	RUN(far_range_gets_its_own_transfer);
	RUN(near_range_waits_for_the_fill);
	RUN(bounded_range_fetches_only_itself);
	RUN(suffix_asks_for_the_size_first);
	RUN(open_range_begins_where_it_is_asked_to);
	RUN(range_past_the_end_fetches_nothing);
	RUN(ranges_that_add_up_are_stored);
	RUN(at_most_four_transfers);
	RUN(gap_transfers_alone_leave_a_place_for_the_fill);
	RUN(upstream_without_ranges_gives_right_bytes);
	RUN(upstream_that_tells_no_length_is_counted);
	RUN(manifest_that_declares_less_holds_back_more);
	RUN(size_kept_from_before_is_not_believed_for_ever);
	RUN(last_64k_wait_for_the_digest);
	RUN(mismatch_cuts_who_had_bytes_and_tries_once_more);
	RUN(second_mismatch_holds_the_digest);
	RUN(break_resumes_by_range);
	RUN(many_breaks_with_progress_are_no_failure);
	RUN(tries_without_progress_end);
	RUN(break_before_the_first_byte_is_an_error_not_a_cut);
	RUN(reader_at_a_gap_outlives_its_transfer);
	RUN(retry_after_that_is_too_long_is_handed_on);
	RUN(other_repository_needs_its_own_yes);
	RUN(refused_repository_does_not_end_the_others);
	RUN(refusal_of_the_first_leaves_the_second);
	RUN(redirect_targets_403_is_no_refusal);
	RUN(readers_gone_fill_goes_on);
	RUN(linger_ends_a_small_fill);
	RUN(return_within_linger_keeps_the_fetch);
	RUN(slow_reader_holds_nobody_up);
	RUN(restart_serves_held_bytes);
	RUN(complete_file_is_served_and_no_byte_fetched);
	RUN(whole_partial_needs_a_yes_and_no_byte);
	RUN(slow_disk_holds_the_upstream_back);
	RUN(no_room_passes_through);
	RUN(passed_through_bytes_are_verified);
	RUN(pass_through_survives_breaks_and_missing_ranges);
	RUN(spill_tells_readers);
	RUN(spill_after_a_resume_still_verifies_each_byte);
	RUN(other_upstreams_readers_go_on_from_the_file);
	RUN(other_upstreams_wrong_bytes_are_cut);
	RUN(shutdown_keeps_what_is_held);
	RUN(random_crowds_get_right_bytes);
	return unit_done();
}
