# make test needs Go and, once, the network. CI runs it and, where PyPI answers, interop and engine.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
CYCLONEDX   = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
BENCHSTAT   = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
FUZZTIME   ?= 10s

# The Go to build what is given to others with: its library has the known mends. go.mod asks
# for less, so that whoever has a Go of this series need not fetch another one, 70 MB, before
# the first run.
PATCHED_GO  = go1.26.11

# What runs goroutines and processes is tested under the race detector, all else
# without: the models are pure arithmetic and ten times slower with it. Rounds that only
# repeat are few here: unit makes them all.
RACE = ./profiler/... ./protocol/... ./session/... ./hub/... ./store/... ./convert/... ./align/... \
       ./trace/... ./analysis/... ./timeline/... ./report/... ./omni ./omni/worker/... ./omni/wire/... ./omni/deploy/... \
       ./omni/collective/... ./web/... ./driver/... ./agent/... ./cmd/...

# The browser tests' browser; set it where it is not in PATH under one of these names.
CHROMIUM ?= $(firstword $(foreach name,chromium chromium-browser google-chrome google-chrome-stable,$(shell command -v $(name))))

.PHONY: chaos manifests engines engine engine-venv engine-where supply scale screenshots types test lint unit race browser sql multihost build bench fuzz lake interop interop-oldest interop-venv clean

test: lint unit race browser

build:
	CGO_ENABLED=0 go build -o bin/ ./cmd/kinetoscope

