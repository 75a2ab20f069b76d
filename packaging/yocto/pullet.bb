SUMMARY = "docker pull for small machines"
DESCRIPTION = "pullet downloads container images and unpacks them into root filesystems, without a daemon."
HOMEPAGE = "@HOMEPAGE@"
BUGTRACKER = "@HOMEPAGE@/issues"
SECTION = "console/utils"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = " \
    file://LICENSE-MIT;md5=@MIT_MD5@ \
    file://LICENSE-APACHE;md5=@APACHE_MD5@ \
"

SRC_URI = "@HOMEPAGE@/releases/download/v${PV}/pullet-${PV}.tar.gz"
SRC_URI[sha256sum] = "@SHA256@"

require ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates

# For machines that boot from a registry: the module of dracut.
do_install:append() {
    install -d ${D}${nonarch_libdir}/dracut/modules.d/90pullet
    install -m 0755 ${S}/examples/initramfs/dracut/90pullet/*.sh ${D}${nonarch_libdir}/dracut/modules.d/90pullet/
}

PACKAGES =+ "${PN}-dracut"
SUMMARY:${PN}-dracut = "module of dracut that boots from a registry with pullet"
FILES:${PN}-dracut = "${nonarch_libdir}/dracut"
RDEPENDS:${PN}-dracut = "${PN} dracut"
