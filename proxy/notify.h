/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_NOTIFY_H
#define PROXY_NOTIFY_H
/*
 * What a supervisor that started us with NOTIFY_SOCKET wants to hear, as
 * sd_notify(3) and sd_notify(3)'s "Type=notify-reload" describe it.  Without
 * that variable these do nothing; a supervisor that does not listen is no
 * reason to fail, so nothing is returned.
 */

/* Remember NOTIFY_SOCKET and take it out of the environment, so that no child
 * speaks for us.  Main thread, once, before others start. */
void notify_init(void);

/* Any thread, from here on. */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);

#endif
