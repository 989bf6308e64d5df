# SPDX-License-Identifier: GPL-2.0-only
# The HSL stack. `make help` says what there is.

KERNEL ?= default
DEVICES ?= 1
DEMO_FILE ?=
export DEMO_FILE

.PHONY: help demo check bench vm shell ready setup modules lib tools tests clean distclean check-args
.DEFAULT_GOAL := help

help:
	@echo 'make demo                 set up, boot a guest and run the main job on a real file (DEMO_FILE=)'
	@echo 'make check                set up and run every test'
	@echo 'make bench                measure, print a table, write build/bench.json'
	@echo 'make shell                a shell in the guest (KERNEL=default|debug, DEVICES=N)'
	@echo 'make vm CMD="..."         run a command in the guest, likewise; scripts/vm --help has all options'
	@echo 'make setup                packages, QEMU with the device, guest kernel (cached outside the tree)'
	@echo 'make modules              hsl.ko for the guest kernel; with KDIR= for any kernel whose headers are there'
	@echo '                          (scripts/setup headers-6.12 brings those of a stock one: KDIR=build/headers-6.12)'
	@echo 'make lib tools tests      the library, the programs, the test programs'
	@echo '                          (make -C userlib install PREFIX=/usr/local installs the library)'
	@echo 'make clean                remove what was built from this tree'
	@echo 'make distclean            remove build/ as well'
	@echo
	@echo 'HSL_DIST_DIR=DIR  folder with source archives    QEMU_SRC=, KERNEL_SRC=  your own source trees'

setup:
	@scripts/setup deps qemu kernel

# Before anything is built: a mistake here should not take a set-up to be told.
check-args:
	@case '$(KERNEL)' in default|debug) ;; *) echo "KERNEL is 'default' or 'debug'" >&2; exit 2;; esac
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

tests: lib
	@scripts/check --build-only

# What a guest needs; a moment when it is there already.
ready: setup
	@scripts/setup modules $(KERNEL)

demo: check-args setup
	@$(MAKE) -s modules tools KERNEL=default KDIR=
	@scripts/demo

check:
	@scripts/check

bench: setup
	@$(MAKE) -s modules tools KERNEL=default KDIR=
	@scripts/bench

# $(value …): what make takes for variables in CMD belongs to the guest's shell.
ifeq ($(value CMD),)
vm:
	@echo "usage: make vm CMD='...' [DEVICES=N] [KERNEL=default|debug]" >&2; exit 2
else
vm: check-args ready
	@scripts/vm --devices $(DEVICES) --kernel $(KERNEL) -- /bin/bash -c '$(subst ','\'',$(value CMD))'
endif

shell: check-args ready
	@scripts/vm --devices $(DEVICES) --kernel $(KERNEL) --interactive

clean:
	rm -rf build/userlib build/tools build/selftests build/tests build/modules build/check build/vm build/bench.json
	@find kernel \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name 'modules.order' -o -name '.*.cmd' \) -delete
	rm -f Module.symvers modules.order .*.cmd .module-common.o

distclean: clean
	rm -rf build
	@echo "The cache with QEMU and the kernels stays; remove it with: rm -rf $${XDG_CACHE_HOME:-~/.cache}/hsl"
