# SPDX-License-Identifier: GPL-2.0-only
# The HSL stack. `make help` says what there is.

KERNEL ?= default
DEVICES ?= 1
DEMO_FILE ?=
SECONDS ?= 600
SEED ?=
BASE ?=
# Of shared virtual addressing: iommu, hmm or, when empty, the first that works.
PROVIDER ?=
provider := $(if $(PROVIDER),HSL_SVA=$(PROVIDER) )
export DEMO_FILE

# The step of scripts/setup that brings each kernel.
step-default := kernel
step-debug := kernel-debug
step-stock := stock

.PHONY: help demo check check-style coverage docs bench soak vm shell ready setup modules lib tools examples tests install deb clean distclean check-args
.DEFAULT_GOAL := help

help:
	@echo 'make demo                 set up, boot a guest and run the main job on a real file (DEMO_FILE=);'
	@echo '                          PROVIDER=iommu|hmm of shared addresses, KERNEL=default|debug|stock (6.12 of Debian)'
	@echo 'make check                set up and run every test; results also as JUnit XML, build/check/junit.xml'
	@echo 'make check-style          the checks of style alone: checkpatch, sparse, coccicheck, ... (no guest)'
	@echo 'make coverage             which lines of the module and of the device the tests run, build/coverage/index.html;'
	@echo '                          it takes longer than make check needs for the same tests, and fails below 85 %'
	@echo 'make docs                 the documentation as HTML, build/docs/index.html'
	@echo 'make bench                measure, print a table, write build/bench.json and a page with charts,'
	@echo '                          build/bench.html; BASE=FILE, the bench.json of an earlier run, to compare with'
	@echo 'make soak SECONDS=N       processes change their memory at random while the device works on it, under'
	@echo '                          memory pressure (SEED= of an earlier run, KERNEL=, PROVIDER=)'
	@echo 'make shell                a shell in the guest (KERNEL=, DEVICES=N, PROVIDER= for libhsl there)'
	@echo 'make vm CMD="..."         run a command in the guest, likewise; scripts/vm --help has all options'
	@echo 'make setup                packages, QEMU with the device, guest kernel (cached outside the tree)'
	@echo 'make modules              hsl.ko for the guest kernel (KERNEL=); with KDIR= for any whose headers are there'
	@echo 'make lib tools tests      the library, the programs, the test programs; examples: programs to start from'
	@echo '                          (make -C tests install INSTALL_PATH=DIR installs the tests, as in a kernel tree)'
	@echo 'make install              library, hslctl, source of the module for DKMS, udev rules, modprobe.d (PREFIX=/usr/local, DESTDIR=)'
	@echo 'make deb                  all of that as Debian packages, build/deb/; also QEMU, when it was set up'
	@echo 'make clean                remove what was built from this tree'
	@echo 'make distclean            remove build/ as well'
	@echo
	@echo 'HSL_DIST_DIR=DIR  folder with source archives    QEMU_SRC=, KERNEL_SRC=  your own source trees'

setup: check-args
	@scripts/setup deps qemu $(step-$(KERNEL))

# Before anything is built: a mistake here should not take a set-up to be told.
check-args:
	@case '$(KERNEL)' in default|debug|stock) ;; *) echo "KERNEL is 'default', 'debug' or 'stock'" >&2; exit 2;; esac
	@case '$(PROVIDER)' in ''|iommu|hmm) ;; *) echo "PROVIDER is 'iommu' or 'hmm'" >&2; exit 2;; esac
	@case '$(PROVIDER),$(KERNEL)' in iommu,stock) \
		echo "PROVIDER=iommu does not exist with KERNEL=stock: Linux 6.12 refuses iommu_sva_bind_device() on x86;" \
		     "use PROVIDER=hmm or KERNEL=default" >&2; exit 2;; esac
	@case '$(SECONDS)' in ''|0*|*[!0-9]*) echo "SECONDS is a number, 1 or more" >&2; exit 2;; esac
	@case '$(SEED)' in *[!0-9]*) echo "SEED is a number, as an earlier run printed it" >&2; exit 2;; esac
	@test -z "$$DEMO_FILE" || test -f "$$DEMO_FILE" || { echo "DEMO_FILE=$$DEMO_FILE is not a file" >&2; exit 2; }

