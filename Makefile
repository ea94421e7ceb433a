# Thin: each line is a command a person could type.

export PYTHON ?= python3
RUNTIME = target/runtime
CLIENTS = target/clients

.PHONY: demo test lint bench kafka chaos soak runtime clients

# The whole path on this machine; leaves target/demo/.
demo: runtime
	cargo run --release -- demo

# Everything, Apache Kafka included (needs JDK 17 and Maven).
test: runtime clients
	cargo test --release --workspace

lint:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings

bench: runtime
	cargo bench --bench efficiency

# Only what is tested against Kafka: the broker in the process, and Apache Kafka.
kafka: runtime clients
	cargo test --release --test kafka_embedded --test kafka_apache --test kafka_faults \
	  --test kafka_secure --test full_path --test python_client

# Two engines killed again and again, the broker too; one table. Options: CHAOS="--seed 2 --kills 50".
chaos: runtime
	cargo bench --profile release --bench chaos -- $(CHAOS)

# An hour under load with a fifth of bad URLs; memory, files and threads. SOAK="--minutes 5" for less.
soak: runtime
	cargo bench --profile release --bench soak -- $(SOAK)

# ONNX Runtime and PP-OCR, by pip, with pinned versions and hashes.
runtime: $(RUNTIME)/.complete

$(RUNTIME)/.complete: config/runtime-requirements.txt
	mkdir -p $(RUNTIME)/wheels
	$(PYTHON) -m pip --disable-pip-version-check download --no-deps --require-hashes \
	  --only-binary :all: --python-version 3.11 --implementation cp --abi cp311 --abi none \
	  --platform manylinux_2_28_x86_64 --platform any \
	  -d $(RUNTIME)/wheels -r config/runtime-requirements.txt
	for wheel in $(RUNTIME)/wheels/*.whl; do $(PYTHON) -m zipfile -e $$wheel $(RUNTIME) || exit 1; done
	touch $@

# The Kafka client in Python that tests/python_client.rs runs, with pinned versions and hashes.
clients: $(CLIENTS)/.complete

$(CLIENTS)/.complete: tests/clients/requirements.txt
	rm -rf $(CLIENTS)
	$(PYTHON) -m pip --disable-pip-version-check install -q --no-deps --require-hashes \
	  --only-binary :all: --target $(CLIENTS) -r tests/clients/requirements.txt
	touch $@
