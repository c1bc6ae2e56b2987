#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh [--missing-to FILE] GROUP...: install through apt what the named
# groups need and is not there, removing nothing and starting no service.
# Each package that cannot be installed is named, on stderr and in FILE, and
# makes the exit status 1.
#
# Groups: build, check, clients, lint, fuzz, bench.
set -u

packages_of()
{
	case $1 in
	build)
		echo "gcc libc6-dev make pkg-config libevent-dev"
		echo "libcurl4-openssl-dev libssl-dev libjansson-dev liblmdb-dev"
		# Whom https trusts; libcurl only recommends it.
		echo "ca-certificates"
		;;
	check)
		echo "python3 python3-pytest openssl procps util-linux"
		echo "node-llhttp"
		echo "mount e2fsprogs iproute2"
		;;
	clients)
		echo "docker.io containerd runc podman buildah skopeo"
		echo "docker-registry iptables iproute2 zstd util-linux mount"
		# Parts of docker.io before Debian 13.
		[ "$(debian)" -lt 13 ] || echo "docker-cli docker-buildx"
		;;
	lint)
		echo "python3 python3-yaml pyflakes3 clang clang-format-14"
		echo "shellcheck systemd node-llhttp"
		;;
	fuzz)
		echo "python3 clang libclang-rt-$(default_of clang)-dev"
		echo "node-llhttp"
		;;
	bench)
		echo "python3 nginx docker-registry wrk procps openssl"
		;;
	*)
		echo "deps.sh: no group \"$1\"" >&2
		exit 2
		;;
	esac
}

# "14" for clang in Debian 12: the version that the plain package stands for.
default_of()
{
	apt-cache depends "$1" 2>/dev/null |
		sed -n "s/.*Depends: $1-\([0-9]*\).*/\1/p" | head -n 1
}

# "12"; testing and unstable say no number, and are later.
debian()
{
	number=$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release)
	echo "${number:-99}"
}

installed()
{
	test "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = \
		installed
}

# ---- as root ----

POLICY=/usr/sbin/policy-rc.d
KEPT=/usr/sbin/policy-rc.d.before-entrepot
MARK="written by entrepot's tests/deps.sh, which removes it again"

# invoke-rc.d asks this script before it starts anything; 101 is "no".
forbid_services()
{
	if [ -e "$POLICY" ] && ! grep -q "$MARK" "$POLICY"; then
		mv "$POLICY" "$KEPT"
	fi
	printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" >"$POLICY"
	chmod 755 "$POLICY"
}

allow_services()
{
	grep -qs "$MARK" "$POLICY" && rm -f "$POLICY"
	[ -e "$KEPT" ] && mv "$KEPT" "$POLICY"
	return 0
}

apt_install()
{
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
		--no-install-recommends --no-remove \
		-o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# All at once; if that fails, one by one, so that one bad package is one
# failure.
install_as_root()
{
	exec 9>/run/lock/entrepot-deps
	flock 9
	trap allow_services EXIT
	trap 'exit 130' INT TERM HUP
	forbid_services
	apt-get update -q -o DPkg::Lock::Timeout=300 </dev/null ||
		echo "deps.sh: apt-get update failed; going on" >&2
	apt_install "$@" && return
	for package in "$@"; do
		installed "$package" || apt_install "$package"
	done
}

if [ "${1:-}" = --as-root ]; then
	shift
	install_as_root "$@" 1>&2
	exit 0
fi

# ---- as anybody ----

missing_to=/dev/null
if [ "${1:-}" = --missing-to ]; then
	missing_to=$2
	shift 2
	: >"$missing_to" || exit 1
fi

# Print those packages of the groups that are not installed.
wanted()
{
	for group in "$@"; do
		packages_of "$group" || exit 2
	done | tr ' ' '\n' | sort -u | while read -r package; do
		installed "$package" || printf '%s ' "$package"
	done
}

command -v apt-get >/dev/null || {
	echo "deps.sh: no apt-get here: install by hand what is missing" >&2
	echo "apt-get itself" >"$missing_to"
	exit 1
}

todo=$(wanted "$@") || exit 2
[ -n "$todo" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	echo "   installing by apt: $todo"
	# shellcheck disable=SC2086 # a list of words
	"$0" --as-root $todo
elif command -v sudo >/dev/null; then
	echo "   installing by apt, with sudo: $todo"
	# shellcheck disable=SC2086
	sudo "$0" --as-root $todo
else
	echo "deps.sh: not root, and there is no sudo" >&2
fi

status=0
for package in $todo; do
	installed "$package" && continue
	echo "deps.sh: cannot install $package" >&2
	echo "$package" >>"$missing_to"
	status=1
done
exit $status
