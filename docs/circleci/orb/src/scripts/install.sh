#!/bin/sh
# Installs oidc-broker: one version, its archive's SHA-256 compared, by curl or
# wget, in any POSIX shell.
set -eu
broker='' value=''
eval "$ORB_SHARED"
read_bash_env

windows() { [ "$os" = windows ]; }

find_platform() {
	case $(uname -s) in
	Linux) os=linux ;;
	Darwin) os=darwin ;;
	MINGW* | MSYS* | CYGWIN*) os=windows ;;
	*) fail "there is no oidc-broker for $(uname -s)" ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) fail "there is no oidc-broker for the processor $(uname -m)" ;;
	esac
	program=oidc-broker
	archive=oidc-broker_${version}_${os}_$arch.tar.gz
	if windows; then
		program=oidc-broker.exe
		archive=oidc-broker_${version}_${os}_$arch.zip
	fi
}

settle() {
	expand version "$ORB_STR_VERSION"
	version=${value#v}
	case $version in
	latest) fail 'the version latest is another program tomorrow: name one, such as 1.2.3' ;;
	[0-9]*) ;;
	*) fail "the version '$version' is not one, such as 1.2.3" ;;
	esac
	case $version in
	*[!A-Za-z0-9.+-]*) fail "the version '$version' is not one, such as 1.2.3" ;;
	esac
	settle_url
	expand sha256 "$ORB_STR_SHA256"
	digest sha256 "$value"
	sha256=$value
	expand checksums_sha256 "$ORB_STR_CHECKSUMS_SHA256"
	digest checksums_sha256 "$value"
	checksums_sha256=$value
	expand install_dir "$ORB_STR_INSTALL_DIR"
	wanted_dir=$value
	case $wanted_dir in
	[~]) wanted_dir=$HOME ;;
	[~]/*) wanted_dir=$HOME/${wanted_dir#??} ;;
	esac
	case $wanted_dir in
	'' | /* | [A-Za-z]:*) ;;
	*) wanted_dir=$PWD/$wanted_dir ;;
	esac
	case $wanted_dir in
	*:*:* | *'
'*) fail "the install_dir '$wanted_dir' cannot stand in PATH" ;;
	esac
}

# settle_url takes a server that proves who it is, or this machine.
settle_url() {
	expand download_base_url "$ORB_STR_DOWNLOAD_BASE_URL"
	base=${value%/}
	case $base in
	*[!A-Za-z0-9.:/_~%+-]*) fail "the download_base_url '$base' has characters that none needs" ;;
	esac
	case $base in
	https://?*) scheme=https ;;
	http://127.0.0.1:* | http://127.0.0.1/* | http://localhost:* | http://localhost/*) scheme=http ;;
	*) fail "the download_base_url '$base' is not https://" ;;
	esac
}

# digest PARAMETER TEXT sets value to a SHA-256 in lower case, or to nothing.
digest() {
	value=$(printf '%s' "$2" | tr ABCDEF abcdef)
	[ -n "$value" ] || return 0
	case $value in
	*[!0-9a-f]*) fail "the parameter $1 is not a SHA-256: 64 hexadecimal digits" ;;
	esac
	[ ${#value} -eq 64 ] || fail "the parameter $1 is not a SHA-256: it has ${#value} digits, not 64"
}

# version_of PROGRAM prints the version that a program says it is.
version_of() {
	"$1" version 2>/dev/null | sed -n 's/^oidc-broker v\{0,1\}\([^ ]*\) .*$/\1/p' || true
}

on_path() {
	case :$PATH: in
	*:"$1":*) return 0 ;;
	*) return 1 ;;
	esac
}

# may_write says whether a program can be put into a directory, which need not be
# there yet.
may_write() {
	if [ -d "$1" ]; then
		[ -w "$1" ]
	else
		mkdir -p "$1" 2>/dev/null
	fi
}

# choose_dir sets dir to where the program goes, and sudo to what that takes: the
# place of another version, else a directory on PATH that this user may write.
choose_dir() {
	sudo='' dir=''
	if [ -n "$wanted_dir" ]; then
		dir=$wanted_dir
	elif [ -n "$there" ]; then
		dir=${there%/*}
	else
		for one in "$HOME/.local/bin" "$HOME/bin" /usr/local/bin; do
			if on_path "$one" && may_write "$one"; then
				dir=$one
				break
			fi
		done
	fi
	if [ -n "$dir" ] && may_write "$dir"; then
		return 0
	fi
	if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
		sudo='sudo -n'
		dir=${dir:-/usr/local/bin}
		return 0
	fi
	[ -z "$wanted_dir" ] || fail "this user may not write into $wanted_dir" 'leave install_dir out, or name another directory'
	dir=$HOME/.local/bin
	may_write "$dir" || fail "there is no directory on PATH that this user may write, and no sudo" 'name one: install_dir'
}

# fetch NAME gets a file of the release.
fetch() {
	url=$base/v$version/$1
	if command -v curl >/dev/null 2>&1; then
		curl --fail --silent --show-error --location --proto "=$scheme" --retry 3 --connect-timeout 20 --max-time 300 \
			--output "$work/$1" "$url" || missed "$1"
	elif command -v wget >/dev/null 2>&1; then
		wget -q -O "$work/$1" "$url" || missed "$1"
	else
		fail 'there is neither curl nor wget in this image' 'install one, or put oidc-broker into the image and set skip_broker_install'
	fi
}

missed() {
	fail "cannot download $1 from $base/v$version" \
		"is $version a release, and is there an archive for $os and $arch? see https://github.com/oidc-broker/oidc-broker/releases"
}

sha256_of() {
	if command -v sha256sum >/dev/null 2>&1; then
		sha256sum <"$1" | cut -c 1-64
	elif command -v shasum >/dev/null 2>&1; then
		shasum -a 256 <"$1" | cut -c 1-64
	elif command -v openssl >/dev/null 2>&1; then
		openssl dgst -sha256 -r <"$1" | cut -c 1-64
	else
		fail 'nothing here computes a SHA-256 (sha256sum, shasum, openssl), and what is not checked is not installed'
	fi
}

# describe FILE says what a wrong download looks like.
describe() {
	size=$(wc -c <"$1" | tr -d ' ')
	case $(head -c 200 "$1" | tr -d '\000' | tr '[:upper:]' '[:lower:]') in
	*'<html'* | *'<!doctype'*) echo "$size bytes came, and they are a web page" ;;
	*) echo "$size bytes came" ;;
	esac
}

# expect sets expected to the SHA-256 that the archive has to have, and source to
# who says so.
expect() {
	if [ -n "$sha256" ]; then
		expected=$sha256 source='the parameter sha256'
		return 0
	fi
	fetch checksums.txt
	if [ -n "$checksums_sha256" ]; then
		got=$(sha256_of "$work/checksums.txt")
		[ "$got" = "$checksums_sha256" ] || fail "the SHA-256 of checksums.txt is $got, not $checksums_sha256 as checksums_sha256 says" \
			"$(describe "$work/checksums.txt"); nothing was installed"
	fi
	expected=''
	while read -r sum name; do
		if [ "${name#\*}" = "$archive" ]; then
			expected=$sum
		fi
	done <"$work/checksums.txt"
	[ -n "$expected" ] || fail "the release's checksums.txt has no line for $archive" \
		"$(describe "$work/checksums.txt"); nothing was installed"
	source="the release's checksums.txt"
}

check() {
	got=$(sha256_of "$work/$archive")
	[ "$got" = "$expected" ] || fail "the SHA-256 of $archive is $got, but $expected in $source" \
		"$(describe "$work/$archive"); nothing was installed"
	say "the SHA-256 of $archive is that of $source"
	if [ -z "$sha256$checksums_sha256" ]; then
		say "this shows that the archive came whole, not who made it: both came from $base. Give sha256 or checksums_sha256 for that"
	fi
}

# unpack takes the program out of the archive, and sees that it runs here.
unpack() {
	mkdir "$work/out"
	if ! windows; then
		tar -xzf "$work/$archive" -C "$work/out" "$program"
	elif command -v unzip >/dev/null 2>&1; then
		unzip -q "$work/$archive" "$program" -d "$work/out"
	else
		# Windows' own tar, which is not the one of Git's bash, reads zip.
		"${SYSTEMROOT:-C:/Windows}/System32/tar.exe" -xf "$work/$archive" -C "$work/out" "$program"
	fi || fail "$archive holds no $program"
	chmod 755 "$work/out/$program"
	got=$(version_of "$work/out/$program")
	[ -n "$got" ] || fail "the program in $archive does not run in $work" \
		'is that directory mounted noexec? set TMPDIR to another'
	[ "$got" = "$version" ] || fail "the program in $archive is version $got, not $version"
}

# place moves it to where it belongs in one step: who runs it meanwhile has the
# old one or the new one.
place() {
	$sudo mkdir -p "$dir"
	new=$dir/.oidc-broker-$$
	$sudo cp "$work/out/$program" "$new"
	$sudo chmod 755 "$new"
	$sudo mv -f "$new" "$dir/$program"
}

# announce puts the directory in front of PATH where it is not there, or another
# program of that name is found first.
announce() {
	if [ "$(command -v oidc-broker || true)" = "$dir/oidc-broker" ]; then
		return 0
	fi
	for_later_steps "export PATH=$(quoted "$dir"):\"\$PATH\""
	if in_bash; then
		say "$dir comes first in the PATH of the steps that follow"
	else
		say "$dir is not on PATH, and this job's shell does not read \$BASH_ENV: begin your own steps with  . \"\$BASH_ENV\""
	fi
}

settle
find_platform
there=''
if [ -z "$wanted_dir" ]; then
	if find_broker; then
		there=$broker
	fi
elif [ -x "$wanted_dir/$program" ]; then
	there=$wanted_dir/oidc-broker
fi
if [ -n "$there" ]; then
	had=$(version_of "$there")
	if [ "$had" = "$version" ]; then
		say "oidc-broker $version is there already: $there"
		dir=${there%/*}
		announce
		exit 0
	fi
	say "$there is version ${had:-unknown}, not $version"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
choose_dir
expect
fetch "$archive"
check
unpack
place
say "installed oidc-broker $version as $dir/$program"
announce
