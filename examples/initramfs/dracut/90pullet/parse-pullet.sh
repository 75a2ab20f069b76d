#!/bin/sh
# Claims the root where the kernel command line has pullet.image= and root=pullet, or no root= at all. systemd takes
# any root= for a device to mount: an initramfs with systemd in it wants the second.

# shellcheck source=/dev/null
command -v getarg >/dev/null || . /lib/dracut-lib.sh

if getarg pullet.image= >/dev/null; then
    case "$(getarg root=)" in
    '' | pullet)
        # shellcheck disable=SC2034 # dracut's
        root=pullet rootok=1
        # Without a root of its own kind, dracut brings the network up only where it is asked to.
        if getarg ip= >/dev/null; then
            mkdir -p /etc/cmdline.d
            echo rd.neednet=1 >/etc/cmdline.d/90-pullet.conf
        fi
        ;;
    esac
fi