lint:
	@files="$$(gofmt -l $$(git ls-files '*.go'))"; test -z "$$files" || { echo "not formatted by gofmt:"; echo "$$files"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

# supply says what is in the program and whether it should be: an SBOM of all modules in
# bin/sbom.cdx.json, their licences, known vulnerabilities of them and of PATCHED_GO's
# library. What the network does not give is skipped, and said; VULNS=-must makes a scan that
# was skipped a failure.
VULNS ?=

supply: build
	@if go run $(CYCLONEDX) bin -json -licenses -version devel -output bin/sbom.cdx.json bin/kinetoscope 2>bin/sbom.log; \
	then go run ./internal/licences bin/sbom.cdx.json; \
	else cat bin/sbom.log; echo "SKIPPED: SBOM and licences: $(CYCLONEDX) cannot be fetched or run"; fi
	@go build -o bin/vulns ./internal/vulns
	@GOTOOLCHAIN=$(PATCHED_GO) bin/vulns $(VULNS) -scanner $(GOVULNCHECK) . sql web/browsertest

# The scripts of the command line are half of cmd's time and run under race, on the same program.
unit:
	go test -timeout 30m $$(go list ./... | grep -v '/cmd/kinetoscope$$')
	go test -timeout 30m -skip '^TestScripts$$' ./cmd/kinetoscope

race:
	go test -timeout 30m -race -short $(RACE)

# browser uses the status page as its reader does, in Chromium where there is one. It is a
# module of its own, and its results are not cached: the program under test is not in it.
browser:
	@if [ -n "$(CHROMIUM)" ]; then cd web/browsertest && go vet ./... && CHROMIUM="$(CHROMIUM)" go test -timeout 30m -count=1 ./...; \
	else echo "browser tests skipped: no Chromium found; install it or set CHROMIUM to its path"; fi

# screenshots makes the pictures of README and docs anew, of sessions that it records: look at each before it is committed.
screenshots:
	cd web/browsertest && CHROMIUM="$(CHROMIUM)" go test -timeout 30m -count=1 -run '^TestScreenshots$$' . -args -docs $(CURDIR)/docs/img

# types has TypeScript check the pages' JavaScript, which is served as it is written. It comes from npm.
TYPESCRIPT = typescript@5.9.3

types:
	@if command -v npx >/dev/null && timeout 120 npx --yes -p $(TYPESCRIPT) tsc --version >/dev/null 2>&1; \
	then npx --yes -p $(TYPESCRIPT) tsc -p web/jsconfig.json; \
	else echo "SKIPPED: types of the pages' JavaScript: npm is not there or does not answer"; fi

# sql builds kinetoscope and kinetoscope-sql into bin, side by side, and asks every question
# of docs/sql.md. DuckDB needs a C compiler and makes it a module of its own.
sql: build
	cd sql && go vet ./... && go build -o ../bin/ ./kinetoscope-sql && go test -count=1 ./...

# multihost runs ranks on four hosts made of network namespaces and cuts a cable. make test
# does so too where it can; here it must: as root, with iproute2. See docs/deploy.md.
multihost:
	KINETOSCOPE_MULTIHOST=1 go test -count=1 -v -run RanksOnOtherHosts ./deploy/multihost

# manifests holds deploy/kubernetes to the types of Kubernetes' API, which come from the module proxy.
manifests:
	@cd deploy/kubernetes/check && if go mod download >/dev/null 2>&1; then go vet . && go test -count=1 .; \
	else echo "SKIPPED: types of Kubernetes' API: the module proxy does not answer"; fi

# bench prints ratios measured in one run. The recorder stands beside runtime/trace, an
# OpenTelemetry span, slog and a locked slice; stepcost is what it costs the stages.
# loadratio answers a question of a trace, load included, beside gzip -dc of its text;
# performance does so for the verbs, and prints the table of docs/performance.md.
bench: build
	go test ./profiler/otelbridge -run '^$$' -bench . -benchtime 200ms -count 5 -cpu 1,2
	go test ./bench/stepcost -run '^$$' -bench . -benchtime 300x
	go test ./omni/model/kernel ./trace/... ./analysis/... ./timeline/... -run '^$$' -bench . -benchmem
	go test ./bench -run '^$$' -bench . -benchmem
	@if [ -n "$(CHROMIUM)" ]; then cd web/browsertest && CHROMIUM="$(CHROMIUM)" go test -run '^$$' -bench . -benchtime 1x; \
	else echo "frames of the timeline skipped: no Chromium found"; fi
	go run ./bench/cmd/loadratio -mb 200
	go run ./bench/cmd/loadratio -mb 50 -unlike
	go run ./bench/cmd/performance

# engines captures a real vLLM on the processor, with one rank and with two, with two replicas and in a pipeline of two
# stages, over HTTP, by the plugin and over Kineto's protocol, kills a worker of it, and has load generators drive sessions;
# a real SGLang with one rank, two and two replicas over HTTP and by the plugin; and both with a Kineto process and a native
# pipeline in one session; a vLLM that Dynamo's own launcher has started. vLLM-Omni's and sglang-omni's own routes and
# profilers are captured over work in place of a model, which would need a card. It needs Python 3.11 and, once, PyPI: some
# 9 GB, kept outside the repository. It starts some fifteen servers, each of which takes minutes to serve.
ENGINES ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kinetoscope/engines

engines: engine-venv
	$(PYTHON) deploy/engines/install.py sglang $(ENGINES) $(ENGINES)-sglang
	for e in vllm-omni sglang-omni dynamo; do \
		$(PYTHON) deploy/engines/install.py $$e $(ENGINES) $(ENGINES)-sglang $(ENGINES)-$$e || exit 1; done
	KINETOSCOPE_ENGINES=$(ENGINES) KINETOSCOPE_SGLANG=$(ENGINES)-sglang \
		go test -count=1 -timeout 120m -run '^TestReal' -v ./cmd/kinetoscope

# engine is the part of engines that CI has time for (.ci/engine): a vLLM of one rank over HTTP, twice in a row. It is
# skipped, and says so, if the server does not serve, or a capture does not end, WITHIN so long.
WITHIN ?= 15m

engine: engine-venv
	KINETOSCOPE_ENGINES=$(ENGINES) KINETOSCOPE_ENGINES_WITHIN=$(WITHIN) \
		go test -count=1 -timeout 40m -run '^TestRealVLLM$$/^tp1$$/^http$$' -v ./cmd/kinetoscope

engine-venv:
	$(PYTHON) deploy/engines/install.py vllm $(ENGINES)

# engine-where says where engine-venv installs.
engine-where:
	@echo $(ENGINES)

# scale tries the control plane with a thousand simulated ranks and prints what they cost;
# docs/scale.md has the figures. It wants a machine that does nothing else.
scale:
	KINETOSCOPE_SCALE=1024 go test ./hub -count=1 -run ManyRanks -v
	KINETOSCOPE_SCALE=256 go test ./cmd/kinetoscope -count=1 -run ManyRanksOfOneJob -v

# chaos breaks the real product in every way at every point of a session, checks what it
# promises, and prints docs/reliability.md: ten minutes. CHAOS="-seed 2 -for 3h" chooses
# other victims, and goes on for hours. As root on Linux it leaves nothing out.
chaos:
	$(if $(wildcard $(VENV)/.ready),KINETOSCOPE_PYTHON=$(VENV)/bin/python) go run ./bench/cmd/chaos -o docs/reliability.md $(CHAOS)

# fuzz gives every fuzz target of the project FUZZTIME. go run ./internal/fuzzkeep keeps some of what it finds in
# testdata/fuzz, which every go test tries.
fuzz:
	@go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | while read -r pkg; do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$pkg || exit 1; \
	  done; done

# interop runs the Python package and pipelines on real torch, on a CUDA card where there
# is one. It needs Python 3.10 or newer and, once, PyPI: some 6 GB for torch and its
# libraries, kept outside the repository.
VENV   ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kinetoscope/venv
PYTHON ?= python3

interop: $(VENV)/.ready
	cd python && $(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy && $(VENV)/bin/python -m pytest
	KINETOSCOPE_PYTHON=$(VENV)/bin/python go test -p 1 -count=1 -timeout 40m -run 'Torch|Ready' -v ./omni ./cmd/kinetoscope ./driver/drivertest

# lake asks a bucket of runs in ClickHouse (chdb), Spark and Trino, as in `kinetoscope sql`. It needs Java for Spark, a newer one
# for Trino, and, once, PyPI and Maven Central: some 3 GB, kept outside the repository. What is not to be had is skipped, and said.
LAKE       ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kinetoscope/lake
LAKE_HAS    = chdb==4.4.0 pyspark==4.3.0 duckdb==2.0.1 pyarrow==26.0.1 polars 'moto[server]==5.2.5' boto3 pytest
TRINO       = 476
TRINO_JAVA ?= $(firstword $(wildcard $(foreach version,25 24,/usr/lib/jvm/temurin-$(version)-jdk-* /usr/lib/jvm/java-$(version)-*)))

lake:
	test -x $(LAKE)/bin/python || $(PYTHON) -m venv $(LAKE)
	for p in $(LAKE_HAS); do $(LAKE)/bin/pip install --quiet $$p || echo "SKIPPED: PyPI does not deliver $$p"; done
	@test -d $(LAKE)/trino-server-$(TRINO) || { mvn -B -q dependency:copy -DoutputDirectory=$(LAKE) \
		-Dartifact=io.trino:trino-server:$(TRINO):tar.gz && tar -xzf $(LAKE)/trino-server-$(TRINO).tar.gz -C $(LAKE) && \
		rm $(LAKE)/trino-server-$(TRINO).tar.gz; } || echo "SKIPPED: Trino: Maven does not deliver its server"
	$(if $(TRINO_JAVA),,@echo "SKIPPED: Trino: no Java 24 or newer; TRINO_JAVA names the home of one")
	cd python && $(if $(TRINO_JAVA),KINETOSCOPE_TRINO_JAVA=$(TRINO_JAVA) \
		KINETOSCOPE_TRINO=$$(ls -d $(LAKE)/trino-server-$(TRINO))) $(LAKE)/bin/python -m pytest --noconftest -rs tests/test_lake.py

# interop-oldest does so with the oldest versions that the package takes, in a virtual
# environment of its own, another 5 GB.
OLDEST = torch==2.6.0 nats-py==2.9.0 transformers==4.48.0 diffusers==0.32.0 openpyxl==3.1.0 pytest numpy

interop-oldest:
	test -x $(VENV)-oldest/bin/python || $(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet $(OLDEST)
	cd python && PYTHONPATH=src $(VENV)-oldest/bin/python -m pytest
	PYTHONPATH=$(CURDIR)/python/src KINETOSCOPE_PYTHON=$(VENV)-oldest/bin/python go test -p 1 -count=1 -timeout 40m -run 'Torch|Ready' ./omni ./cmd/kinetoscope ./driver/drivertest

# interop-venv makes what interop runs in; it fails where PyPI does not deliver.
interop-venv: $(VENV)/.ready

$(VENV)/.ready: python/pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -e './python[transformers,diffusers,workbook,test]' types-openpyxl HolisticTraceAnalysis
	touch $@

clean:
	rm -rf bin
