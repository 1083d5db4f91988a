# salesops: build, install, test, demo. `make help` lists what there is.
#
# The control file is the one source of the version. The install script is sql/NN_*.sql joined in the order of their
# numbers. Kernels (every src/*/*.c but *_pg.c, *_module.c and src/core) also go into a static library that the unit
# tests, fuzzers and micro-benchmarks link without a server.

PG_CONFIG ?= pg_config
EXTENSION = salesops
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" salesops.control)
BUILT_SCRIPT = salesops--$(EXTVERSION).sql
SQL_PARTS := $(sort $(wildcard sql/[0-9]*.sql))

MODULE_big = salesops
SRCS := src/salesops.c $(sort $(filter-out %_module.c,$(wildcard src/*/*.c)))
OBJS = $(SRCS:.c=.o)
KERNEL_SRCS := $(filter-out src/salesops.c src/core/% %_pg.c,$(SRCS))

# C++ and large libraries live in modules of their own, loaded on first use only
MODULE_LIBS := $(if $(wildcard src/text/phone_module.cpp),salesops_phone.so) \
	$(if $(wildcard src/learn/xgboost_module.c),salesops_xgboost.so)

DATA = $(wildcard sql/upgrades/*.sql)
DATA_built = $(BUILT_SCRIPT)

WARNINGS = -Wall -Wextra -Wmissing-prototypes -Wno-unused-parameter -Wno-missing-field-initializers -Werror
# the server's headers count as system headers: our warnings are for our code
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS = $(WARNINGS) -MMD -MP $(COPT)
PG_CXXFLAGS = -Wall -Wextra -Wno-unused-parameter -Werror -MMD -MP
# 15 has no visibility macros that do, so the linker hides what is not ours to show
EXPORTS = -Wl,--version-script=src/exports.map
SHLIB_LINK = $(EXPORTS) $(shell pkg-config --libs icu-i18n icu-uc libpsl)

# Bitcode for the JIT doubles the build time; `make WITH_LLVM=1` builds it.
ifndef WITH_LLVM
override with_llvm := no
endif

REGRESS = $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --dbname=salesops_regression
ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --dbname=salesops_isolation
EXTRA_CLEAN = build $(MODULE_LIBS) $(wildcard src/*/*.o src/*/*.d src/*.d) salesops--*.sql

# Goals that need nothing of PostgreSQL yet: they must work before its packages are there.
EARLY_GOALS = deps demo demo-clean demo-run test matrix help bench-deps
ifneq ($(filter-out $(EARLY_GOALS),$(or $(MAKECMDGOALS),all)),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

-include $(OBJS:.o=.d) src/text/phone_module.d src/learn/xgboost_module.d

all: $(MODULE_LIBS)

$(BUILT_SCRIPT): $(SQL_PARTS) salesops.control
	{ printf '%s\n' '\echo Use "CREATE EXTENSION salesops" to load this file. \quit'; \
	  for part in $(SQL_PARTS); do echo; echo "-- $$part"; grep -v '^\\echo' "$$part"; done; } > $@.new
	mv $@.new $@

salesops_phone.so: src/text/phone_module.o
	$(CXX) $(CXXFLAGS) -shared -o $@ $< $(LDFLAGS) $(LDFLAGS_SL) $(EXPORTS) -lphonenumber

salesops_xgboost.so: src/learn/xgboost_module.o
	$(CC) $(CFLAGS) -shared -o $@ $< $(LDFLAGS) $(LDFLAGS_SL) $(EXPORTS) -lxgboost

install: install-modules
.PHONY: install-modules
install-modules: $(MODULE_LIBS)
	$(MKDIR_P) '$(DESTDIR)$(pkglibdir)'
	$(if $(strip $(MODULE_LIBS)),$(INSTALL_SHLIB) $(MODULE_LIBS) '$(DESTDIR)$(pkglibdir)/')

uninstall: uninstall-modules
.PHONY: uninstall-modules
uninstall-modules:
	rm -f $(addprefix '$(DESTDIR)$(pkglibdir)'/,salesops_phone.so salesops_xgboost.so)
endif

# An installed tree below build/dest, for clusters that load the extension without touching the system
.PHONY: dest
dest: all
	rm -rf build/dest && mkdir -p build
	$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/build/dest >build/dest.log 2>&1 || \
	  $(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/build/dest

# ---- kernels without a server -------------------------------------------------------------------------------------
KERNEL_CFLAGS ?= -O2 -g
KERNEL_FLAGS = -std=gnu11 -Isrc -Itest/unit $(WARNINGS) $(KERNEL_CFLAGS) -MMD -MP
KERNEL_BUILD ?= build/kernels
KERNEL_OBJS = $(KERNEL_SRCS:src/%.c=$(KERNEL_BUILD)/%.o)
UNIT_TESTS = $(patsubst test/unit/%.c,$(KERNEL_BUILD)/unit/%,$(wildcard test/unit/*_test.c))

$(KERNEL_BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(KERNEL_FLAGS) -c $< -o $@

$(KERNEL_BUILD)/libkernels.a: $(KERNEL_OBJS)
	@mkdir -p $(@D)
	rm -f $@ && ar rcs $@ $(KERNEL_OBJS)

$(KERNEL_BUILD)/unit/%: test/unit/%.c $(KERNEL_BUILD)/libkernels.a
	@mkdir -p $(@D)
	$(CC) $(KERNEL_FLAGS) $< $(KERNEL_BUILD)/libkernels.a -lm -o $@

-include $(KERNEL_OBJS:.o=.d) $(UNIT_TESTS:=.d)

.PHONY: unit
unit: $(UNIT_TESTS)

# ---- what a person calls ------------------------------------------------------------------------------------------
.PHONY: help deps bench-deps demo demo-clean test lint sanitize fuzz bench matrix
help:
	@sed -n 's/^#help //p' Makefile
#help make            build                       make test      every test, on a private throw-away cluster
#help make install    into the server's folders   make demo      a CRM, the whole job, a report (DATA=dir: your own CSV files)
#help make deps       Debian packages it needs    make demo-clean remove the demo's cluster
#help make lint       format, scripts, catalog    make bench     ratios against named peers
#help make sanitize   unit tests under ASan/UBSan make fuzz      a short run of every fuzz target (SECONDS=30)
#help make matrix     make test in pristine Debian 12 and 13

deps:
	@tools/deps
bench-deps:
	@tools/deps bench
test: deps
	@test/harness/run
# DATA is pgxs's name too, for what install copies: only what the caller gives is the demo's (its name may have blanks), and the make that
# demo/run calls must not inherit it
demo: deps
	@env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES demo/run '$(if $(filter command environment,$(origin DATA)),$(subst ','\'',$(DATA)))'
demo-clean:
	@demo/clean
lint:
	@tools/deps lint
	@mkdir -p build && tools/lint
sanitize:
	@tools/sanitize
fuzz:
	@tools/fuzz
bench: bench-deps
	@test/bench/run $(BENCH)
matrix:
	@tools/matrix
