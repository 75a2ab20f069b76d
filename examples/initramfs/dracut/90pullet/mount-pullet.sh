#!/bin/sh
# Mounts the root. pullet retries by itself; if it fails, dracut opens its emergency shell.

# shellcheck source=/dev/null
command -v getarg >/dev/null || . /lib/dracut-lib.sh

if [ "${root-}" = pullet ] || { [ -z "${root-}" ] && getarg pullet.image= >/dev/null; }; then
    if ! ismounted "${NEWROOT:?}"; then
        pullet boot --progress plain "$NEWROOT" >/dev/null || die "pullet boot: exit code $?: no root"
    fi
fi
