# SPDX-License-Identifier: Apache-2.0
"""The rules that change as the code grows: what may be used where."""

# As in the Makefile, with every warning an error.
FLAGS = """
-std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -fno-common -Wall -Wextra
-Wshadow -Wformat=2 -Wundef -Wvla -Wpointer-arith -Wwrite-strings -Wcast-qual
-Wstrict-prototypes -Wold-style-definition -Wmissing-prototypes
-Wimplicit-fallthrough -Werror -I. -isystem /usr/share/include/llhttp
-DENTREPOT_VERSION="lint"
""".split()

# The one list of who meets which outside library.
CONFINED = {
    "<lmdb.h": {"cache/index_int.h"},
    "<curl/": {"proxy/fetch_int.h"},
    "<openssl/evp.h": {"cache/digest.c"},
    "<jansson.h": {
        "cache/manifest_int.h",
        "proxy/conf.c",
        "proxy/conf_json.h",
        "proxy/ask_list.c",
        "proxy/ask_referrers.c",
        "proxy/credential_file.c",
        "proxy/export_write.c",
        "proxy/foreign_oci.c",
        "proxy/list_text.c",
        "proxy/question.c",
        "proxy/search_text.c",
        "proxy/token_text.c",
    },
    "<event2/": {
        "proxy/accept.c",
        "proxy/conn_int.h",
        "proxy/conn_wait.c",
        "proxy/control.c",
        "proxy/control_call.c",
        "proxy/control_int.h",
        "proxy/fetch_multi.c",
        "proxy/job.c",
        "proxy/listen.c",
        "proxy/loop.c",
        "proxy/loop.h",
    },
}

# cache/ does no HTTP, no sockets, no logging.
NOT_IN_CACHE = r"<(event2?/|event\.h|curl/|sys/socket\.h|netinet/|netdb\.h" \
               r"|syslog\.h)"

# Anywhere in cache/ and proxy/.
UNSAFE = {
    **dict.fromkeys(("strcpy", "strcat", "sprintf", "vsprintf", "gets",
                     "stpcpy", "strncpy", "strncat"),
                    "no bound, or no end: snprintf, memcpy, xasprintf"),
    **dict.fromkeys(("strtok", "localtime", "gmtime", "ctime", "asctime",
                     "inet_ntoa", "gethostbyname", "readdir64_r"),
                    "shares a buffer between threads"),
    **dict.fromkeys(("atoi", "atol", "atoll", "atof", "sscanf"),
                    "says nothing of a wrong number"),
    **dict.fromkeys(("alloca", "tmpnam", "mktemp", "tempnam"), "unsafe"),
    **dict.fromkeys(("system", "popen"), "a shell: posix_spawn instead"),
    **dict.fromkeys(("rand", "srand", "random", "srandom"),
                    "predictable: getrandom"),
}

# Allocation that can return NULL; cache/base.h has the words for it.
ALLOCATION = {"malloc", "calloc", "realloc", "reallocarray", "strdup",
              "strndup", "asprintf", "vasprintf"}
ALLOCATES = {"cache/base.c", "proxy/conf_json.c"}

# cache/ answers; it does not speak.
SPEAKS = {"printf", "fprintf", "vfprintf", "puts", "fputs", "perror",
          "syslog", "getenv", "socket", "connect", "bind", "listen"}
# Last words before abort().
MAY_SPEAK = {"cache/base.c", "cache/digest.c"}

PROMISES = ("TODO", "FIXME", "XXX", "HACK")

# More lines than this are pointed out.
LONG = 120

# What our units name and systemd-analyze has to find.
SYSTEM_UNITS = ("sysinit.target", "basic.target", "shutdown.target",
                "sockets.target", "multi-user.target", "network.target",
                "system.slice", "-.slice", "-.mount", "tmp.mount")


def unwanted(function, name):
    """Why `function` may not be called in file `name`, or None."""
    if function in UNSAFE:
        return UNSAFE[function]
    if function in ALLOCATION and name not in ALLOCATES:
        return "may return NULL: the x-function of cache/base.h"
    if function in SPEAKS and name.startswith("cache/") and \
            name not in MAY_SPEAK:
        return "cache/ neither speaks nor reads the environment"
    return None
