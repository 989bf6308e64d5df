# SPDX-License-Identifier: MIT
# For the scripts here that print TAP: check WHAT COMMAND…, then finish. $tmp is a folder of their own.

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0 bad=0

# What the command says is shown if it fails.
check() {
	local what=$1 out
	shift
	n=$((n + 1))
	if out=$("$@" 2>&1); then
		echo "ok $n - $what"
	else
		bad=1
		echo "not ok $n - $what"
		sed 's/^/# /' <<< "$out"
	fi
}

finish() {
	echo "1..$n"
	exit $bad
}
