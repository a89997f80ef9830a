# The README's two commands are make demo and make test.
#
#	build   bin/cpimgate
#	demo    a SIP domain and an XMPP domain that write to each other, all in one process
#	check   what needs nothing but Go: style, citations, imports, tests, fuzzers
#	test    check, and the scenes with real servers and clients, which it installs
#	bench   speed; soak: hours of traffic
#	fuzz    each fuzzer for FUZZTIME
#	features  the README's table, from the ledger

GO       ?= go
FUZZTIME ?= 5s

# The go tool leaves testdata out of patterns, so its packages are named.
PACKAGES := ./... ./testdata ./testdata/verify
PEERS    := ./gateway/gatewaytest/peers
VERIFY   := bin/verify
RUN      := testdata/run

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.NOTPARALLEL:
.PHONY: build demo check test bench soak fuzz features go packages verify style unit peers

build: go
	$(GO) build -trimpath -o bin/cpimgate ./cmd/cpimgate

demo: go
	@$(GO) run ./cmd/cpimgate demo

check: style unit fuzz
	@$(VERIFY) run -vectors $(RUN)/unit.json

test: go packages style unit fuzz peers
	@$(VERIFY) run -vectors -ledger $(RUN)/unit.json $(RUN)/peers.json

# The pieces first, then whole messages, beside Kamailio in the same run.
bench: go packages
	$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list $(PACKAGES) | grep -v /gatewaytest/peers)
	$(GO) test -run '^$$' -bench . -benchtime 1x $(PEERS)

soak: go packages
	$(GO) test -run '^(TestLoad|TestPeerDown)$$' -count 50 -timeout 24h $(PEERS)

features: verify
	$(VERIFY) features

# An older Go would try to fetch a newer one, or fail in a way that says little.
go:
	@v=$$(cd / && GOTOOLCHAIN=local $(GO) env GOVERSION 2>/dev/null) || v="none found"; \
	case "$$v" in go*) printf '%s\n' go1.26 "$$v" | sort -CV && exit;; esac; \
	echo "cpimgate needs Go 1.26 or newer; this is: $$v"; exit 1

packages:
	@.ci/packages

verify: go
	@$(GO) build -o $(VERIFY) ./testdata/verify

style: verify
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "want gofmt -w" $$unformatted; exit 1; fi
	$(GO) vet $(PACKAGES)
	$(GO) tool staticcheck $(PACKAGES)
	$(VERIFY) static

# The import policy is a test among these (gateway/deps_test.go).
unit: verify
	$(GO) test -race -json $$($(GO) list $(PACKAGES) | grep -v /gatewaytest/peers) | $(VERIFY) run -save $(RUN)/unit.json -vectors

peers: verify
	$(GO) test -count=1 -timeout 40m -json $(PEERS)/... | $(VERIFY) run -save $(RUN)/peers.json

# Go's fuzzing engine sometimes fails with nothing but "context deadline
# exceeded" when its time ends in the middle of an input; that is no finding.
fuzz: verify
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | \
	while read -r dir name; do \
		echo "fuzz  $$dir $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 0s "$$dir" </dev/null >bin/fuzz.log 2>&1 || \
			{ grep -q '^    context deadline exceeded$$' bin/fuzz.log && ! grep -q 'Failing input\|seed corpus entry' bin/fuzz.log; } || \
			{ cat bin/fuzz.log; exit 1; }; \
	done
