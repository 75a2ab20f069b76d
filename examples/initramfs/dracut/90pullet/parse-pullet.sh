#!/bin/sh
# Handles the root if the kernel command line has pullet.image= and either root=pullet or no root=. An initramfs with
# systemd needs the second form, because systemd takes any root= for a device to mount.

# shellcheck source=/dev/null
command -v getarg >/dev/null || . /lib/dracut-lib.sh

if getarg pullet.image= >/dev/null; then
    case "$(getarg root=)" in
    '' | pullet)
        # shellcheck disable=SC2034 # dracut reads them
        root=pullet rootok=1
        # Without a network root that it knows, dracut brings up the network only with rd.neednet=1.
        if getarg ip= >/dev/null; then
            mkdir -p /etc/cmdline.d
            echo rd.neednet=1 >/etc/cmdline.d/90-pullet.conf
        fi
        ;;
    esac
fi
