# make                builds ./dipc, ./dipcrm and ./dipc-cli
# make check          runs the checks of CI: formatting, lints, documentation, tests
# make deny           checks the dependencies with cargo-deny: bans, licenses, sources, and advisories
# make mutations      checks that the tests find the mistakes of tests/mutations; about ten minutes
# make mutants        runs cargo-mutants on the files of .cargo/mutants.toml, or on FILE=src/..; all of them take hours
# make man            builds dipc-cli, which writes the man pages into target/man
# make completions    builds dipc-cli, which writes the completions for bash, zsh and fish into target/completions
# make install        installs programs, man pages and completions under $(DESTDIR)$(PREFIX); needs `make` before
# make uninstall      removes the files that `make install` has installed
# make clean          removes everything that was built

# The directory of cargo's output. CARGO_TARGET_DIR moves it.
TARGET = $(or $(CARGO_TARGET_DIR),target)

PREFIX = /usr/local
DESTDIR =
# The directory of the programs to install.
PROGRAMS = .

BIN = $(DESTDIR)$(PREFIX)/bin
MAN = $(DESTDIR)$(PREFIX)/share/man
BASH_COMPLETIONS = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_COMPLETIONS = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH_COMPLETIONS = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

.PHONY: all check deny mutations mutants man completions install uninstall clean

all:
	cargo build --release
	cp $(TARGET)/release/dipc $(TARGET)/release/dipcrm $(TARGET)/release/dipc-cli .

check:
	.ci/run

# Without a network the advisory database cannot be fetched. The other checks need only the crates themselves.
deny:
	cargo deny --version || cargo install --locked cargo-deny
	cargo deny --workspace --all-features check bans licenses sources
	@if cargo deny fetch db; then \
	    cargo deny --workspace --all-features check --disable-fetch advisories; \
	else \
	    echo "make deny: advisories were NOT checked: the advisory database cannot be fetched" >&2; \
	fi

mutations:
	tests/mutations/run

mutants:
	cargo mutants --jobs 1 --output $(TARGET) $(if $(FILE),--re '^$(FILE)')

# dipc-cli of `make` writes the pages and completions: a debug build would compile everything a second time.
man: all
	./dipc-cli manual target/man

completions: all
	mkdir -p target/completions
	for shell in bash zsh fish; do \
	    for program in dipc dipcrm dipc-cli; do \
	        ./dipc-cli completions $$shell $$program > target/completions/$$program.$$shell || exit 1; \
	    done; \
	done

# Runs without cargo, so that it works as root. dipc-cli itself writes the pages and completions.
install:
	@for program in dipc dipcrm dipc-cli; do \
	    test -x "$(PROGRAMS)/$$program" && continue; \
	    echo "make install: $(PROGRAMS)/$$program is missing, run make first" >&2; exit 1; \
	done
	install -d "$(BIN)" "$(MAN)/man1" "$(MAN)/man7" "$(MAN)/man8"
	install -d "$(BASH_COMPLETIONS)" "$(ZSH_COMPLETIONS)" "$(FISH_COMPLETIONS)"
	install -m 755 "$(PROGRAMS)/dipc" "$(PROGRAMS)/dipcrm" "$(PROGRAMS)/dipc-cli" "$(BIN)"
	pages=$$(mktemp -d) && trap 'rm -r "$$pages"' EXIT && "$(PROGRAMS)/dipc-cli" manual "$$pages" && \
	    for section in 1 7 8; do \
	        install -m 644 "$$pages"/*.$$section "$(MAN)/man$$section" || exit 1; \
	    done
	umask 022 && for program in dipc dipcrm dipc-cli; do \
	    "$(PROGRAMS)/dipc-cli" completions bash $$program > "$(BASH_COMPLETIONS)/$$program" && \
	    "$(PROGRAMS)/dipc-cli" completions zsh $$program > "$(ZSH_COMPLETIONS)/_$$program" && \
	    "$(PROGRAMS)/dipc-cli" completions fish $$program > "$(FISH_COMPLETIONS)/$$program.fish" || exit 1; \
	done

uninstall:
	rm -f "$(BIN)/dipc" "$(BIN)/dipcrm" "$(BIN)/dipc-cli"
	rm -f "$(MAN)/man1"/dipc-cli.1 "$(MAN)/man1"/dipc-cli-*.1 "$(MAN)/man7/dipc-protocol.7"
	rm -f "$(MAN)/man8/dipc.8" "$(MAN)/man8/dipcrm.8"
	for program in dipc dipcrm dipc-cli; do \
	    rm -f "$(BASH_COMPLETIONS)/$$program" "$(ZSH_COMPLETIONS)/_$$program" "$(FISH_COMPLETIONS)/$$program.fish"; \
	done

clean:
	cargo clean
	rm -f dipc dipcrm dipc-cli
