# `make` builds ./dipc, ./dipcrm and ./dipc-cli here; `make check` does what CI does; `make man` writes the man pages and
# `make completions` those of the shells, both from the definitions of the command lines, into target/.

# Where cargo puts what it builds: some keep that in one place for all projects.
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: all check man completions clean

all:
	cargo build --release
	cp $(TARGET)/release/dipc $(TARGET)/release/dipcrm $(TARGET)/release/dipc-cli .

check:
	.ci/run

man:
	cargo run --bin dipc-cli -- manual target/man

completions:
	mkdir -p target/completions
	for shell in bash zsh fish; do \
	    cargo run --bin dipc-cli -- completions $$shell > target/completions/dipc-cli.$$shell || exit 1; \
	done

clean:
	cargo clean
	rm -f dipc dipcrm dipc-cli
