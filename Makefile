# SPDX-License-Identifier: GPL-2.0-only
# The HSL stack. `make help` says what there is.

KERNEL ?= default
DEVICES ?= 1
DEMO_FILE ?=
export DEMO_FILE

.PHONY: help demo check bench vm shell ready setup modules lib tools tests clean distclean
.DEFAULT_GOAL := help

help:
	@echo 'make demo                 set up, boot a guest and run the main job on a real file (DEMO_FILE=)'
	@echo 'make check                set up and run every test'
	@echo 'make bench                measure, print a table, write build/bench.json'
	@echo 'make shell                a shell in the guest (KERNEL=default|debug, DEVICES=N)'
	@echo 'make vm CMD="..."         run a command in the guest; scripts/vm --help has all options'
	@echo 'make setup                packages, QEMU with the device, guest kernel (cached outside the tree)'
	@echo 'make modules              hsl.ko for the guest kernel; with KDIR= for any kernel'
	@echo 'make lib tools tests      the library, the programs, the test programs'
	@echo 'make clean                remove what was built from this tree'
	@echo 'make distclean            remove build/ as well'
	@echo
	@echo 'HSL_DIST_DIR=DIR  folder with source archives    QEMU_SRC=, KERNEL_SRC=  your own source trees'

setup:
	@scripts/setup deps qemu kernel

ifneq ($(KDIR),)
modules:
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

demo: setup
	@$(MAKE) -s modules tools KERNEL=default KDIR=
	@scripts/demo

check:
	@scripts/check

bench: setup
	@$(MAKE) -s modules tools KERNEL=default KDIR=
	@scripts/bench

vm: ready
	@test -n '$(subst ','\'',$(CMD))' || { echo "usage: make vm CMD='...' [DEVICES=N] [KERNEL=default|debug]" >&2; exit 2; }
	@scripts/vm --devices $(DEVICES) --kernel $(KERNEL) -- /bin/bash -c '$(subst ','\'',$(CMD))'

shell: ready
	@scripts/vm --devices $(DEVICES) --kernel $(KERNEL) --interactive

clean:
	rm -rf build/userlib build/tools build/selftests build/tests build/modules build/check build/vm build/bench.json
	@find kernel \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '.*.cmd' \) -delete
	rm -f Module.symvers modules.order .*.cmd .module-common.o

distclean: clean
	rm -rf build
	@echo "The cache with QEMU and the kernels stays; remove it with: rm -rf $${XDG_CACHE_HOME:-~/.cache}/hsl"
