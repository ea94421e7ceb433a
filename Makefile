# Thin: each line is a command a person could type.

export PYTHON ?= python3
RUNTIME = target/runtime
CLIENTS = target/clients
LOADERS = target/loaders
DIST = target/dist
NAME = vila2-$(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)-x86_64-linux
MATURIN = target/maturin

# Python packages with pinned versions and hashes into a folder of their own, anew.
define packages
	rm -rf $(@D)
	$(PYTHON) -m pip --disable-pip-version-check install -q --no-deps --require-hashes \
	  --only-binary :all: --target $(@D) -r $<
	touch $@
endef

.PHONY: demo test lint bench kafka chaos soak dist wheel licences runtime clients loaders

# The whole path on this machine; leaves target/demo/.
demo: runtime
	cargo run --release -- demo

# Everything, Apache Kafka included (needs JDK 17 and Maven).
test: runtime clients loaders
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

# target/dist/vila2-VERSION-x86_64-linux.tar.gz: everything `vila2 caption` needs, in one folder.
dist: runtime licences
	cargo build --profile dist --locked --bin vila2
	rm -rf $(DIST)/$(NAME)
	install -d $(DIST)/$(NAME)/models $(DIST)/$(NAME)/licences
	install $(DIST)/vila2 $(DIST)/$(NAME)/
	install -m 644 README.md LICENSE config/default.toml $(RUNTIME)/onnxruntime/capi/libonnxruntime.so.* $(DIST)/$(NAME)/
	cp -R models/scenes $(DIST)/$(NAME)/models/
	install -D -m 644 -t $(DIST)/$(NAME)/rapidocr_onnxruntime/models $(RUNTIME)/rapidocr_onnxruntime/models/*.onnx
	install -m 644 $(DIST)/licences/* $(DIST)/$(NAME)/licences/
	tar --sort=name --owner=0 --group=0 --numeric-owner -C $(DIST) -czf $(DIST)/$(NAME).tar.gz $(NAME)

# target/dist/vila2-VERSION-py3-none-PLATFORM.whl: the same by pip; the platform is what the program needs of glibc.
wheel: runtime licences $(MATURIN)/.complete
	rm -rf $(DIST)/data
	install -d $(DIST)/data/data/share/vila2/models
	install -m 644 LICENSE config/default.toml $(DIST)/data/data/share/vila2/
	cp -R models/scenes $(DIST)/data/data/share/vila2/models/
	install -D -m 644 -t $(DIST)/data/data/share/vila2/licences $(DIST)/licences/vila2.txt
	cd deploy && ../$(MATURIN)/bin/maturin build --locked --auditwheel check --out ../$(DIST)

# The licences of what travels along: linked into the program, ONNX Runtime, PP-OCR.
licences: runtime
	install -d $(DIST)/licences
	$(PYTHON) deploy/licences.py > $(DIST)/licences/vila2.txt
	install -m 644 $(RUNTIME)/onnxruntime/LICENSE $(DIST)/licences/onnxruntime.txt
	install -m 644 $(RUNTIME)/onnxruntime/ThirdPartyNotices.txt $(DIST)/licences/onnxruntime-third-party.txt
	install -m 644 LICENSE $(DIST)/licences/rapidocr_onnxruntime-Apache-2.0.txt

$(MATURIN)/.complete: deploy/maturin-requirements.txt
	$(packages)

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

# The Kafka client in Python that tests/python_client.rs runs.
clients: $(CLIENTS)/.complete

$(CLIENTS)/.complete: tests/clients/requirements.txt
	$(packages)

# webdataset and datasets, by which tests/loaders.rs reads exports.
loaders: $(LOADERS)/.complete

$(LOADERS)/.complete: tests/loaders/requirements.txt
	$(packages)
