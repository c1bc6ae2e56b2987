# SPDX-License-Identifier: Apache-2.0
#
# The whole vocabulary:
#
#   make                    build/entrepot, hardened
#   make quickstart         install what is missing, build, run the mirror here
#   make check              every test; SAN=address,undefined or SAN=thread, and
#                           FAULTS=1 (fault points compiled in), choose the build
#   make lint               what no compiler says; make format repairs the layout
#   make fuzz               each fuzz target for FUZZ_SECONDS
#   make bench              side by side with nginx and docker-registry
#   make crash, make soak   kills at each disk step; scenarios for SOAK_SECONDS
#   make conformance        SUITE=, the OCI's conformance suite, already built
#   make install            DESTDIR=, PREFIX=/usr
#   make clean
#
# Each combination of SAN and FAULTS builds in a folder of its own.

SAN ?=
FAULTS ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 3600
KILLS ?= 100
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# Debian's, which sees the modules that apt installs.
PYTHON ?= /usr/bin/python3
FUZZ_CC ?= clang
CLANG_FORMAT ?= clang-format-14

# `make fuzz` comes back here with FUZZER=1 to build with clang's libFuzzer.
FUZZER ?=

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all

# ---- where this build goes ----

empty :=
space := $(empty) $(empty)
comma := ,
variant := $(subst $(comma),-,$(SAN))$(if $(FAULTS),-faults)$(if $(FUZZER),fuzz)
ifeq ($(variant),)
out := build/release
bin := build/entrepot
else
out := build/$(patsubst -%,%,$(variant))
bin := $(out)/entrepot
endif

# ---- flags ----

warnings := -Wall -Wextra -Wshadow -Wformat=2 -Wundef -Wvla -Wpointer-arith \
	-Wwrite-strings -Wcast-qual -Wstrict-prototypes -Wold-style-definition \
	-Wmissing-prototypes -Wimplicit-fallthrough
language := -std=gnu11 -fno-common -pthread
defines := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. \
	$(if $(FAULTS),-DFAULT_POINTS)

ifneq ($(FUZZER),)
CC := $(FUZZ_CC)
mode := -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all \
	-fsanitize=fuzzer-no-link,address,undefined
mode_ld := -fsanitize=fuzzer,address,undefined
else ifneq ($(SAN),)
mode := -O1 -fno-omit-frame-pointer -fsanitize=$(SAN)
mode_ld := -fsanitize=$(SAN)
else
defines += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
mode := -O2 -fstack-protector-strong -fstack-clash-protection -fPIE
mode_ld := -pie -Wl,-z,relro,-z,now,-z,noexecstack
endif

# `cc` is what make itself would choose; a compiler that the user names wins.
ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
CFLAGS ?= -g
compile = $(CC) $(language) $(warnings) $(mode) $(defines) $(packages_cflags) \
	$(CPPFLAGS) $(CFLAGS)
link = $(CC) $(language) $(mode_ld) -Wl,--as-needed $(CFLAGS) $(LDFLAGS)

# ---- libraries ----

packages := libevent_core libevent_pthreads libcurl libssl libcrypto jansson \
	lmdb
packages_cflags := $(shell pkg-config --cflags $(packages) 2>/dev/null)
packages_libs := $(shell pkg-config --libs $(packages) 2>/dev/null)
libs = $(packages_libs) $(LDLIBS)

# ---- sources ----

