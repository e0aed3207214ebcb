# `make` builds ./dipc and ./dipcrm here; `make check` does what CI does.

.PHONY: all check clean

all:
	cargo build --release
	cp target/release/dipc target/release/dipcrm .

check:
	.ci/run

clean:
	cargo clean
	rm -f dipc dipcrm
