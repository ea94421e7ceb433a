# Thin: each line is a command a person could type.

PYTHON ?= python3
RUNTIME = target/runtime

.PHONY: runtime

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
