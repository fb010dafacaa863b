# Set-up shared by ./aar and ./check: a virtual environment from lock files, and bubblewrap. POSIX sh, sourced.
#
# The environment is complete when .venv/requirements.lock is a copy of the lock file: the copy is made
# last, so a set-up that was cut short, or is of an older lock file, is redone from nothing.
# Everything said here goes to standard error: standard output belongs to the command.

say() {
    printf '%s\n' "$*" >&2
}

# set_up ROOT [dev|llm]: make ROOT/.venv as the lock files say; with dev, the tools of ./check too; with llm, what
# researchers that are models want.
set_up() {
    # Sandboxes run under ids of their own, which read the environment and the sources.
    umask 022
    set_up_root=$(CDPATH='' cd -P -- "$1" && pwd)
    set_up_lock=requirements.lock
    [ -z "${2-}" ] || set_up_lock=requirements-$2.lock

    # The kernel drops this lock with the last process that holds it, however that process ends.
    exec 9>"$set_up_root/.set-up.lock"
    if command -v flock >/dev/null && ! flock -n 9; then
        say "aar: another process is setting up $set_up_root; waiting for it"
        flock 9
    fi
    if ! _is_set_up requirements.lock; then
        _make_environment
        _install requirements.lock
    fi
    if [ "$set_up_lock" != requirements.lock ] && ! _is_set_up "$set_up_lock"; then
        [ "${2-}" != llm ] || say "aar: installing what researchers that are models want (once, a minute)"
        _install "$set_up_lock"
    fi
    exec 9>&-
}

_is_set_up() {
    [ -x "$set_up_root/.venv/bin/python" ] && cmp -s "$set_up_root/$1" "$set_up_root/.venv/$1"
}

_make_environment() {
    _find_python
    say "aar: setting up $set_up_root/.venv with $($set_up_python --version) (once, half a minute)"
    # .pth: the sources are used where they lie; nothing is built, so no build backend is needed.
    "$set_up_python" -m venv --clear "$set_up_root/.venv" >&2 || _fail "cannot make $set_up_root/.venv; see above"
    for set_up_site in "$set_up_root"/.venv/lib/python3.*/site-packages; do
        printf '%s\n' "$set_up_root/src" >"$set_up_site/aar.pth"
    done
}

# _install LOCK: every file is checked against its hash; wheels only, so that no package's code runs here.
_install() {
    "$set_up_root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
        --require-hashes --no-deps --only-binary :all: -r "$set_up_root/$1" >&2 9>&- ||
        _fail "cannot install $1; see above. Say it again when the cause is gone: what is there is not used half-done"
    # pip compiles one file after another, as much work as all the rest: here all processors do, but for tests that
    # nobody imports. What cannot be compiled is a template, or is told when it is imported.
    "$set_up_root/.venv/bin/python" -m compileall -q -j 0 -x 'site-packages/.*/tests?/' \
        "$set_up_root/.venv/lib" >/dev/null 2>&1 9>&- || :
    if [ "$1" = requirements.lock ]; then
        "$set_up_root/.venv/bin/python" -m compileall -q "$set_up_root/src" >&2 || _fail "cannot compile $set_up_root/src"
    fi
    cp "$set_up_root/$1" "$set_up_root/.venv/$1.part"
    mv "$set_up_root/.venv/$1.part" "$set_up_root/.venv/$1"
}

# Sets set_up_python to an interpreter of at least 3.11 that can make virtual environments.
_find_python() {
    for set_up_try in first second; do
        set_up_found=
        for set_up_python in python3 python3.13 python3.12 python3.11 python3.14; do
            command -v "$set_up_python" >/dev/null || continue
            "$set_up_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
            set_up_found=$set_up_python
            # Debian ships ensurepip, which fills a new environment, in a package of its own.
            "$set_up_python" -c 'import ensurepip, venv' 2>/dev/null && return 0
        done
        [ "$set_up_try" = first ] || break
        if [ -n "$set_up_found" ]; then
            _install_packages "$set_up_found cannot make virtual environments" python3-venv
        else
            _install_packages "there is no Python >= 3.11 here" python3 python3-venv
        fi
    done
    _fail "no Python >= 3.11 with the venv module: install one, as python3 or python3.11, and say it again"
}

# install_bubblewrap: what keeps researchers in their sandboxes.
install_bubblewrap() {
    _install_packages "bubblewrap (bwrap) is missing, and no study runs without a sandbox" bubblewrap
    command -v bwrap >/dev/null || _fail "bubblewrap is installed, but there is still no bwrap on PATH"
}

# install_for_tests DEEP: what tests/interop (and, when DEEP is yes, the kills by strace) need from Debian. No
# check fails for want of it: as root with apt it is installed, elsewhere the tests say why they were skipped.
install_for_tests() {
    set_up_wanted=
    [ -d /usr/share/gocode/src/golang.org/x/mod/sumdb ] || set_up_wanted=golang-golang-x-mod-dev
    [ "$1" = no ] || command -v strace >/dev/null || set_up_wanted="$set_up_wanted strace"
    [ -n "$set_up_wanted" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2086
    (_install_packages "tests compare this with programs of others" $set_up_wanted) || :
}

# _install_packages REASON PACKAGE...: as root with apt installs them; otherwise says what to type, and exits 3.
_install_packages() {
    set_up_reason=$1
    shift
    if ! command -v apt-get >/dev/null; then
        say "aar: $set_up_reason; install it with this system's package manager: $*"
        exit 3
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "aar: $set_up_reason; type: sudo apt-get install -y $*"
        exit 3
    fi
    say "aar: $set_up_reason; installing $* with apt-get"
    # The lists of packages may be missing (a fresh image) or stale: then they are fetched first.
    _apt_get install "$@" || { _apt_get update && _apt_get install "$@"; } ||
        { say "aar: apt-get could not install $*; see above"; exit 3; }
}

_apt_get() {
    set_up_verb=$1
    shift
    DEBIAN_FRONTEND=noninteractive apt-get "$set_up_verb" -qq -y --no-install-recommends "$@" >&2 9>&-
}

_fail() {
    say "aar: $*"
    exit 3
}
