#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh [--missing-to FILE] GROUP...: install through apt what the named
# groups need and is not there, removing nothing and starting no service.
# Each package that cannot be installed is named, on stderr and in FILE, and
# makes the exit status 1.
#
# deps.sh --go-client NAME: print where `clients` puts crane or regctl; exit
# status 1 if it is not there and, for want of Go, will not be.
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
		# What their stores and layouts are like, import learns there.
		echo "docker-registry skopeo"
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

# ---- clients that no package carries: from their Go modules ----

GO_CLIENTS="github.com/google/go-containerregistry/cmd/crane@v0.20.7
github.com/regclient/regclient/cmd/regctl@v0.9.2"
GO_MINOR=24

# Where `package@version` goes: outside the tree, once for all of them.
go_place()
{
	name=${1##*/}
	echo "${XDG_CACHE_HOME:-/var/tmp}/entrepot-$name/${name%@*}"
}

# A Go that is new enough, or nothing.
go_command()
{
	for go in go /usr/local/go/bin/go /usr/lib/go-1.*/bin/go; do
		minor=$("$go" env GOVERSION 2>/dev/null |
			sed -n 's/^go1\.\([0-9]*\).*/\1/p')
		if [ "${minor:-0}" -ge "$GO_MINOR" ]; then
			echo "$go"
			return
		fi
	done
	return 1
}

# Nobody else's folder is believed.
go_install()
{
	place=$(go_place "$1")
	mkdir -p "${place%/*}" && [ -O "${place%/*}" ] || return 1
	[ -x "$place" ] && return
	echo "   installing by go: $1"
	GOBIN=${place%/*} GOTOOLCHAIN=local GOFLAGS=-mod=mod \
		"$go" install "$1" >&2
}

if [ "${1:-}" = --go-client ]; then
	for package in $GO_CLIENTS; do
		case $package in
		*/"$2"@*) ;;
		*) continue ;;
		esac
		go_place "$package"
		[ -x "$(go_place "$package")" ] || go_command >/dev/null
		exit
	done
	exit 2
fi

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

status=0
lacks()
{
	echo "deps.sh: cannot install $1" >&2
	echo "$1" >>"$missing_to"
	status=1
}

case " $* " in
*" clients "*)
	if go=$(go_command); then
		for package in $GO_CLIENTS; do
			go_install "$package" || lacks "$package"
		done
	else
		echo "   no Go 1.$GO_MINOR here: crane and regctl are not run"
	fi
	;;
esac

command -v apt-get >/dev/null || {
	echo "deps.sh: no apt-get here: install by hand what is missing" >&2
	echo "apt-get itself" >"$missing_to"
	exit 1
}

todo=$(wanted "$@") || exit 2
[ -n "$todo" ] || exit $status

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

for package in $todo; do
	installed "$package" || lacks "$package"
done
exit $status