ifneq ($(KDIR),)
modules:
	@test -f '$(KDIR)/Makefile' || { echo "KDIR=$(KDIR) has no kernel headers: no Makefile there" >&2; exit 2; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) W=1 modules
else
modules:
	@scripts/setup modules $(KERNEL)
endif

lib:
	@$(MAKE) -s -C userlib

tools: lib
	@$(MAKE) -s -C tools

examples: lib
	@$(MAKE) -s -C examples

tests: lib
	@scripts/check --build-only

# make -C userlib install and make -C tools install do their parts alone.
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
SYSCONFDIR ?= /etc
version = $(shell sed -n 's/^VERSION := //p' userlib/Makefile)
module = $(DESTDIR)$(PREFIX)/src/hsl-$(version)

# A modprobe.d/hsl.conf that somebody has changed stays.
install:
	@$(MAKE) -s -C userlib install PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' DESTDIR='$(DESTDIR)'
	@$(MAKE) -s -C tools install PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)'
	install -d $(DESTDIR)$(PREFIX)/lib/udev/rules.d $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(SYSCONFDIR)/modprobe.d
	install -m 644 packaging/udev/60-hsl.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d
	install -m 644 packaging/sysusers.d/hsl.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d
	[ -e $(DESTDIR)$(SYSCONFDIR)/modprobe.d/hsl.conf ] || \
		install -m 644 packaging/modprobe.d/hsl.conf $(DESTDIR)$(SYSCONFDIR)/modprobe.d
	rm -rf $(module)
	set -e; for f in Kbuild kernel/Kbuild $(filter-out %.mod.c,$(wildcard kernel/*.[ch] kernel/include/uapi/linux/*.h)); do \
		install -D -m 644 $$f $(module)/$$f; done
	sed 's/@VERSION@/$(version)/' packaging/dkms/dkms.conf.in > $(module)/dkms.conf

deb:
	@scripts/deb

# What a guest needs; a moment when it is there already.
ready: setup
	@scripts/setup modules $(KERNEL)

demo: check-args ready
	@$(MAKE) -s tools
	@$(provider)scripts/demo $(KERNEL)

# The test programs need the kernel's harness, which comes with the default kernel's source.
soak: check-args ready
	@scripts/setup kernel
	@$(MAKE) -s tests
	@$(provider)scripts/soak --kernel $(KERNEL) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

check:
	@scripts/check --junit build/check/junit.xml

# sparse looks at the module as the default kernel builds it.
check-style:
	@scripts/setup deps sources kernel
	@scripts/check-style

coverage:
	@$(MAKE) -s ready tools tests KERNEL=default KDIR=
	@scripts/coverage

docs:
	@scripts/setup deps sources
	@sphinx-build -q -W --keep-going -b html -d build/docs/.doctrees Documentation build/docs
	@echo build/docs/index.html

bench:
	@test -z '$(BASE)' || test -f '$(BASE)' || { echo "BASE=$(BASE) is not a file; it is the bench.json of an earlier run" >&2; exit 2; }
	@$(MAKE) -s ready tools KERNEL=default KDIR=
	@scripts/bench $(if $(BASE),--base '$(BASE)')

# $(value …): what make takes for variables in CMD belongs to the guest's shell.
ifeq ($(value CMD),)
vm:
	@echo "usage: make vm CMD='...' [DEVICES=N] [KERNEL=default|debug|stock] [PROVIDER=iommu|hmm]" >&2; exit 2
else
vm: check-args ready
	@$(provider)scripts/vm --devices $(DEVICES) --kernel $(KERNEL) -- /bin/bash -c '$(subst ','\'',$(value CMD))'
endif

shell: check-args ready
	@$(provider)scripts/vm --devices $(DEVICES) --kernel $(KERNEL) --interactive

clean:
	rm -rf build/userlib build/tools build/examples build/selftests build/tests build/modules build/check build/coverage build/deb build/docs build/kselftest build/vm build/bench.json build/bench.html
	@find kernel \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name 'modules.order' -o -name '.*.cmd' \) -delete
	rm -f Module.symvers modules.order .*.cmd .module-common.o

distclean: clean
	rm -rf build
	@echo "The cache with QEMU and the kernels stays; remove it with: rm -rf $${XDG_CACHE_HOME:-~/.cache}/hsl"
