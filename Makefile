# make test is everything that CI runs; it needs Go and the network once, nothing else.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
TESTFLAGS ?=

.PHONY: test lint unit race build bench fuzz interop

test: lint unit race

build:
	CGO_ENABLED=0 go build -o bin/ ./cmd/kinetoscope

lint:
	@files="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$files" ]; then echo "gofmt these:"; echo "$$files"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

unit:
	go test $(TESTFLAGS) ./...