cache_objects := $(patsubst %.c,$(out)/%.o,$(sort $(wildcard cache/*.c)))
proxy_objects := $(patsubst %.c,$(out)/%.o,\
	$(filter-out proxy/main.c,$(sort $(wildcard proxy/*.c))))
archives := $(out)/libproxy.a $(out)/libcache.a

units := $(patsubst tests/unit/%.c,$(out)/unit/%,\
	$(sort $(wildcard tests/unit/test_*.c)))
tools := $(patsubst tests/tools/%.c,$(out)/tools/%,\
	$(sort $(wildcard tests/tools/*.c)))
# Every fuzz target, linked with a main() that runs it over its corpus.
replays := $(patsubst tests/fuzz/%.c,$(out)/replay/%,\
	$(sort $(wildcard tests/fuzz/fuzz_*.c)))
fuzzers := $(patsubst $(out)/replay/%,$(out)/%,$(replays))

.PHONY: all programs quickstart quickstart-run check lint format fuzz fuzzers \
	bench crash soak conformance install clean libraries
# Named in no rule of their own, so that make keeps them for the next build.
.SECONDARY:

all: $(bin)

programs: $(bin) $(units) $(tools) $(replays)

# ---- rules ----

# V=1 shows the commands.
Q := $(if $(V),,@)

# A missing library is said once, with what to do, before the first compile.
libraries:
	@pkg-config --print-errors --exists $(packages) || { \
		echo "make: libraries are missing; 'make quickstart' or" \
		     "'tests/deps.sh build' installs them" >&2; exit 1; }

$(out)/%.o: %.c Makefile | libraries
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$Q$(compile) -MMD -MP -c -o $@ $<

# The version goes into the files that speak of it, when it has changed.
# Without a tag: 0.1 and the commit; without git: 0.1.
commit := $(shell git describe --always --dirty 2>/dev/null)
VERSION ?= $(or $(shell git describe --tags --dirty 2>/dev/null),\
	0.1$(if $(commit),-$(commit)))
version := $(strip $(VERSION))
versioned := $(shell grep -ls ENTREPOT_VERSION proxy/*.c)
$(patsubst %.c,$(out)/%.o,$(versioned)): defines += \
	-DENTREPOT_VERSION='"$(version)"'
$(patsubst %.c,$(out)/%.o,$(versioned)): $(out)/version
$(out)/version: FORCE
	@mkdir -p $(@D)
	@echo '$(version)' | cmp -s - $@ || echo '$(version)' >$@
.PHONY: FORCE
FORCE:

# It has the files of conf/clients/ in it (.incbin).
$(out)/proxy/command_client.o: $(wildcard conf/clients/*)

$(out)/libcache.a: $(cache_objects)
$(out)/libproxy.a: $(proxy_objects)
$(archives):
	@rm -f $@
	@echo "  AR    $@"
	$Q$(AR) rcsD $@ $^

$(bin): $(out)/proxy/main.o $(archives)
	@echo "  LINK  $@"
	$Q$(link) -o $@ $^ $(libs)

$(out)/unit/%: $(out)/tests/unit/%.o $(archives)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$Q$(link) -o $@ $^ $(libs)

$(out)/tools/%: $(out)/tests/tools/%.o $(archives)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$Q$(link) -o $@ $^ $(libs)

$(out)/replay/%: $(out)/tests/fuzz/%.o $(out)/tests/fuzz/replay.o $(archives)
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$Q$(link) -o $@ $^ $(libs)

$(out)/fuzz_%: $(out)/tests/fuzz/fuzz_%.o $(archives)
	@echo "  LINK  $@"
	$Q$(link) -o $@ $^ $(libs)

# llhttp, as source in Debian's node-llhttp: what our head parser is compared
# with.  Not our code, so not our warnings.
llhttp := /usr/share/llhttp
llhttp_flags := -DLLHTTP_STRICT_MODE=1 -isystem /usr/share/include/llhttp
llhttp_objects := $(patsubst %,$(out)/llhttp/%.o,llhttp api http)
$(out)/llhttp/%.o: $(llhttp)/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$Q$(compile) $(llhttp_flags) -w -c -o $@ $<
$(out)/tests/fuzz/llhttp_head.o: defines += $(llhttp_flags)
$(out)/replay/fuzz_http_llhttp $(out)/fuzz_http_llhttp: \
	$(out)/tests/fuzz/llhttp_head.o $(llhttp_objects)

-include $(patsubst %.c,$(out)/%.d,$(wildcard cache/*.c proxy/*.c \
	tests/unit/*.c tests/tools/*.c tests/fuzz/*.c))

# How the scripts call make again: without this make's own flags, but with
# the compiler that its user chose.
make_again = $(MAKE) --no-print-directory CC=$(CC)

# ---- running it ----

quickstart:
	@echo "== quickstart: libraries and compiler"
	@tests/deps.sh build
	@echo "== quickstart: building build/entrepot"
	@$(MAKE) --no-print-directory -j$(JOBS) SAN= FAULTS= all
	@$(MAKE) --no-print-directory SAN= FAULTS= quickstart-run

quickstart-run: state = $${XDG_STATE_HOME:-$$HOME/.local/state}/entrepot
quickstart-run:
	@echo "== quickstart: the mirror runs here until Ctrl-C"
	@echo "   address  http://127.0.0.1:5000"
	@echo "   data     $(state)"
	@echo "   Add this line to /etc/docker/daemon.json, then restart dockerd:"
	@echo
	@echo '       "registry-mirrors": ["http://127.0.0.1:5000"]'
	@echo
	@echo "   Other clients: conf/clients/"
	@exec $(bin) serve --config conf/entrepot.json \
		--listen 127.0.0.1:5000 --data "$(state)"

# ---- tests ----

# run.py builds, too: what does not compile is a failure with a name.
runner = $(PYTHON) tests/run.py
runner_args = --make '$(make_again) SAN=$(SAN) FAULTS=$(FAULTS)' \
	--san '$(SAN)' --faults '$(FAULTS)' --out '$(out)' --bin '$(bin)' \
	--jobs $(JOBS)
# Only the release build meets real clients.
check_deps := build check $(if $(SAN)$(FAULTS),,clients)

check:
	@mkdir -p $(out)
	@echo "== check: what the tests need ($(check_deps))"
	@rm -f $(out)/missing
	@tests/deps.sh --missing-to $(out)/missing $(check_deps) || true
	@test -x $(PYTHON) || { echo "FAILED $(PYTHON) is missing"; \
		echo "0 passed, 1 failed"; exit 1; }
	@$(runner) check $(runner_args) --kills $(KILLS) \
		--missing $(out)/missing

# Fault points are what crashes are made of.
crash:
ifeq ($(FAULTS),)
	@$(MAKE) --no-print-directory FAULTS=1 crash
else
	@tests/deps.sh build check
	@$(runner) crash $(runner_args) --kills $(KILLS)
endif

soak:
	@tests/deps.sh build check
	@$(runner) soak $(runner_args) --kills $(KILLS) \
		--seconds $(SOAK_SECONDS)

# Nothing of the suite is here; README.md says where it comes from.
conformance:
	@test -n '$(SUITE)' || { echo "make: SUITE=<the built suite> is" \
		"wanted; README.md says which" >&2; exit 1; }
	@tests/deps.sh build
	@$(MAKE) --no-print-directory -j$(JOBS) $(bin) $(out)/tools/store_check
	@ENTREPOT_BIN=$(abspath $(bin)) \
		ENTREPOT_STORE_CHECK=$(abspath $(out)/tools/store_check) \
		$(PYTHON) tests/conformance.py '$(SUITE)' \
		--results $(out)/conformance

bench:
	@tests/deps.sh build bench
	@$(MAKE) --no-print-directory -j$(JOBS) SAN= FAULTS= all
	@$(PYTHON) tests/bench/bench.py

fuzzers: $(fuzzers)

fuzz:
	@tests/deps.sh build fuzz
	@$(MAKE) --no-print-directory -j$(JOBS) SAN= FAULTS= FUZZER=1 fuzzers
	@$(PYTHON) tests/run.py fuzz --out build/fuzz --jobs $(JOBS) \
		--seconds $(FUZZ_SECONDS)

# ---- the tree ----

lint:
	@tests/deps.sh build lint
	@$(PYTHON) tests/lint/lint.py --make '$(make_again)' --jobs $(JOBS) \
		--clang-format $(CLANG_FORMAT)

format:
	@tests/deps.sh lint
	$(CLANG_FORMAT) -i $(wildcard cache/*.[ch] proxy/*.[ch] tests/*/*.[ch])

# ---- installing it ----

units_to := $(PREFIX)/lib/systemd/system
doc_to := $(PREFIX)/share/doc/entrepot

# A file of systemd/, with the places that were chosen.
place = sed -e 's|/usr/bin/entrepot|$(PREFIX)/bin/entrepot|' \
	-e 's|/usr/share/doc|$(PREFIX)/share/doc|' \
	-e 's|/etc/entrepot|$(SYSCONFDIR)/entrepot|' \
	systemd/$(1) >$(DESTDIR)$(2) && chmod 644 $(DESTDIR)$(2)

# An existing configuration stays; a new one says where a service keeps data.
install: $(bin)
	install -D -m 755 $(bin) $(DESTDIR)$(PREFIX)/bin/entrepot
	install -d $(DESTDIR)$(units_to) $(DESTDIR)$(PREFIX)/lib/sysusers.d \
		$(DESTDIR)$(PREFIX)/lib/tmpfiles.d \
		$(DESTDIR)$(SYSCONFDIR)/entrepot $(DESTDIR)$(doc_to)/clients
	$(call place,entrepot.service,$(units_to)/entrepot.service)
	$(call place,entrepot.socket,$(units_to)/entrepot.socket)
	$(call place,entrepot.sysusers.conf,$(PREFIX)/lib/sysusers.d/entrepot.conf)
	$(call place,entrepot.tmpfiles.conf,$(PREFIX)/lib/tmpfiles.d/entrepot.conf)
	test -e $(DESTDIR)$(SYSCONFDIR)/entrepot/entrepot.json || { \
		sed '1a\  "data": "/var/lib/entrepot",' conf/entrepot.json \
			>$(DESTDIR)$(SYSCONFDIR)/entrepot/entrepot.json && \
		chmod 644 $(DESTDIR)$(SYSCONFDIR)/entrepot/entrepot.json; }
	install -m 644 README.md LICENSE conf/entrepot-full.json \
		$(DESTDIR)$(doc_to)
	install -m 644 conf/clients/* $(DESTDIR)$(doc_to)/clients

clean:
	rm -rf build
