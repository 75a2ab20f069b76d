################################################################################
#
# pullet
#
################################################################################

# Buildroot packs the archive together with its crates and checks the sum of the
# result, which depends on Buildroot's version, so there is no pullet.hash here.
PULLET_VERSION = @VERSION@
PULLET_SITE = @HOMEPAGE@/releases/download/v$(PULLET_VERSION)
PULLET_SOURCE = pullet-$(PULLET_VERSION).tar.gz
PULLET_LICENSE = MIT or Apache-2.0
PULLET_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

$(eval $(cargo-package))
