#!/bin/sh
# Mounts the root, once: what fails after all the patience of pullet is left to dracut's emergency.

# shellcheck source=/dev/null
command -v getarg >/dev/null || . /lib/dracut-lib.sh

if [ "${root-}" = pullet ] || { [ -z "${root-}" ] && getarg pullet.image= >/dev/null; }; then
    if ! ismounted "${NEWROOT:?}"; then
        pullet boot --progress plain "$NEWROOT" >/dev/null || die "pullet boot: exit code $?: no root"
    fi
fi
